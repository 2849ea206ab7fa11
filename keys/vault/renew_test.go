package vault_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/securecache/securecache-go/keys/vault"
)

// dial logs in to f under the synthetic clock of the test's bubble.
func dial(t *testing.T, f http.RoundTripper, cfg vault.Config) *vault.Client {
	t.Helper()
	c, err := vault.NewOver(t.Context(), cfg, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestRenewsAheadOfTime(t *testing.T) {
	for name, tc := range map[string]struct {
		ttl, max           time.Duration
		renewable          bool
		minLogins, logins  int
		minRenews, renewed int
	}{
		"renewed while Vault extends":        {time.Hour, 1000 * time.Hour, true, 1, 1, 68, 81},
		"logged in anew at the maximum":      {time.Hour, 5 * time.Hour, true, 10, 13, 40, 85},
		"logged in anew where not renewable": {time.Hour, time.Hour, false, 68, 81, 0, 0},
		"does not expire":                    {0, 0, true, 1, 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			quiet(t)
			synctest.Test(t, func(t *testing.T) {
				f := newFake(tc.ttl, tc.max)
				f.renewable = tc.renewable
				if tc.ttl == 0 {
					f.ttl, f.max = 1000*time.Hour, 1000*time.Hour
				}
				var transport http.RoundTripper = wire{f}
				if tc.ttl == 0 {
					transport = noLease{transport}
				}
				c := dial(t, transport, vault.Config{Login: approle()})
				for range 48 * 60 {
					time.Sleep(time.Minute)
					if _, err := use(t, c); err != nil {
						t.Fatal(err)
					}
				}
				if n := f.counted("403"); n != 0 {
					t.Errorf("%d calls met a token that had expired", n)
				}
				if n := f.counted("auth/approle/login"); n < tc.minLogins || n > tc.logins {
					t.Errorf("%d logins in 48 h, want %d to %d", n, tc.minLogins, tc.logins)
				}
				if n := f.counted("auth/token/renew-self"); n < tc.minRenews || n > tc.renewed {
					t.Errorf("%d renewals in 48 h, want %d to %d", n, tc.minRenews, tc.renewed)
				}
			})
		})
	}
}

// noLease turns the login's answer into that for a token without an end.
type noLease struct{ http.RoundTripper }

func (n noLease) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/login") {
		rec := wire{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			reply(w, map[string]any{"auth": map[string]any{"client_token": "hvs.fake-1", "lease_duration": 0}})
		})}
		return rec.RoundTrip(r)
	}
	return resp, err
}

func TestRenewalIsSpread(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Duration
		start := time.Now()
		for range 20 {
			f := newFake(time.Hour, 1000*time.Hour)
			seen := wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "renew-self") {
					mu.Lock()
					at = append(at, time.Since(start))
					mu.Unlock()
				}
				f.ServeHTTP(w, r)
			})}
			dial(t, seen, vault.Config{Login: approle()})
		}
		time.Sleep(50 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(at) != 20 {
			t.Fatalf("%d of 20 clients have renewed after 50 of 60 minutes", len(at))
		}
		minutes := map[time.Duration]bool{}
		for _, d := range at {
			if d < 36*time.Minute || d > 42*time.Minute {
				t.Errorf("renewed after %s of an hour's lease, want 60 to 70 %%", d)
			}
			minutes[d.Truncate(time.Minute)] = true
		}
		if len(minutes) < 3 {
			t.Errorf("20 clients renewed within %d minutes: they come in a herd", len(minutes))
		}
	})
}

func TestVaultAwayBeyondTheLease(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Hour, 1000*time.Hour)
		var errs []error
		c := dial(t, wire{f}, vault.Config{Login: approle(), OnError: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			errs = append(errs, err)
		}})
		f.set(func() {
			f.down = func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "Vault is sealed") }
		})
		time.Sleep(3 * time.Hour)
		if _, err := use(t, c); !errors.Is(err, vault.ErrUnavailable) || !strings.Contains(err.Error(), "sealed") {
			t.Errorf("while sealed: %v", err)
		}
		f.set(func() {
			f.down = nil
			if n := len(errs); n < 130 || n > 250 {
				t.Errorf("%d failures were reported in the two hours and a half after the first: about one a minute is wanted", n)
			}
			for _, err := range errs {
				if !errors.Is(err, vault.ErrUnavailable) {
					t.Errorf("reported: %v", err)
				}
			}
		})
		time.Sleep(2 * time.Minute)
		before := f.counted("403")
		if _, err := use(t, c); err != nil {
			t.Errorf("after Vault came back: %v", err)
		}
		if f.counted("403") != before {
			t.Error("the background had not logged in anew by the time of the call")
		}
	})
}

func TestRevokedToken(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Hour, 4*time.Hour)
		c := dial(t, wire{f}, vault.Config{Login: approle()})
		f.revokeAll()
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if got, err := use(t, c); err != nil || got != "hvs.fake-2" {
					t.Errorf("answered to %q, %v, want to the second token", got, err)
				}
			})
		}
		callers.Wait()
		if n := f.counted("auth/approle/login"); n != 2 {
			t.Errorf("%d logins, want the first and one for 20 callers", n)
		}
	})
}

