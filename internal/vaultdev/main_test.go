package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// start runs vaultdev in this process; stop closes its standard input and
// returns what it ended with.
func start(t *testing.T, args ...string) (r ready, stop func() error) {
	t.Helper()
	stdin, closeStdin := io.Pipe()
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(context.Background(), args, stdin, stdout, os.Stderr)
		stdout.Close()
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no line on stdout: %v; ended with %v", err, <-ended)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	token := read(t, r.RootToken)
	if strings.Contains(string(line), token) || strings.Contains(string(line), read(t, r.UnsealKey)) {
		t.Error("a secret stands on standard output")
	}
	return r, func() error { closeStdin.Close(); return <-ended }
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func client(t *testing.T, r ready) *admin {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(read(t, r.CA))) {
		t.Fatal("no certificate in the CA file")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &admin{http: &http.Client{Transport: transport, Timeout: 30 * time.Second}, address: r.Address, token: read(t, r.RootToken)}
}

func TestServes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	r, stop := start(t, "-dir", dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v, want mode 0700", info.Mode(), err)
	}
	c := client(t, r)
	for _, step := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"transit key", http.MethodPost, "transit/keys/k", `{"type":"aes256-gcm96"}`, 204},
		{"encrypt with associated data", http.MethodPost, "transit/encrypt/k", `{"plaintext":"AA==","associated_data":"AA=="}`, 200},
		{"kv write", http.MethodPost, "kv/data/x", `{"data":{"a":"b"},"options":{"cas":0}}`, 200},
		{"kv second create", http.MethodPost, "kv/data/x", `{"data":{"a":"b"},"options":{"cas":0}}`, 400},
		{"approle", http.MethodPost, "auth/approle/role/r", `{"token_ttl":"1m"}`, 204},
		{"kubernetes", http.MethodPost, "auth/kubernetes/config", string(must(json.Marshal(map[string]any{
			"kubernetes_host": "https://127.0.0.1:1", "kubernetes_ca_cert": read(t, r.CA), "disable_local_ca_jwt": true,
		}))), 204},
		{"cert", http.MethodPost, "auth/cert/certs/c", string(must(json.Marshal(map[string]string{"certificate": read(t, r.CA)}))), 204},
		{"seal", http.MethodPut, "sys/seal", "", 204},
		{"sealed", http.MethodGet, "kv/data/x", "", 503},
		{"unseal", http.MethodPut, "sys/unseal", fmt.Sprintf(`{"key":%q}`, read(t, r.UnsealKey)), 200},
		{"kv read again", http.MethodGet, "kv/data/x", "", 200},
	} {
		if got, err := c.do(t.Context(), step.method, step.path, step.body); err != nil || got != step.want {
			t.Errorf("%s: status %d, %v, want %d", step.name, got, err, step.want)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := c.do(t.Context(), http.MethodGet, "sys/health", ""); err == nil {
		t.Error("still serves after its standard input was closed")
	}
}

func TestTemporaryDirectoryGoesAway(t *testing.T) {
	r, stop := start(t)
	if err := stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := os.Stat(filepath.Dir(r.CA)); !os.IsNotExist(err) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	for name, args := range map[string][]string{
		"wildcard":   {"-listen", "0.0.0.0:0"},
		"host name":  {"-listen", "localhost:0"},
		"no port":    {"-listen", "127.0.0.1"},
		"a stranger": {"serve"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), args, strings.NewReader(""), &out, io.Discard); err == nil {
				t.Errorf("accepted; stdout %q", out.String())
			}
		})
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
