package vault_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/securecache/securecache-go/keys/vault"
)

// insecureAudit counts what an audit sends over a connection that is not secure.
func insecureAudit(t *testing.T, s *httptest.Server, sent *atomic.Int64) []vault.Result {
	t.Helper()
	c, err := vault.New(t.Context(), vault.Config{Address: s.URL, Login: approle(), Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	before := sent.Load()
	list, err := c.Audit(t.Context(), vault.App, c.Transit("transit", "app"), c.KV("kv", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	if n := sent.Load() - before; n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	return list
}

func TestAuditOfInsecureConnections(t *testing.T) {
	quiet(t)
	var sent atomic.Int64
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent.Add(1)
		reply(w, map[string]any{"auth": map[string]any{"client_token": "hvs.x"}})
	})
	plain, verified := httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(plain.Close)
	t.Cleanup(verified.Close)

	const want = "V1 failed, V2 unknown, V3 unknown, V4 unknown"
	if list := insecureAudit(t, plain, &sent); statuses(list) != want || !strings.Contains(list[0].Evidence, "http://") {
		t.Errorf("http: %+v", list)
	}
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	if list := insecureAudit(t, verified, &sent); statuses(list) != want || !strings.Contains(list[0].Evidence, "not verified") {
		t.Errorf("VAULT_SKIP_VERIFY: %+v", list)
	}
	for _, address := range []string{plain.URL, verified.URL} {
		before := sent.Load()
		if _, err := vault.New(t.Context(), vault.Config{Address: address, Login: approle()}); !errors.Is(err, vault.ErrInsecure) || sent.Load() != before {
			t.Errorf("%s: %v after %d requests", address, err, sent.Load()-before)
		}
	}
}

// TestAuditPassesNothingUnseen answers as something does that is no Vault.
func TestAuditPassesNothingUnseen(t *testing.T) {
	good := map[string]any{
		"auth/token/lookup-self": map[string]any{"policies": []string{"app"}},
		"transit/keys/app":       map[string]any{"type": "aes256-gcm96", "latest_version": 1, "min_decryption_version": 1},
	}
	for _, odd := range []struct {
		path string
		body any
	}{
		{"auth/token/lookup-self", map[string]any{}},
		{"transit/keys/app", map[string]any{"data": map[string]any{}}},
		{"sys/capabilities-self", map[string]any{"data": map[string]any{}}},
		{"sys/capabilities-self", map[string]any{"data": map[string]any{"transit/decrypt/app": []string{"update"}}}},
		{"sys/capabilities-self", "nothing"},
	} {
		c := answering(t, func(w http.ResponseWriter, r *http.Request) {
			path := strings.TrimPrefix(r.URL.Path, "/v1/")
			if path == odd.path {
				reply(w, odd.body)
				return
			}
			reply(w, map[string]any{"data": good[path]})
		})
		list, err := c.Audit(t.Context(), vault.App, c.Transit("transit", "app"), nil)
		if err == nil || list != nil || !strings.Contains(err.Error(), "not Vault's JSON") && !strings.Contains(err.Error(), "as Vault does") {
			t.Errorf("%s answered with %v: %s, %v", odd.path, odd.body, statuses(list), err)
		}
	}
}

func TestAuditAfterClose(t *testing.T) {
	c := answering(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	c.Close()
	if list, err := c.Audit(t.Context(), vault.App, nil, nil); err == nil {
		t.Errorf("%s", statuses(list))
	}
}
