package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/securecache/securecache-go/keys/vault"
)

func TestFromEnvironment(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		home bool // with a .vault-token
		want string
	}{
		"token":                      {map[string]string{"VAULT_TOKEN": "t", "VAULT_ROLE_ID": "r"}, true, "token"},
		"token file":                 {map[string]string{"VAULT_TOKEN_FILE": "/f"}, false, "token"},
		"approle":                    {map[string]string{"VAULT_ROLE_ID": "r", "VAULT_K8S_ROLE": "k"}, true, "approle at auth/approle"},
		"approle elsewhere":          {map[string]string{"VAULT_ROLE_ID": "r", "VAULT_AUTH_MOUNT": "team/approle/"}, false, "approle at auth/team/approle"},
		"kubernetes":                 {map[string]string{"VAULT_K8S_ROLE": "k"}, true, "kubernetes at auth/kubernetes"},
		"certificate":                {map[string]string{"VAULT_CERT_ROLE": "c", "VAULT_CLIENT_CERT": "/c"}, true, "certificate at auth/cert"},
		"certificate, any role":      {map[string]string{"VAULT_CLIENT_CERT": "/c"}, false, "certificate at auth/cert"},
		"what vault login left":      {nil, true, "token"},
		"login rather than cert":     {map[string]string{"VAULT_CLIENT_CERT": "/c"}, true, "token"},
		"nothing":                    {nil, false, ""},
		"a secret id without a role": {map[string]string{"VAULT_SECRET_ID": "s"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			quiet(t)
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			if tc.home {
				write(t, filepath.Join(os.Getenv("HOME"), ".vault-token"), []byte("t"))
			}
			l, err := vault.FromEnvironment()
			if (err == nil) != (tc.want != "") || l.String() != tc.want {
				t.Errorf("%q, %v; want %q", l, err, tc.want)
			}
		})
	}
}

func TestLoginRequests(t *testing.T) {
	quiet(t)
	file := filepath.Join(t.TempDir(), "secret")
	write(t, file, []byte(" from-file \r\n"))
	for name, tc := range map[string]struct {
		login vault.Login
		path  string
		want  map[string]string
	}{
		"approle":                 {vault.AppRole("", "r", vault.Value("s")), "auth/approle/login", map[string]string{"role_id": "r", "secret_id": "s"}},
		"approle from file":       {vault.AppRole("/team/ar/", "r", vault.File(file)), "auth/team/ar/login", map[string]string{"role_id": "r", "secret_id": "from-file"}},
		"kubernetes":              {vault.Kubernetes("k8s", "app", vault.File(file)), "auth/k8s/login", map[string]string{"role": "app", "jwt": "from-file"}},
		"certificate":             {vault.Certificate("", "web"), "auth/cert/login", map[string]string{"name": "web"}},
		"certificate of any role": {vault.Certificate("", ""), "auth/cert/login", map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			var path string
			var body map[string]string
			c, err := vault.NewOver(t.Context(), vault.Config{Login: tc.login}, wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path = strings.TrimPrefix(r.URL.Path, "/v1/")
				_ = json.NewDecoder(r.Body).Decode(&body)
				reply(w, map[string]any{"auth": map[string]any{"client_token": "hvs.x"}})
			})})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			same := len(body) == len(tc.want)
			for k, v := range tc.want {
				same = same && body[k] == v
			}
			if path != tc.path || !same {
				t.Errorf("sent %v to %s", body, path)
			}
		})
	}
}

func TestRefusedLogins(t *testing.T) {
	quiet(t)
	const secret = "s3cr3t-id"
	login := vault.AppRole("", "role", vault.Value(secret))
	for name, tc := range map[string]struct {
		login    vault.Login
		status   int
		said     string
		is       error
		want     string
		mustHide string
	}{
		"wrong secret":      {login, 400, "invalid role or secret ID", vault.ErrDenied, "invalid role or secret ID", ""},
		"denied":            {login, 403, "permission denied", vault.ErrDenied, "used up", ""},
		"echo":              {login, 400, "no such secret id: " + secret, vault.ErrDenied, "status 400", secret},
		"wrong mount":       {login, 404, "no handler for route", vault.ErrDenied, "vault auth list", ""},
		"sealed":            {login, 503, "Vault is sealed", vault.ErrUnavailable, "vault operator unseal", ""},
		"out of order":      {login, 500, "internal error", vault.ErrUnavailable, "status 500", ""},
		"quota":             {login, 429, "quota exceeded", vault.ErrUnavailable, "rate limit", ""},
		"kubernetes":        {vault.Kubernetes("", "app", vault.Value("jwt")), 403, "permission denied", vault.ErrDenied, "service account", ""},
		"certificate":       {vault.Certificate("", ""), 400, "invalid certificate", vault.ErrDenied, "VAULT_CLIENT_CERT", ""},
		"token":             {vault.Token(vault.Value("hvs.old")), 403, "permission denied", vault.ErrDenied, "vault login", "hvs.old"},
		"no token in reply": {login, 200, "", nil, "no token", ""},
	} {
		bubble(t, name, func(t *testing.T) {
			_, err := vault.NewOver(t.Context(), vault.Config{Login: tc.login}, wire{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tc.status == 200 {
					reply(w, map[string]any{"data": nil})
					return
				}
				refuse(w, tc.status, tc.said)
			})})
			if err == nil || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %v and %q", err, tc.is, tc.want)
			}
			if tc.mustHide != "" && err != nil && strings.Contains(err.Error(), tc.mustHide) {
				t.Errorf("repeats a secret: %v", err)
			}
		})
	}
}

// viaMethod is one of Vault's other login methods.
type viaMethod struct{ err error }

func (m viaMethod) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	if m.err != nil {
		return nil, m.err
	}
	return c.Logical().WriteWithContext(ctx, "auth/approle/login", nil)
}

func TestMethod(t *testing.T) {
	quiet(t)
	f := newFake(0, 0)
	f.ttl, f.max = 1<<40, 1<<40
	c, err := vault.NewOver(t.Context(), vault.Config{Login: vault.Method("aws", viaMethod{})}, wire{f})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := use(t, c); err != nil || got != "hvs.fake-1" {
		t.Errorf("%q, %v", got, err)
	}
	_, err = vault.NewOver(t.Context(), vault.Config{Login: vault.Method("aws", viaMethod{errors.New("no instance role")})}, wire{f})
	if err == nil || !strings.Contains(err.Error(), "no instance role") {
		t.Errorf("%v; want the method's own error", err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct{ content, want string }{
		"plain":      {"token", "token"},
		"with space": {"\n token \r\n", "token"},
		"empty":      {"", ""},
		"blank":      {" \n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			write(t, path, []byte(tc.content))
			got, err := vault.File(path)()
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
}
