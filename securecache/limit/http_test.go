package limit_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache/limit"
)

// served sends a request in a user's name through the middleware.
func served(t testing.TB, l *limit.Limiter, o *limit.HTTPOptions, user string) *http.Response {
	t.Helper()
	guard, err := l.Middleware(func(r *http.Request) string { return r.Header.Get("User") }, o)
	ok(t, err)
	h := guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("User", user)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// fields are the response's headers that speak of limits.
type fields struct {
	status                                          int
	policy, limit, retryAfter, most, left, resetsIn string
}

func fieldsOf(r *http.Response) fields {
	h := r.Header
	return fields{r.StatusCode, h.Get("RateLimit-Policy"), h.Get("RateLimit"), h.Get("Retry-After"),
		h.Get("RateLimit-Limit"), h.Get("RateLimit-Remaining"), h.Get("RateLimit-Reset")}
}

func TestMiddleware(t *testing.T) {
	b := onMini(t)
	l := limiter(t, b.cache, limit.Rate{Count: 2, Period: time.Minute}, nil)
	const policy = `"default";q=2;w=60`
	for _, step := range []struct {
		what string
		pass time.Duration
		user string
		want fields
	}{
		{"the first", 0, "alice", fields{status: 204, policy: policy, limit: `"default";r=1;t=30`}},
		{"the second", 0, "alice", fields{status: 204, policy: policy, limit: `"default";r=0;t=60`}},
		{"one too many", 0, "alice", fields{status: 429, policy: policy, limit: `"default";r=0;t=30`, retryAfter: "30"}},
		{"a second is begun", 500 * time.Millisecond, "alice", fields{status: 429, policy: policy, limit: `"default";r=0;t=30`, retryAfter: "30"}},
		{"a moment too early", 29 * time.Second, "alice", fields{status: 429, policy: policy, limit: `"default";r=0;t=1`, retryAfter: "1"}},
		{"somebody else", 0, "bob", fields{status: 204, policy: policy, limit: `"default";r=1;t=30`}},
		{"nobody", 0, "", fields{status: 204}},
		{"in time", time.Second, "alice", fields{status: 204, policy: policy, limit: `"default";r=0;t=60`}},
	} {
		b.pass(step.pass)
		if got := fieldsOf(served(t, l, nil, step.user)); got != step.want {
			t.Errorf("%s: %+v, want %+v", step.what, got, step.want)
		}
	}
	separate := &limit.HTTPOptions{Policy: "per-user", Separate: true}
	want := fields{status: 204, policy: `"per-user";q=2;w=60`, limit: `"per-user";r=1;t=30`, most: "2", left: "1", resetsIn: "30"}
	if got := fieldsOf(served(t, l, separate, "carol")); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestMiddlewareOfTwo: a request that passes two limits carries both.
func TestMiddlewareOfTwo(t *testing.T) {
	b := onMini(t)
	user := func(*http.Request) string { return "alice" }
	minute, err := limiter(t, b.cache, limit.Rate{Count: 2, Period: time.Minute}, nil).Middleware(user, &limit.HTTPOptions{Policy: "minute"})
	ok(t, err)
	day, err := limiter(t, b.cache, limit.Rate{Count: 9, Period: 24 * time.Hour}, &limit.Options{Algorithm: limit.FixedWindow}).
		Middleware(user, &limit.HTTPOptions{Policy: "day"})
	ok(t, err)
	w := httptest.NewRecorder()
	minute(day(http.NotFoundHandler())).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	got := w.Header()["Ratelimit"]
	if len(got) != 2 || got[0] != `"minute";r=1;t=30` || got[1] != `"day";r=8;t=86400` || len(w.Header()["Ratelimit-Policy"]) != 2 {
		t.Errorf("%q, %q", got, w.Header()["Ratelimit-Policy"])
	}
}

func TestMiddlewareWithoutServer(t *testing.T) {
	c := absent(t)
	own := &limit.HTTPOptions{
		OnRefused: func(w http.ResponseWriter, _ *http.Request, _ limit.Result) { w.WriteHeader(http.StatusTeapot) },
		OnError:   func(w http.ResponseWriter, r *http.Request, next http.Handler, _ error) { next.ServeHTTP(w, r) },
	}
	for name, tc := range map[string]struct {
		away limit.WhenAway
		o    *limit.HTTPOptions
		want []fields
	}{
		"closed":            {limit.FailClosed, nil, []fields{{status: 503, retryAfter: "1"}}},
		"closed, and asked": {limit.FailClosed, own, []fields{{status: 204}}},
		"open":              {limit.FailOpen, nil, []fields{{status: 204}, {status: 204}}},
		"local":             {limit.Local, nil, []fields{{status: 204}, {status: 429, retryAfter: "3600"}}},
		"local, and asked":  {limit.Local, own, []fields{{status: 204}, {status: 418, retryAfter: "3600"}}},
	} {
		now := servertest.NewClock(time.Now())
		l := limiter(t, c, limit.Rate{Count: 1, Period: time.Hour}, &limit.Options{WhenAway: tc.away, Nodes: 1, Now: now.Now})
		for i, want := range tc.want {
			if got := fieldsOf(served(t, l, tc.o, "alice")); got != want {
				t.Errorf("%s, time %d: %+v, want %+v", name, i, got, want)
			}
		}
	}
}

func TestMiddlewareMistakes(t *testing.T) {
	l := limiter(t, absent(t), hour, nil)
	if _, err := l.Middleware(nil, nil); err == nil {
		t.Error("whose request it is was not said")
	}
	for _, policy := range []string{"a b", `"`, "ä", "a;b", "a\n"} {
		if _, err := l.Middleware(func(*http.Request) string { return "" }, &limit.HTTPOptions{Policy: policy}); err == nil {
			t.Errorf("a policy called %q", policy)
		}
	}
}
