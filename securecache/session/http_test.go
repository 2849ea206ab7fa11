package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecachetest"
)

// site is a service behind the middleware, over TLS, and a browser of it.
type site struct {
	*httptest.Server
	browser *http.Client
}

// pages uses the session in every way there is.
func pages() http.Handler {
	mux := http.NewServeMux()
	page := func(path string, serve func(ctx context.Context, w http.ResponseWriter, r *http.Request, v *session.Visit[cart]) error) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			err := serve(r.Context(), w, r, session.From[cart](r.Context()))
			switch {
			case errors.Is(err, securecache.ErrConflict):
				http.Error(w, "conflict", http.StatusConflict)
			case errors.Is(err, securecache.ErrMiss):
				http.Error(w, "no session", http.StatusUnauthorized)
			case err != nil:
				http.Error(w, "unavailable", http.StatusServiceUnavailable)
			default:
				if now := session.From[cart](r.Context()).Session(); now != nil {
					fmt.Fprintf(w, "%s has %s", now.Subject(), now.Value.Note)
				}
			}
		})
	}
	page("/", func(context.Context, http.ResponseWriter, *http.Request, *session.Visit[cart]) error { return nil })
	page("/save", func(ctx context.Context, w http.ResponseWriter, r *http.Request, v *session.Visit[cart]) error {
		return v.Save(ctx, w, cart{Note: r.FormValue("note")})
	})
	page("/login", func(ctx context.Context, w http.ResponseWriter, r *http.Request, v *session.Visit[cart]) error {
		value := cart{Note: "nothing"}
		if v.Session() != nil {
			value = v.Session().Value
		}
		return v.Login(ctx, w, r.FormValue("user"), value)
	})
	page("/regenerate", func(ctx context.Context, w http.ResponseWriter, _ *http.Request, v *session.Visit[cart]) error {
		return v.Regenerate(ctx, w)
	})
	page("/logout", func(ctx context.Context, w http.ResponseWriter, _ *http.Request, v *session.Visit[cart]) error {
		return v.Logout(ctx, w)
	})
	return mux
}

func newSite(t *testing.T, h http.Handler) *site {
	t.Helper()
	ts := httptest.NewTLSServer(h)
	t.Cleanup(ts.Close)
	return &site{ts, ts.Client()}
}

// another is a browser of its own.
func (s *site) another(t *testing.T) *site {
	t.Helper()
	jar, err := cookiejar.New(nil)
	ok(t, err)
	browser := *s.Client()
	browser.Jar = jar
	return &site{s.Server, &browser}
}

// visit returns the cookie that the answer sets, nil where it sets none.
func (s *site) visit(t *testing.T, path string, status int, want string) *http.Cookie {
	t.Helper()
	resp, err := s.browser.Get(s.URL + path)
	ok(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ok(t, err)
	if got := strings.TrimSpace(string(body)); resp.StatusCode != status || got != want {
		t.Fatalf("%s answers %d %q, want %d %q", path, resp.StatusCode, got, status, want)
	}
	if resp.Header.Get("Vary") != "Cookie" {
		t.Errorf("%s varies with %q", path, resp.Header.Get("Vary"))
	}
	cookies := resp.Cookies()
	if set := resp.Header.Get("Cache-Control") == `no-cache="Set-Cookie"`; len(cookies) > 1 || set != (len(cookies) == 1) {
		t.Errorf("%s sets %d cookies, and says of caching %q", path, len(cookies), resp.Header.Get("Cache-Control"))
	}
	if len(cookies) == 0 {
		return nil
	}
	return cookies[0]
}

func TestHandler(t *testing.T) {
	everywhere(t, func(t *testing.T, b *bed) {
		s := b.store(t, nil)
		web := newSite(t, s.Handler(pages()))
		browser := web.another(t)
		if c := browser.visit(t, "/", 200, ""); c != nil || len(b.names(t, codec.KindSession)) != 0 {
			t.Error("a visit that changes nothing has left something")
		}
		browser.visit(t, "/regenerate", 401, "no session")
		first := browser.visit(t, "/save?note=cart", 200, "has cart")
		if first == nil || first.Name != "__Host-session" || !first.HttpOnly || !first.Secure || first.SameSite != http.SameSiteLaxMode ||
			first.Path != "/" || first.Domain != "" || first.MaxAge != 0 || !first.Expires.IsZero() {
			t.Fatalf("the cookie reads %v", first)
		}
		if c := browser.visit(t, "/", 200, "has cart"); c != nil {
			t.Errorf("reading has set %v", c)
		}
		if c := browser.visit(t, "/save?note=more", 200, "has more"); c != nil {
			t.Errorf("an update has set %v", c)
		}
		login := browser.visit(t, "/login?user=alice", 200, "alice has more")
		if login == nil || login.Value == first.Value {
			t.Fatal("logging in has kept the token")
		}
		gone(t, s, first.Value)
		moved := browser.visit(t, "/regenerate", 200, "alice has more")
		if moved == nil || moved.Value == login.Value {
			t.Fatal("the token is the same")
		}
		gone(t, s, login.Value)
		listed(t, s, "alice", "more")
		other := web.another(t)
		other.visit(t, "/login?user=alice", 200, "alice has nothing")
		out := browser.visit(t, "/logout", 200, "")
		if out == nil || out.MaxAge != -1 || out.Value != "" || out.Name != first.Name || !out.Secure {
			t.Errorf("logging out has set %v", out)
		}
		gone(t, s, moved.Value)
		browser.visit(t, "/", 200, "")
		listed(t, s, "alice", "nothing")
		other.visit(t, "/", 200, "alice has nothing")
		_, err := s.DestroyAll(t.Context(), "alice")
		ok(t, err)
		other.visit(t, "/", 200, "")
	})
}

// TestCookies sends what no browser would.
func TestCookies(t *testing.T) {
	b := onServer(t)
	s := b.store(t, nil)
	h := s.Handler(pages())
	token := create(t, s, "alice", "cart")
	for name, tc := range map[string]struct{ cookie, want string }{
		"the token":             {"__Host-session=" + token, "alice has cart"},
		"without the prefix":    {"session=" + token, ""},
		"two, the first counts": {"__Host-session=" + token + "; __Host-session=x", "alice has cart"},
		"garbage":               {"__Host-session=" + strings.Repeat("x", 4096), ""},
		"empty":                 {"__Host-session=", ""},
		"quoted":                {`__Host-session="` + token + `"`, "alice has cart"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", tc.cookie)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 200 || w.Body.String() != tc.want || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("%d %q, sets %q", w.Code, w.Body, w.Header().Get("Set-Cookie"))
			}
		})
	}
}

