package vault_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
)

// reader is the policy of most logins here.
const reader = `path "kv/data/ring" { capabilities = ["read"] }`

// reads shows that a client has it.
func reads(t *testing.T, c *vault.Client) {
	t.Helper()
	if _, err := c.KV("kv", "ring").Load(t.Context()); err != nil {
		t.Error(err)
	}
}

func newReader(t *testing.T) *real {
	t.Helper()
	r := newReal(t)
	if err := r.root().KV("kv", "ring").Save(t.Context(), []byte("{}"), nil); err != nil {
		t.Fatal(err)
	}
	r.must("sys/policies/acl/reader", map[string]any{"policy": reader})
	return r
}

func TestRealLoginByToken(t *testing.T) {
	r := newReader(t)
	token := tokenOf(r, map[string]any{"policies": []string{"reader"}, "ttl": "1h"})
	reads(t, r.client(vault.Token(vault.Value(token))))
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, []byte(token+"\n"))
	c := r.client(vault.Token(vault.File(file)))
	reads(t, c)
	// A new token in the file, then the old one is gone.
	write(t, file, []byte(tokenOf(r, map[string]any{"policies": []string{"reader"}, "ttl": "1h"})+"\n"))
	r.must("auth/token/revoke", map[string]any{"token": token})
	reads(t, c)
}

// tokenOf makes a token.
func tokenOf(r *real, settings map[string]any) string {
	r.t.Helper()
	s, err := r.Admin().Logical().WriteWithContext(r.t.Context(), "auth/token/create", settings)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Auth.ClientToken
}

func TestRealLoginByAppRole(t *testing.T) {
	r := newReader(t)
	reads(t, r.client(r.role("value", reader, nil)))

	r.must("auth/approle/role/file", map[string]any{"token_policies": "reader", "secret_id_num_uses": 1})
	id, err := r.Admin().Logical().ReadWithContext(t.Context(), "auth/approle/role/file/role-id")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret-id")
	renew := func() {
		write(t, file, []byte(r.must("auth/approle/role/file/secret-id", nil)["secret_id"].(string)+"\n"))
	}
	renew()
	login := vault.AppRole("approle", id.Data["role_id"].(string), vault.File(file))
	c := r.client(login)
	reads(t, c)
	_, err = vault.New(t.Context(), vault.Config{Address: r.Address, CACert: r.CACert, Login: login})
	if !errors.Is(err, vault.ErrDenied) || !strings.Contains(err.Error(), "secret id") {
		t.Errorf("a secret id that is used up: %v", err)
	}
	renew()
	r.must("sys/leases/revoke-prefix/auth/approle/login", nil)
	reads(t, c)

	_, err = vault.New(t.Context(), vault.Config{Address: r.Address, CACert: r.CACert, Login: vault.AppRole("approlle", "x", vault.Value("y"))})
	if !errors.Is(err, vault.ErrDenied) || !strings.Contains(err.Error(), "auth/approlle") {
		t.Errorf("a mount that is not there: %v", err)
	}
}

func TestRealLoginByCertificate(t *testing.T) {
	r := newReader(t)
	authority, err := pki.New("clients")
	if err != nil {
		t.Fatal(err)
	}
	r.must("auth/cert/certs/web", map[string]any{"certificate": string(authority.PEM()), "token_policies": "reader"})
	cert, key := issueClient(t, authority, "web-1")
	config := vault.Config{Address: r.Address, CACert: r.CACert, ClientCert: cert, ClientKey: key}
	for name, login := range map[string]vault.Login{"any role": vault.Certificate("", ""), "its role": vault.Certificate("cert", "web")} {
		t.Run(name, func(t *testing.T) {
			config.Login = login
			c, err := vault.New(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			reads(t, c)
		})
	}
	config.ClientCert, config.ClientKey = stranger(t)
	config.Login = vault.Certificate("", "")
	if _, err := vault.New(t.Context(), config); !errors.Is(err, vault.ErrDenied) || !strings.Contains(err.Error(), "VAULT_CLIENT_CERT") {
		t.Errorf("a certificate of another CA: %v", err)
	}
	config.ClientCert, config.ClientKey = "", ""
	if _, err := vault.New(t.Context(), config); !errors.Is(err, vault.ErrDenied) {
		t.Errorf("no certificate: %v", err)
	}
}

func TestRealLoginByKubernetes(t *testing.T) {
	r := newReader(t)
	jwt := serviceAccount(t)
	cluster := newSite(t, reviewer(jwt), pki.Server(), func(c *tls.Config, _ *pki.CA) {})
	ca, err := os.ReadFile(cluster.ca)
	if err != nil {
		t.Fatal(err)
	}
	r.must("auth/kubernetes/config", map[string]any{
		"kubernetes_host": cluster.address, "kubernetes_ca_cert": string(ca), "disable_local_ca_jwt": true, "disable_iss_validation": true,
	})
	r.must("auth/kubernetes/role/shop", map[string]any{
		"bound_service_account_names": "web", "bound_service_account_namespaces": "prod", "token_policies": "reader",
	})
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, []byte(jwt))
	reads(t, r.client(vault.Kubernetes("", "shop", vault.File(file))))

	_, err = vault.New(t.Context(), vault.Config{Address: r.Address, CACert: r.CACert, Login: vault.Kubernetes("", "bank", vault.File(file))})
	if !errors.Is(err, vault.ErrDenied) || strings.Contains(err.Error(), jwt) {
		t.Errorf("another role: %v", err)
	}
	_, err = vault.New(t.Context(), vault.Config{Address: r.Address, CACert: r.CACert, Login: vault.Kubernetes("", "shop", vault.Value(serviceAccount(t)))})
	if !errors.Is(err, vault.ErrDenied) {
		t.Errorf("a token that the cluster does not know: %v", err)
	}
}

