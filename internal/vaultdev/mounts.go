package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// mountAll enables the engines over the same HTTPS API that everybody else
// uses, so that a server which announces itself has served already.
func mountAll(ctx context.Context, address string, ca *x509.CertPool, root string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	c := admin{http: &http.Client{Transport: transport, Timeout: 30 * time.Second}, address: address, token: root}
	for _, m := range []struct{ path, body string }{
		{"sys/mounts/transit", `{"type":"transit"}`},
		{"sys/mounts/kv", `{"type":"kv","options":{"version":"2"}}`},
		{"sys/auth/approle", `{"type":"approle"}`},
		{"sys/auth/cert", `{"type":"cert"}`},
		{"sys/auth/kubernetes", `{"type":"kubernetes"}`},
	} {
		status, err := c.do(ctx, http.MethodPost, m.path, m.body)
		if err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		if status != http.StatusNoContent {
			return fmt.Errorf("%s: Vault answers with status %d", m.path, status)
		}
	}
	return c.waitKV(ctx, "kv")
}

type admin struct {
	http           *http.Client
	address, token string
}

// waitKV waits for a new KV v2 mount to finish its upgrade from version 1,
// which Vault does behind the answer to the mount and refuses calls meanwhile.
func (a *admin) waitKV(ctx context.Context, mount string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := a.do(ctx, http.MethodGet, mount+"/config", "")
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the mount %s does not come up: status %d, %w", mount, status, ctx.Err())
		case <-tick.C:
		}
	}
}

func (a *admin) do(ctx context.Context, method, path, body string) (int, error) {
	var r io.Reader
	if body != "" {
		if !json.Valid([]byte(body)) {
			return 0, fmt.Errorf("the body for %s is no JSON", path)
		}
		r = bytes.NewReader([]byte(body))
	}
	req, err := http.NewRequestWithContext(ctx, method, a.address+"/v1/"+path, r)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Vault-Token", a.token)
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
