package session_test

import (
	"context"
	"crypto/fips140"
	"encoding/gob"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
)

// The session manager of scs on our store: the ground that its own tests of
// manager and stores cover, with time that passes at once.

func init() { gob.Register(time.Time{}) }

// managed runs a test in a bubble of its own time, server included.
func managed(t *testing.T, run func(t *testing.T, m *scs.SessionManager)) {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("miniredis needs SHA-1 for SCRIPT LOAD, which FIPS 140-only mode does not have")
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		mini := miniredis.NewMiniRedis()
		mini.ClockTTL(true)
		rdb := redis.NewClient(&redis.Options{
			ContextTimeoutEnabled:    true,
			Dialer:                   func(context.Context, string, string) (net.Conn, error) { return mini.Dial() },
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		store, wrapper := keys.NewFile(filepath.Join(dir, "keyring.json")), keys.InsecurePlain()
		ok(t, keys.Create(t.Context(), "test", store, wrapper, keys.Layout{}))
		k, err := keys.Open(t.Context(), "test", store, wrapper, nil)
		ok(t, err)
		c, err := securecache.New(rdb, k, nil)
		ok(t, err)
		m := scs.New()
		synctest.Wait() // until its own store, which it does not need, can be stopped
		m.Store.(*memstore.MemStore).StopCleanup()
		m.Store, err = session.NewSCS(c, nil)
		ok(t, err)
		defer func() {
			for _, stop := range []io.Closer{c, k, rdb} {
				ok(t, stop.Close())
			}
			mini.Close()
		}()
		run(t, m)
	})
}

// tab is a browser's, on handlers that use a session.
type tab struct {
	t       *testing.T
	handler http.Handler
	cookie  *http.Cookie
}

func newTab(t *testing.T, m *scs.SessionManager) *tab {
	mux := http.NewServeMux()
	page := func(path string, do func(ctx context.Context, r *http.Request) error) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.Context(), r); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, m.GetString(r.Context(), "foo"))
		})
	}
	page("/get", func(context.Context, *http.Request) error { return nil })
	page("/put", func(ctx context.Context, r *http.Request) error {
		m.Put(ctx, "foo", r.FormValue("v"))
		return nil
	})
	page("/remember", func(ctx context.Context, r *http.Request) error {
		m.RememberMe(ctx, r.FormValue("v") == "true")
		m.Put(ctx, "foo", "bar")
		return nil
	})
	page("/destroy", func(ctx context.Context, _ *http.Request) error { return m.Destroy(ctx) })
	page("/renew", func(ctx context.Context, _ *http.Request) error { return m.RenewToken(ctx) })
	page("/clear", func(ctx context.Context, _ *http.Request) error { return m.Clear(ctx) })
	page("/merge", func(ctx context.Context, r *http.Request) error { return m.MergeSession(ctx, r.FormValue("token")) })
	return &tab{t: t, handler: m.LoadAndSave(mux)}
}

// visit fails unless the page shows want. It returns the Set-Cookie line.
func (b *tab) visit(path, want string) string {
	b.t.Helper()
	r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	b.handler.ServeHTTP(w, r)
	if w.Code != 200 || w.Body.String() != want {
		b.t.Fatalf("%s shows %d %q, want %q", path, w.Code, w.Body, want)
	}
	if set := w.Result().Cookies(); len(set) > 0 {
		b.cookie = set[0]
	}
	return w.Header().Get("Set-Cookie")
}

func TestManagerKeepsValues(t *testing.T) {
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		b := newTab(t, m)
		if b.visit("/get", "") != "" {
			t.Error("an untouched session has set a cookie")
		}
		first := b.visit("/put?v=bar", "bar")
		if first == "" {
			t.Fatal("no cookie was set")
		}
		token := b.cookie.Value
		if again := b.visit("/get", "bar"); again != "" {
			t.Errorf("reading has set %q", again)
		}
		b.visit("/put?v=baz", "baz")
		if b.cookie.Value != token {
			t.Error("an update has changed the token")
		}
		b.visit("/clear", "")
		b.visit("/get", "")
	})
}

