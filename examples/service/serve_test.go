package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestRun starts the program as its doc says, and ends it.
func TestRun(t *testing.T) {
	getenv := environOf(t, securecachetest.Start(t))
	for _, name := range []string{
		"REDIS_URL", "SECURECACHE_NAMESPACE", "SECURECACHE_TLS_CA", "SECURECACHE_TLS_CERT", "SECURECACHE_TLS_KEY",
		"SECURECACHE_TLS_SERVER_NAME", "SECURECACHE_KEYRING", "SECURECACHE_WRAP",
	} {
		t.Setenv(name, getenv(name))
	}
	dir := t.TempDir()
	cert, key, list := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "users")
	pair, roots, err := certificateOfTheMoment()
	ok(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	ok(t, err)
	ok(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	ok(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	var line bytes.Buffer
	ok(t, printHash(strings.NewReader(secret), &line, "ada"))
	ok(t, os.WriteFile(list, line.Bytes(), 0o600))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := &site{roots: roots, log: new(record), ended: make(chan error, 1)}
	go func() {
		s.ended <- run(ctx, slog.New(slog.NewJSONHandler(s.log, nil)),
			append([]string{"-addr", "127.0.0.1:0", "-cert", cert, "-key", key, "-users", list}, plenty...))
	}()
	servertest.Eventually(t, "it serves", func() bool {
		var entry struct{ Msg, Address string }
		first, _, _ := strings.Cut(s.log.String(), "\n")
		s.url = "https://"
		if json.Unmarshal([]byte(first), &entry) == nil && entry.Msg == "serving" {
			s.url += entry.Address
			return true
		}
		if len(s.ended) > 0 {
			t.Fatal(<-s.ended)
		}
		return false
	})
	s.client(t).logIn("ada").wants(http.StatusOK, "GET", "/notes", "")
	stop()
	ok(t, <-s.ended)
}

// TestOpenRefuses lists what must not be found out at the first request.
func TestOpenRefuses(t *testing.T) {
	env := securecachetest.Start(t)
	for name, tc := range map[string]struct {
		change func(*config)
		says   string
	}{
		"a wrong password": {func(c *config) { c.url = strings.Replace(c.url, "@", "x@", 1) }, "connecting"},
		"no client key":    {func(c *config) { c.files.Key = "" }, "private key"},
		"no right to WAIT": {func(c *config) { c.replicas = 1 }, "may WAIT"},
		"no namespace":     {func(c *config) { c.namespace = "other" }, "namespace"},
	} {
		if env.Server.Lacks() != nil && name == "no right to WAIT" {
			continue // the embedded server has no users with fewer rights
		}
		c, err := configure(nil, environOf(t, env))
		ok(t, err)
		tc.change(&c)
		b, err := open(t.Context(), c, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("%s: taken", name)
			ok(t, b.Close())
		} else if !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