func TestCookieOptions(t *testing.T) {
	b := onServer(t)
	o := &session.Options{Absolute: 2 * time.Hour, Cookie: session.Cookie{Name: "sid", SameSite: http.SameSiteStrictMode, Persist: true, InsecurePlaintext: true}}
	h := b.store(t, o).Handler(pages())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/save?note=one", nil))
	c := w.Result().Cookies()[0]
	if c.Name != "sid" || c.Secure || c.SameSite != http.SameSiteStrictMode || c.MaxAge < 7190 || c.MaxAge > 7200 || time.Until(c.Expires).Round(time.Minute) != 2*time.Hour {
		t.Errorf("the cookie reads %v", c)
	}
}

// TestLostSave has two requests change the session that both have read.
func TestLostSave(t *testing.T) {
	b := onServer(t)
	s := b.store(t, nil)
	token := create(t, s, "", "cart")
	var inner http.Handler
	h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/outer" {
			again := httptest.NewRequest("GET", "/save?note=inner", nil)
			again.AddCookie(&http.Cookie{Name: "__Host-session", Value: token})
			inner.ServeHTTP(httptest.NewRecorder(), again)
		}
		v := session.From[cart](r.Context())
		err := v.Save(r.Context(), w, cart{Note: r.URL.Path})
		if r.URL.Path == "/outer" {
			is(t, "the outer one", err, securecache.ErrConflict)
			if v.Session().Value.Note != "cart" {
				t.Errorf("it takes its value for %q", v.Session().Value.Note)
			}
		}
	}))
	inner = h
	r := httptest.NewRequest("GET", "/outer", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: token})
	h.ServeHTTP(httptest.NewRecorder(), r)
	holds(t, s, token, "/save")
}

// TestRefusedVisit goes on without a session once all keys were revoked.
func TestRefusedVisit(t *testing.T) {
	b := onServer(t)
	var told refusals
	c, err := securecache.New(b.rdb, b.keys, &securecache.Options{OnRefused: told.add})
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	b.cache = c
	browser := newSite(t, b.store(t, nil).Handler(pages())).another(t)
	browser.visit(t, "/login?user=alice", 200, "alice has nothing")
	_, err = b.keys.RevokeAll(t.Context())
	ok(t, err)
	browser.visit(t, "/", 200, "")
	if told.take() != 1 {
		t.Error("nobody was told")
	}
	browser.visit(t, "/login?user=alice", 200, "alice has nothing")
	browser.visit(t, "/", 200, "alice has nothing")
}

func TestFailure(t *testing.T) {
	b := onServer(t)
	servertest.Real(t, b.env.Server)
	s := b.store(t, nil)
	own := b.store(t, &session.Options{OnFailure: func(w http.ResponseWriter, r *http.Request, err error) {
		if err == nil {
			t.Error("it is told no error")
		}
		http.Error(w, "come again", http.StatusTeapot)
	}})
	token := create(t, s, "alice", "one")
	ask := func(s *session.Store[cart], path string, patience time.Duration) *httptest.ResponseRecorder {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r := httptest.NewRequest("GET", path, nil).WithContext(ctx)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: token})
		w := httptest.NewRecorder()
		s.Handler(pages()).ServeHTTP(w, r)
		return w
	}
	const briefly = 200 * time.Millisecond
	ok(t, b.env.Server.Pause())
	if w := ask(s, "/", briefly); w.Code != 503 || strings.Contains(w.Body.String(), "session:") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w := ask(own, "/", briefly); w.Code != 418 {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	ok(t, b.env.Server.Resume())
	if w := ask(s, "/", time.Minute); w.Code != 200 || w.Body.String() != "alice has one" {
		t.Errorf("%d %q", w.Code, w.Body)
	}

	// A logout that fails leaves the cookie, for the next try.
	user := b.env.Client.Options().Username
	ok(t, b.admin.Do(t.Context(), "acl", "setuser", user, "-unlink").Err())
	if w := ask(s, "/logout", time.Minute); w.Code != 503 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("%d, sets %q", w.Code, w.Header().Get("Set-Cookie"))
	}
	ok(t, b.admin.Do(t.Context(), "acl", "setuser", user, "+unlink").Err())
	if w := ask(s, "/logout", time.Minute); w.Code != 200 || w.Header().Get("Set-Cookie") == "" {
		t.Errorf("%d, sets %q", w.Code, w.Header().Get("Set-Cookie"))
	}
	gone(t, s, token)
}

func TestFromWithoutHandler(t *testing.T) {
	env := securecachetest.Start(t)
	s, err := session.New(env.Cache, codec.JSON[string](), nil)
	ok(t, err)
	h := s.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = session.From[string](r.Context())
		defer func() {
			if recover() == nil {
				t.Error("a session of another type was found")
			}
		}()
		_ = session.From[int](r.Context())
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}