func TestManagerTimeouts(t *testing.T) {
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		m.Lifetime = 24 * time.Hour
		b := newTab(t, m)
		b.visit("/put?v=bar", "bar")
		time.Sleep(24*time.Hour - time.Millisecond)
		b.visit("/get", "bar")
		time.Sleep(time.Millisecond)
		b.visit("/get", "")
	})
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		m.Lifetime, m.IdleTimeout = 24*time.Hour, 20*time.Minute
		b := newTab(t, m)
		b.visit("/put?v=bar", "bar")
		began := time.Now()
		for time.Since(began) < 24*time.Hour-15*time.Minute {
			time.Sleep(15 * time.Minute)
			if time.Since(began) < 24*time.Hour {
				b.visit("/get", "bar")
			}
		}
		time.Sleep(24*time.Hour - time.Since(began))
		b.visit("/get", "")
		b.visit("/put?v=again", "again")
		time.Sleep(20*time.Minute + time.Millisecond)
		b.visit("/get", "")
	})
}

func TestManagerDestroys(t *testing.T) {
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		b := newTab(t, m)
		b.visit("/destroy", "") // what was never stored
		b.visit("/put?v=bar", "bar")
		old := *b.cookie
		line := b.visit("/destroy", "")
		if !strings.HasPrefix(line, "session=;") || !strings.Contains(line, "Expires=Thu, 01 Jan 1970 00:00:01 GMT") || !strings.Contains(line, "Max-Age=0") {
			t.Errorf("the cookie reads %q", line)
		}
		b.cookie = &old
		b.visit("/get", "")
		b.visit("/put?v=new", "new")
		if b.cookie.Value == old.Value {
			t.Error("the token came back")
		}
	})
}

func TestManagerRenews(t *testing.T) {
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		b := newTab(t, m)
		b.visit("/put?v=bar", "bar")
		old := *b.cookie
		b.visit("/renew", "bar")
		if b.cookie.Value == old.Value {
			t.Error("the token is the same")
		}
		b.visit("/get", "bar")
		b.cookie = &old
		b.visit("/get", "")
	})
}

func TestManagerRemembers(t *testing.T) {
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		m.Cookie.Persist = false
		for path, want := range map[string]bool{"/put?v=bar": false, "/remember?v=true": true, "/remember?v=false": false} {
			line := newTab(t, m).visit(path, "bar")
			if strings.Contains(line, "Max-Age=") != want || strings.Contains(line, "Expires=") != want {
				t.Errorf("%s: the cookie reads %q", path, line)
			}
		}
	})
}

func TestManagerMerges(t *testing.T) {
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		one, two := newTab(t, m), newTab(t, m)
		one.visit("/put?v=one", "one")
		two.visit("/put?v=two", "two")
		two.visit("/merge?token="+one.cookie.Value, "one")
		two.visit("/get", "one")
		one.visit("/get", "")
		two.visit("/merge?token=nobodys", "one")
		two.visit("/merge?token="+two.cookie.Value, "one")
		two.visit("/get", "one")
	})
}

func TestManagerCannotIterate(t *testing.T) {
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		defer func() {
			if recover() == nil {
				t.Error("the manager has listed sessions whose tokens are stored nowhere")
			}
		}()
		_ = m.Iterate(t.Context(), func(context.Context) error { return nil })
	})
}