// reviewer is the one endpoint of a Kubernetes API server that Vault asks: it
// knows a single service account, web in the namespace prod.
func reviewer(jwt string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Spec struct{ Token string }
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		status := map[string]any{"authenticated": false}
		if r.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews" && in.Spec.Token == jwt {
			status = map[string]any{"authenticated": true, "user": map[string]any{
				"username": "system:serviceaccount:prod:web", "uid": "0b6a1f0e", "groups": []string{"system:serviceaccounts"},
			}}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
	}
}

// serviceAccount makes a JWT as a cluster does, signed with a key of its own.
func serviceAccount(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	now := time.Now().Unix()
	text := part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:prod:web", "iat": now, "nbf": now, "exp": now + 3600,
		"kubernetes.io": map[string]any{"namespace": "prod", "serviceaccount": map[string]string{"name": "web", "uid": "0b6a1f0e"}},
	})
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// TestRealRenewal holds a token of four seconds for several times its maximum of
// nine, with a secret id that would be used up if every lease took a login.
func TestRealRenewal(t *testing.T) {
	r := newReader(t)
	login := r.role("brief", reader, map[string]any{"token_ttl": "4s", "token_max_ttl": "9s", "secret_id_num_uses": 5})
	count := &counter{answers: map[string]int{}, next: r.transport()}
	c, err := vault.NewOver(t.Context(), vault.Config{Address: r.Address, Login: login}, count)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	end := time.NewTimer(20 * time.Second)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
			reads(t, c)
		case <-end.C:
			running = false
		}
	}
	count.mu.Lock()
	defer count.mu.Unlock()
	if n := count.answers["403"]; n > 0 {
		t.Errorf("%d calls were made with a token that had ended", n)
	}
	if n := count.answers["auth/token/renew-self"]; n < 4 {
		t.Errorf("%d renewals in 20 s", n)
	}
	if n := count.answers["auth/approle/login"]; n < 2 {
		t.Errorf("%d logins in 20 s, with a maximum of 9 s", n)
	}
}

// counter counts answers, by path and by status where they are no success.
type counter struct {
	next    *http.Transport
	mu      sync.Mutex
	answers map[string]int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && resp.StatusCode < 300 {
		c.answers[strings.TrimPrefix(r.URL.Path, "/v1/")]++
	} else if err == nil {
		c.answers[strconv.Itoa(resp.StatusCode)]++
	}
	return resp, err
}

// transport trusts the server's CA.
func (r *real) transport() *http.Transport {
	r.t.Helper()
	pem, err := os.ReadFile(r.CACert)
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	r.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// TestRealOpensWithEnvironmentAlone is what a container does.
func TestRealOpensWithEnvironmentAlone(t *testing.T) {
	r := newReal(t)
	ow, os := r.operator()
	if err := keys.Create(t.Context(), "shop", os, ow, keys.Layout{}); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"VAULT_ADDR": r.Address, "VAULT_CACERT": r.CACert, "VAULT_TOKEN": r.Admin().Token()} {
		t.Setenv(k, v)
	}
	c, err := vault.New(t.Context(), vault.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, s := r.at(c)
	r.refreshed(r.open(s, w, nil))
}
