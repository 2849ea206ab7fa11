package vault_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/keys/vault"
)

// site is a TLS server with a CA of its own, and files to reach it by.
type site struct {
	address, ca, cert, key string
	authority              *pki.CA
	conns                  atomic.Int32
}

// newSite serves h with a certificate as r says; tune changes the TLS settings.
func newSite(t *testing.T, h http.Handler, r pki.Request, tune func(*tls.Config, *pki.CA)) *site {
	t.Helper()
	authority, err := pki.New("test CA")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{authority: authority}
	pair, err := authority.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if tune != nil {
		tune(srv.TLS, authority)
	}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	s.address, s.ca = srv.URL, filepath.Join(dir, "ca.pem")
	write(t, s.ca, authority.PEM())
	s.cert, s.key = issueClient(t, authority, "app")
	return s
}

func issueClient(t *testing.T, authority *pki.CA, name string) (cert, key string) {
	t.Helper()
	pair, err := authority.Issue(pki.Client(name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	write(t, cert, pair.Cert)
	write(t, key, pair.Key)
	return cert, key
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	elsewhere := pki.Server()
	elsewhere.DNSNames, elsewhere.IPs = []string{"vault.example"}, nil
	expired := pki.Server()
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	clients := func(c *tls.Config, ca *pki.CA) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool() }
	for name, tc := range map[string]struct {
		request pki.Request
		tune    func(*tls.Config, *pki.CA)
		client  func(*vault.Config, *site)
		want    string // of the error, "" for none
	}{
		"good":                     {request: pki.Server()},
		"no CA file":               {request: pki.Server(), client: func(c *vault.Config, _ *site) { c.CACert = "" }, want: "VAULT_CACERT"},
		"another CA":               {request: pki.Server(), client: func(c *vault.Config, s *site) { c.CACert = s.cert }, want: "VAULT_CACERT"},
		"another name":             {request: elsewhere, want: "VAULT_TLS_SERVER_NAME"},
		"another name, named":      {request: elsewhere, client: func(c *vault.Config, _ *site) { c.ServerName = "vault.example" }},
		"expired":                  {request: expired, want: "expired"},
		"TLS 1.1":                  {request: pki.Server(), tune: func(c *tls.Config, _ *pki.CA) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, want: "protocol version"},
		"TLS 1.2":                  {request: pki.Server(), tune: func(c *tls.Config, _ *pki.CA) { c.MaxVersion = tls.VersionTLS12 }},
		"client certificate":       {request: pki.Server(), tune: clients, client: func(c *vault.Config, s *site) { c.ClientCert, c.ClientKey = s.cert, s.key }},
		"no client certificate":    {request: pki.Server(), tune: clients, want: "VAULT_CLIENT_CERT"},
		"wrong client certificate": {request: pki.Server(), tune: clients, client: func(c *vault.Config, _ *site) { c.ClientCert, c.ClientKey = stranger(t) }, want: "VAULT_CLIENT_CERT"},
	} {
		t.Run(name, func(t *testing.T) {
			quiet(t)
			s := newSite(t, newFake(time.Hour, time.Hour), tc.request, tc.tune)
			cfg := vault.Config{Address: s.address, CACert: s.ca, Login: approle()}
			if tc.client != nil {
				tc.client(&cfg, s)
			}
			c, err := vault.New(t.Context(), cfg)
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				return
			}
			if !errors.Is(err, vault.ErrUnavailable) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), s.address) {
				t.Errorf("%v; want unavailable, the address and %q", err, tc.want)
			}
			if n := s.conns.Load(); n > 1 {
				t.Errorf("%d connections: what no repetition mends was repeated", n)
			}
		})
	}
}

// stranger is a client certificate of a CA that nobody trusts.
func stranger(t *testing.T) (cert, key string) {
	t.Helper()
	authority, err := pki.New("another CA")
	if err != nil {
		t.Fatal(err)
	}
	return issueClient(t, authority, "stranger")
}