// TestManagerLoadsAndCommits goes through the manager without its middleware.
func TestManagerLoadsAndCommits(t *testing.T) {
	for name, hashed := range map[string]bool{"tokens as they are": false, "tokens hashed before": true} {
		t.Run(name, func(t *testing.T) {
			managed(t, func(t *testing.T, m *scs.SessionManager) {
				m.HashTokenInStore = hashed
				fresh, err := m.Load(t.Context(), "")
				ok(t, err)
				if m.Token(fresh) != "" || m.Status(fresh) != scs.Unmodified {
					t.Errorf("a fresh session has the token %q", m.Token(fresh))
				}
				at := time.Now().UTC()
				want := map[string]any{"s": "text", "b": true, "i": 1, "i32": int32(2), "i64": int64(3), "f": 4.5, "y": []byte("bytes"), "t": at}
				for k, v := range want {
					m.Put(fresh, k, v)
				}
				m.Put(fresh, "removed", "x")
				m.Remove(fresh, "removed")
				token, expiry, err := m.Commit(fresh)
				if err != nil || token == "" || expiry.Sub(at) != 24*time.Hour {
					t.Fatalf("%q until %v, %v", token, expiry, err)
				}
				again, err := m.Load(t.Context(), token)
				ok(t, err)
				for k, v := range want {
					if got := m.Get(again, k); !reflect.DeepEqual(got, v) {
						t.Errorf("%s became %v", k, got)
					}
				}
				if len(m.Keys(again)) != len(want) || m.Token(again) != token || m.Deadline(again).Sub(at) != 24*time.Hour {
					t.Errorf("%q of %q until %v", m.Keys(again), m.Token(again), m.Deadline(again))
				}
				if m.PopString(again, "s") != "text" || m.Exists(again, "s") {
					t.Error("it was not popped")
				}
				m.SetDeadline(again, at.Add(time.Hour))
				_, expiry, err = m.Commit(again)
				if err != nil || expiry.Sub(at) != time.Hour {
					t.Errorf("until %v, %v", expiry, err)
				}
				last, err := m.Load(t.Context(), token)
				ok(t, err)
				if m.Exists(last, "s") || m.GetInt(last, "i") != 1 {
					t.Errorf("it holds %q", m.Keys(last))
				}
				ok(t, m.Destroy(last))
				if m.Status(last) != scs.Destroyed {
					t.Error("it is not destroyed")
				}
				gone, err := m.Load(t.Context(), token)
				ok(t, err)
				if m.Token(gone) != "" || len(m.Keys(gone)) != 0 {
					t.Errorf("it came back with %q", m.Keys(gone))
				}
				// What was loaded before the logout cannot bring it back.
				_, _, err = m.Commit(again)
				is(t, "commit after a logout", err, session.ErrDestroyed)
			})
		})
	}
}

// TestManagerFails tells what has no answer, or makes no sense, from what is not
// there.
func TestManagerFails(t *testing.T) {
	managed(t, func(t *testing.T, m *scs.SessionManager) {
		ctx, err := m.Load(t.Context(), "a token of nobody's")
		if err != nil || m.Token(ctx) != "" {
			t.Errorf("an unknown token: %v", err)
		}
		ok(t, m.Store.Commit("undecodable", []byte("no gob"), time.Now().Add(time.Hour)))
		if ctx, err := m.Load(t.Context(), "undecodable"); err == nil || ctx != nil {
			t.Errorf("what does not decode: %v", err)
		}
		m.Put(ctx, "foo", "bar")
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if token, _, err := m.Commit(ended); token != "" || !errors.Is(err, context.Canceled) {
			t.Errorf("a commit that cannot be: %q, %v", token, err)
		}
		if ctx, err := m.Load(ended, ""); err != nil || ctx == nil {
			t.Errorf("a session that is loaded already: %v", err)
		}
		other, cancel := context.WithCancel(t.Context())
		cancel()
		if ctx, err := m.Load(other, "token"); ctx != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("a load that cannot be: %v", err)
		}
		m.SetDeadline(ctx, time.Now().Add(-time.Hour))
		token, _, err := m.Commit(ctx)
		ok(t, err)
		if ctx, err := m.Load(t.Context(), token); err != nil || m.Token(ctx) != "" {
			t.Errorf("a session that ended before it began: %v", err)
		}
	})
}
