package vault_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/securecache/securecache-go/keys/vault"
)

// fake is the part of Vault that tokens need: logins by AppRole, renewal up to
// a maximum, expiry, revocation, policies, and transit/decrypt, which answers
// with nothing but the token's number. The real one is tested in the files
// real_*test.go; this one has a clock that can be turned.
type fake struct {
	ttl, max  time.Duration
	renewable bool

	mu     sync.Mutex
	tokens map[string]*token
	count  map[string]int // of answers, by path, and of 403
	// down answers instead, where set; denied refuses transit to any token.
	down   http.HandlerFunc
	denied bool
}

type token struct{ made, until time.Time }

func newFake(ttl, longest time.Duration) *fake {
	return &fake{ttl: ttl, max: longest, renewable: true, tokens: map[string]*token{}, count: map[string]int{}}
}

// set changes the fake under its lock.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) counted(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[what]
}

// issue makes a token; the caller holds mu.
func (f *fake) issue() string {
	name := fmt.Sprintf("hvs.fake-%d", len(f.tokens)+1)
	f.tokens[name] = &token{made: time.Now(), until: time.Now().Add(f.ttl)}
	return name
}

func (f *fake) revokeAll() {
	f.set(func() {
		for _, t := range f.tokens {
			t.until = time.Time{}
		}
	})
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		f.down(w, r)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	f.count[path]++
	name := r.Header.Get("X-Vault-Token")
	t := f.tokens[name]
	if path == "auth/approle/login" {
		name = f.issue()
		f.answer(w, path, name, f.tokens[name])
		return
	}
	if t == nil || !time.Now().Before(t.until) || f.denied && strings.HasPrefix(path, "transit/") {
		f.count["403"]++
		refuse(w, http.StatusForbidden, "permission denied")
		return
	}
	f.answer(w, path, name, t)
}

func (f *fake) answer(w http.ResponseWriter, path, name string, t *token) {
	switch path {
	case "auth/token/renew-self":
		if t.until = time.Now().Add(f.ttl); t.until.After(t.made.Add(f.max)) {
			t.until = t.made.Add(f.max)
		}
		fallthrough
	case "auth/approle/login":
		reply(w, map[string]any{"auth": map[string]any{
			"client_token": name, "lease_duration": int(time.Until(t.until).Seconds()), "renewable": f.renewable,
		}})
	case "auth/token/lookup-self":
		reply(w, map[string]any{"data": map[string]any{
			"ttl": int(time.Until(t.until).Seconds()), "expire_time": t.until.Format(time.RFC3339), "renewable": f.renewable,
		}})
	default:
		reply(w, map[string]any{"data": map[string]any{"plaintext": []byte(name)}})
	}
}

func reply(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, messages ...string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": messages})
}

// wire serves requests in the caller's goroutine, without a socket.
type wire struct{ http.Handler }

func (o wire) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody // as a server has it
	}
	rec := httptest.NewRecorder()
	o.ServeHTTP(rec, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// offline is what a transport answers when nobody listens.
type offline struct{}

func (offline) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("dial tcp 127.0.0.1:1: connection refused")
}

// quiet clears what the developer's own environment says about Vault.
func quiet(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "VAULT_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
}

// bubble runs a subtest under a synthetic clock, in which retries take no time.
func bubble(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// approle is the login of most tests.
func approle() vault.Login { return vault.AppRole("", "role", vault.Value("secret-id")) }

// use makes one call and returns the token that made it.
func use(t *testing.T, c *vault.Client) (string, error) {
	t.Helper()
	b, err := c.Transit("transit", "k").Unwrap(t.Context(), "vault:v1:AAAA", nil)
	return string(b), err
}