func TestWrongPolicyDoesNotLitterTokens(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake(24*time.Hour, 48*time.Hour)
		c := dial(t, wire{f}, vault.Config{Login: approle()})
		f.set(func() { f.denied = true })
		for i := range 600 {
			_, err := use(t, c)
			if !errors.Is(err, vault.ErrDenied) || !strings.Contains(err.Error(), `path "transit/decrypt/k" { capabilities = ["update"] }`) {
				t.Fatalf("call %d: %v", i, err)
			}
			if i == 0 && !strings.Contains(err.Error(), "fresh token") {
				t.Errorf("does not say that it is not for an expired token: %v", err)
			}
			time.Sleep(time.Second)
		}
		if n := f.counted("auth/approle/login"); n < 9 || n > 12 {
			t.Errorf("%d logins for 600 denials in 10 minutes, want about one a minute", n)
		}
		f.set(func() { f.denied = false })
		if _, err := use(t, c); err != nil {
			t.Errorf("after the policy was mended: %v", err)
		}
	})
}

func TestTokenFileIsReadAgain(t *testing.T) {
	quiet(t)
	file := filepath.Join(t.TempDir(), "token")
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Hour, time.Hour)
		put := func() {
			f.set(func() {
				if err := os.WriteFile(file, []byte(f.issue()+"\n"), 0o600); err != nil {
					t.Error(err)
				}
			})
		}
		put()
		c := dial(t, wire{f}, vault.Config{Login: vault.Token(vault.File(file))})
		for i := range 100 {
			time.Sleep(10 * time.Minute)
			if i%3 == 0 {
				put()
			}
			if _, err := use(t, c); err != nil {
				t.Fatalf("after %d minutes: %v", 10*(i+1), err)
			}
		}
	})
}

func TestTokenThatCannotBeReplaced(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Hour, 2*time.Hour)
		name := ""
		f.set(func() { name = f.issue() })
		var reported error
		c := dial(t, wire{f}, vault.Config{Login: vault.Token(vault.Value(name)), OnError: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			reported = err
		}})
		time.Sleep(2*time.Hour - time.Minute)
		if _, err := use(t, c); err != nil {
			t.Errorf("a minute before the end: %v", err)
		}
		time.Sleep(10 * time.Minute)
		_, err := use(t, c)
		if !errors.Is(err, vault.ErrDenied) || !strings.Contains(err.Error(), "vault login") || strings.Contains(err.Error(), name) {
			t.Errorf("after the end: %v", err)
		}
		f.set(func() {
			if !errors.Is(reported, vault.ErrDenied) {
				t.Errorf("reported: %v", reported)
			}
			if n := f.count["auth/token/lookup-self"]; n > 200 {
				t.Errorf("%d look-ups: the end of a token became a loop", n)
			}
		})
	})
}

func TestDeadlines(t *testing.T) {
	quiet(t)
	stuck := wire{http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
	t.Run("of the client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, err := vault.NewOver(t.Context(), vault.Config{Login: approle()}, stuck)
			if !errors.Is(err, vault.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v; want unavailable, and not the caller's deadline", err)
			}
			if d := time.Since(start); d != vault.DefaultTimeout {
				t.Errorf("after %s, want %s", d, vault.DefaultTimeout)
			}
		})
	})
	t.Run("of the caller", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := vault.NewOver(ctx, vault.Config{Login: approle()}, stuck)
			if !errors.Is(err, vault.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v; want unavailable, and the caller's deadline", err)
			}
			if d := time.Since(start); d != 250*time.Millisecond {
				t.Errorf("after %s, want 250ms", d)
			}
		})
	})
	t.Run("with retries", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
			defer cancel()
			start := time.Now()
			if _, err := vault.NewOver(ctx, vault.Config{Login: approle()}, offline{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v; want the caller's deadline", err)
			}
			if d := time.Since(start); d > 60*time.Millisecond {
				t.Errorf("after %s, want 60ms at most", d)
			}
		})
	})
}

func TestRetriesAreBounded(t *testing.T) {
	quiet(t)
	for name, tc := range map[string]struct {
		status, fail, want int
		retryAfter         string
		ok                 bool
	}{
		"back at once":         {502, 1, 2, "", true},
		"back at the last":     {503, 2, 3, "", true},
		"stays away":           {500, 9, 3, "", false},
		"not implemented":      {501, 9, 1, "", false},
		"refused":              {400, 9, 1, "", false},
		"asks for a while":     {429, 1, 2, "1", true},
		"asks for an hour":     {503, 9, 1, "3600", false},
		"asks for what is odd": {503, 9, 1, "Thursday", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(time.Hour, time.Hour)
				calls := 0
				c := dial(t, wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/v1/transit") {
						if calls++; calls <= tc.fail {
							if tc.retryAfter != "" {
								w.Header().Set("Retry-After", tc.retryAfter)
							}
							refuse(w, tc.status, "no")
							return
						}
					}
					f.ServeHTTP(w, r)
				})}, vault.Config{Login: approle()})
				start := time.Now()
				_, err := use(t, c)
				if (err == nil) != tc.ok || calls != tc.want {
					t.Errorf("%d calls and %v, want %d calls", calls, err, tc.want)
				}
				if d := time.Since(start); d > 1500*time.Millisecond {
					t.Errorf("took %s with its retries", d)
				}
			})
		})
	}
}

func TestClose(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Hour, 1000*time.Hour)
		c := dial(t, wire{f}, vault.Config{Login: approle()})
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
		// The bubble would not end with the renewal still running.
		time.Sleep(10 * time.Hour)
		if n := f.counted("auth/token/renew-self"); n != 0 {
			t.Errorf("%d renewals after Close", n)
		}
		if _, err := use(t, c); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("a call after Close: %v", err)
		}
	})
}