func TestUnreachable(t *testing.T) {
	quiet(t)
	plain := httptest.NewServer(newFake(time.Hour, time.Hour))
	defer plain.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	page := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html>welcome</html>")
	}), pki.Server(), nil)
	for name, tc := range map[string]struct {
		cfg         vault.Config
		want        string
		unavailable bool
	}{
		"nobody listens": {vault.Config{Address: "https://" + closed.Addr().String()}, "VAULT_ADDR", true},
		"no TLS":         {vault.Config{Address: strings.Replace(plain.URL, "http", "https", 1)}, "TLS", true},
		"no Vault":       {vault.Config{Address: page.address, CACert: page.ca}, "does not answer as Vault does", false},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.Login = approle()
			_, err := vault.New(t.Context(), tc.cfg)
			if err == nil || errors.Is(err, vault.ErrUnavailable) != tc.unavailable || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
		})
	}
}

func TestRefusedConfiguration(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		cfg  vault.Config
		want string
	}{
		"verification off":           {map[string]string{"VAULT_SKIP_VERIFY": "true"}, vault.Config{}, "VAULT_SKIP_VERIFY"},
		"verification off, oddly":    {map[string]string{"VAULT_SKIP_VERIFY": "yes"}, vault.Config{}, "VAULT_SKIP_VERIFY"},
		"plaintext address":          {nil, vault.Config{Address: "http://127.0.0.1:8200"}, "http://"},
		"plaintext in environment":   {map[string]string{"VAULT_ADDR": "http://127.0.0.1:8200"}, vault.Config{}, "http://"},
		"plaintext agent":            {map[string]string{"VAULT_AGENT_ADDR": "http://127.0.0.1:8200"}, vault.Config{}, "http://"},
		"no scheme":                  {nil, vault.Config{Address: "vault.example:8200"}, "https://"},
		"no URL":                     {nil, vault.Config{Address: "https://vault example"}, "https://"},
		"certificate without key":    {nil, vault.Config{ClientCert: "x"}, "together"},
		"certificate that is absent": {nil, vault.Config{ClientCert: "/absent", ClientKey: "/absent"}, "client certificate"},
		"CA that is absent":          {nil, vault.Config{CACert: "/absent"}, "CA file"},
		"CA in environment absent":   {map[string]string{"VAULT_CACERT": "/absent"}, vault.Config{}, "environment"},
		"negative timeout":           {nil, vault.Config{Timeout: -1}, "negative"},
		"no login":                   {nil, vault.Config{}, "VAULT_TOKEN"},
		"odd mount":                  {nil, vault.Config{Login: vault.AppRole("../sys", "r", vault.Value("s"))}, "no path"},
		"no secret id":               {nil, vault.Config{Login: vault.AppRole("", "r", nil)}, "secret id"},
		"token file that is absent":  {nil, vault.Config{Login: vault.Token(vault.File("/absent"))}, "/absent"},
		"token that is no token":     {nil, vault.Config{Login: vault.Token(vault.Value("a\nb"))}, "non-printable"},
	} {
		t.Run(name, func(t *testing.T) {
			quiet(t)
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			_, err := vault.NewOver(t.Context(), tc.cfg, offline{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
		})
	}
}

func TestInsecurePermits(t *testing.T) {
	f := newFake(time.Hour, time.Hour)
	t.Run("http", func(t *testing.T) {
		quiet(t)
		plain := httptest.NewServer(f)
		defer plain.Close()
		c, err := vault.New(t.Context(), vault.Config{Address: plain.URL, Login: approle(), Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
	s := newSite(t, f, pki.Server(), nil)
	t.Run("VAULT_SKIP_VERIFY", func(t *testing.T) {
		quiet(t)
		t.Setenv("VAULT_SKIP_VERIFY", "1")
		c, err := vault.New(t.Context(), vault.Config{Address: s.address, Login: approle(), Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
	t.Run("but turns nothing off", func(t *testing.T) {
		quiet(t)
		if _, err := vault.New(t.Context(), vault.Config{Address: s.address, Login: approle(), Insecure: true}); !errors.Is(err, vault.ErrUnavailable) {
			t.Errorf("an unknown CA was accepted: %v", err)
		}
	})
}

func TestEnvironment(t *testing.T) {
	quiet(t)
	var headers http.Header
	f := newFake(time.Hour, time.Hour)
	s := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers = r.Header.Clone()
		f.ServeHTTP(w, r)
	}), pki.Server(), func(c *tls.Config, ca *pki.CA) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool() })
	for k, v := range map[string]string{
		"VAULT_ADDR": s.address, "VAULT_CACERT": s.ca, "VAULT_CLIENT_CERT": s.cert, "VAULT_CLIENT_KEY": s.key,
		"VAULT_NAMESPACE": "team", "VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "secret-id", "VAULT_WRAP_TTL": "60",
	} {
		t.Setenv(k, v)
	}
	login, err := vault.FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("VAULT_TOKEN", "hvs.somebody-else's") // not for a login of one's own
	c, err := vault.New(t.Context(), vault.Config{Login: login})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if headers.Get("X-Vault-Token") != "" {
		t.Error("the login carried a token")
	}
	if _, err := use(t, c); err != nil {
		t.Fatal(err)
	}
	if headers.Get("X-Vault-Namespace") != "team" || headers.Get("X-Vault-Token") != "hvs.fake-1" || headers.Get("X-Vault-Wrap-Ttl") != "" {
		t.Error("namespace, token or wrapping are not as the environment and the client want them")
	}
}

func TestClientCertificateIsReadAgain(t *testing.T) {
	quiet(t)
	var name atomic.Pointer[string]
	f := newFake(time.Hour, time.Hour)
	s := newSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/login") {
			name.Store(&r.TLS.PeerCertificates[0].Subject.CommonName)
		}
		f.ServeHTTP(w, r)
	}), pki.Server(), func(c *tls.Config, ca *pki.CA) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool() })
	c, err := vault.New(t.Context(), vault.Config{Address: s.address, CACert: s.ca, ClientCert: s.cert, ClientKey: s.key, Login: approle()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cert, key := issueClient(t, s.authority, "renewed")
	for from, to := range map[string]string{cert: s.cert, key: s.key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	f.revokeAll()
	if _, err := use(t, c); err != nil {
		t.Fatal(err)
	}
	if got := *name.Load(); got != "renewed" {
		t.Errorf("the second login showed the certificate of %q", got)
	}
}

// verbs are all that fmt knows, and letters that it does not: those print their
// operand too.
func verbs() []string {
	all := []string{"%!", "%*d"}
	for _, flags := range []string{"", "+", "#", " ", "+#", "# ", "#.3"} {
		for c := 'A'; c <= 'z'; c++ {
			if c <= 'Z' || c >= 'a' {
				all = append(all, "%"+flags+string(c))
			}
		}
	}
	return all
}

// forms are what a secret looks like under the verbs, and in base64.
func forms(secret string) []string {
	all := []string{secret, base64.StdEncoding.EncodeToString([]byte(secret[:6]))}
	for _, verb := range []string{"%x", "%X", "% x", "% X", "%#x", "%# x", "%d", "%o", "%#o", "%b", "%c", "%U"} {
		all = append(all, strings.Trim(fmt.Sprintf(verb, []byte(secret)), "[]"))
	}
	return all
}

func TestSecretsAreNotShown(t *testing.T) {
	quiet(t)
	f := newFake(time.Hour, time.Hour)
	const secret = "s3cr3t-id"
	cfg := vault.Config{Address: "https://vault.example", Login: vault.AppRole("", "role", vault.Value(secret))}
	c, err := vault.NewOver(t.Context(), cfg, wire{f})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	type holder struct {
		c  *vault.Client
		l  vault.Login
		s  vault.Secret
		tr *vault.Transit
		kv *vault.KV
	}
	h := holder{c, cfg.Login, vault.Value(secret), c.Transit("transit", "k"), c.KV("kv", "x")}
	var out strings.Builder
	for _, verb := range verbs() {
		for _, x := range []any{h, &h, c, cfg, &cfg, h.l, h.s, h.tr, h.kv} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "client", c, "config", fmt.Sprint(cfg), "holder", h)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "client", c, "config", cfg, "holder", h)
	for _, shown := range append(forms(secret), forms("hvs.fake")...) {
		if i := strings.Index(out.String(), shown); i >= 0 {
			t.Errorf("shown: …%s…", out.String()[max(0, i-80):min(i+20, out.Len())])
		}
	}
	if got := fmt.Sprintf("%v %s %v %v", c, c.Transit("/transit/", "k"), c.KV("kv", "/a/b"), cfg.Login); got != "vault https://vault.example vault-transit:transit/k vault-kv:kv/a/b approle at auth/approle" {
		t.Errorf("shown as %q", got)
	}
}
