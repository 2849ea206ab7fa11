package lock_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache/lock"
)

func user(r *http.Request) string { return r.Header.Get("User") }

// as sends a request in a user's name and returns the answer's status.
func as(t testing.TB, url, name string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	ok(t, err)
	r.Header.Set("User", name)
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ok(t, err)
	return resp, string(body)
}

// slow serves until it is told to go on.
type slow struct {
	entered chan context.Context
	leave   chan struct{}
}

func newSlow() *slow {
	return &slow{entered: make(chan context.Context, 8), leave: make(chan struct{})}
}

func (s *slow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.entered <- r.Context()
	select {
	case <-s.leave:
	case <-r.Context().Done():
		http.Error(w, "lost", http.StatusInternalServerError)
	}
}

func guarded(t *testing.T, l *lock.Locker, o *lock.HTTPOptions, h http.Handler) *httptest.Server {
	t.Helper()
	guard, err := l.Middleware(user, o)
	ok(t, err)
	s := httptest.NewServer(guard(h))
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	t.Cleanup(s.Close)
	return s
}

func TestMiddleware(t *testing.T) {
	for name, tc := range map[string]struct {
		options    *lock.HTTPOptions
		status     int
		retryAfter string
	}{
		"conflict":          {nil, http.StatusConflict, ""},
		"too many requests": {&lock.HTTPOptions{Status: http.StatusTooManyRequests}, http.StatusTooManyRequests, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			env, l := start(t, nil)
			_ = env
			h := newSlow()
			s := guarded(t, l, tc.options, h)
			done := make(chan int, 3)
			go func() { resp, _ := as(t, s.URL, "alice"); done <- resp.StatusCode }()
			ctx := returns(t, "the first request", h.entered)
			if held, there := lock.FromContext(ctx); !there || held.Fence() == 0 {
				t.Errorf("%v, %t", held, there)
			}
			resp, _ := as(t, s.URL, "alice")
			if resp.StatusCode != tc.status || resp.Header.Get("Retry-After") != tc.retryAfter {
				t.Errorf("the second is answered %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
			}
			for _, name := range []string{"bob", ""} { // somebody else, and whoever has no name
				go func() { resp, _ := as(t, s.URL, name); done <- resp.StatusCode }()
				returns(t, "a request of "+name, h.entered)
			}
			close(h.leave)
			for range 3 {
				if status := returns(t, "the answers", done); status != http.StatusOK {
					t.Errorf("answered %d", status)
				}
			}
			resp, _ = as(t, s.URL, "alice")
			if resp.StatusCode != http.StatusOK {
				t.Errorf("once the first is done: %d", resp.StatusCode)
			}
		})
	}
}

func TestMiddlewareEndsARequestWhoseLockIsLost(t *testing.T) {
	env, l := start(t, nil)
	h := newSlow()
	s := guarded(t, l, &lock.HTTPOptions{TTL: 300 * time.Millisecond}, h)
	done := make(chan int, 1)
	go func() { resp, _ := as(t, s.URL, "alice"); done <- resp.StatusCode }()
	ctx := returns(t, "the request", h.entered)
	ok(t, env.Admin.FlushAll(t.Context()).Err())
	if status := returns(t, "the answer", done); status != http.StatusInternalServerError || context.Cause(ctx) != lock.ErrLost {
		t.Errorf("%d, by %v", status, context.Cause(ctx))
	}
}

func TestMiddlewareWithoutServer(t *testing.T) {
	env, l := start(t, nil)
	servertest.Real(t, env.Server)
	h := newSlow()
	close(h.leave)
	closed := guarded(t, l, nil, h)
	open := guarded(t, l, &lock.HTTPOptions{OnError: func(w http.ResponseWriter, r *http.Request, next http.Handler, _ error) {
		next.ServeHTTP(w, r)
	}}, h)
	ok(t, env.Server.Stop())
	if resp, body := as(t, closed.URL, "alice"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := as(t, open.URL, "alice"); resp.StatusCode != http.StatusOK {
		t.Errorf("told to go on without: %d", resp.StatusCode)
	}
}

func TestMiddlewareReleasesAfterAPanic(t *testing.T) {
	_, l := start(t, nil)
	guard, err := l.Middleware(user, nil)
	ok(t, err)
	h := guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	r.Header.Set("User", "alice")
	func() {
		defer func() { _ = recover() }()
		h.ServeHTTP(httptest.NewRecorder(), r)
	}()
	release(t, try(t, l, "alice", time.Minute))
}

func TestMiddlewareMistakes(t *testing.T) {
	_, l := start(t, nil)
	for name, call := range map[string]func() error{
		"no name":     func() error { _, err := l.Middleware(nil, nil); return err },
		"status":      func() error { _, err := l.Middleware(user, &lock.HTTPOptions{Status: http.StatusTeapot}); return err },
		"a short TTL": func() error { _, err := l.Middleware(user, &lock.HTTPOptions{TTL: 1}); return err },
	} {
		if call() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
