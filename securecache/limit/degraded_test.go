package limit_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
	"github.com/securecache/securecache-go/securecachetest"
)

// patience is Options.Timeout where the server says nothing; slack is for a
// machine whose cores are all taken by other tests.
const (
	patience = 300 * time.Millisecond
	slack    = 10 * time.Second
)

var hour = limit.Rate{Count: 2, Period: time.Hour}

// policies and what they say to the first two that ask, and to a third.
var policies = map[limit.WhenAway]struct{ first, third bool }{
	limit.FailClosed: {false, false}, limit.FailOpen: {true, true}, limit.Local: {true, false},
}

// ward is what is asked of a server that falls ill.
type ward struct {
	cache *securecache.Cache
	says  string         // the server does, "" where it says nothing
	waits time.Duration  // a caller does at most
	full  *limit.Limiter // under which "used up" is
	lease *limit.Lease
}

func admit(t *testing.T, c *securecache.Cache, says string) *ward {
	t.Helper()
	w := &ward{cache: c, says: says, waits: slack}
	if says == "" {
		w.waits = patience
	}
	allowed(t, limiter(t, c, hour, nil), "used up", 2, true)
	w.full = limiter(t, c, hour, &limit.Options{WhenAway: limit.FailOpen, Timeout: w.waits})
	w.lease, _ = acquire(t, leases(t, c, 1, time.Minute, nil), "job", true)
	return w
}

// takes asks for what has to be written.
func (w *ward) takes(t *testing.T) {
	t.Helper()
	for away, want := range policies {
		var told atomic.Int64
		o := &limit.Options{WhenAway: away, Nodes: 1, Timeout: w.waits, OnError: func(error) { told.Add(1) }}
		l := limiter(t, w.cache, hour, o)
		for i, want := range []bool{want.first, want.first, want.third} {
			began := time.Now()
			res, err := l.Allow(t.Context(), "fresh")
			if res.Allowed != want || !w.noAnswer(err) || time.Since(began) > w.waits+slack || told.Load() != int64(i+1) {
				t.Errorf("policy %d, time %d, after %v, told %d times: %+v, %v", away, i, time.Since(began), told.Load(), res, err)
			}
		}
		lease, res, err := leases(t, w.cache, 1, time.Minute, o).Acquire(t.Context(), "another job")
		if (lease != nil) != want.first || res.Allowed != want.first || !w.noAnswer(err) {
			t.Errorf("policy %d, a lease: %+v, %v", away, res, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), w.waits)
	defer cancel()
	if err := w.lease.Renew(ctx); !w.noAnswer(err) {
		t.Errorf("a lease is renewed: %v", err)
	}
}

// noAnswer reports whether an error says that there was none, and what the server
// said in its place.
func (w *ward) noAnswer(err error) bool {
	return errors.Is(err, limit.ErrNoAnswer) && !errors.Is(err, limit.ErrLost) && strings.Contains(err.Error(), w.says)
}

// looks asks for what need not be written: where that works, a refusal is one
// under every policy.
func (w *ward) looks(t *testing.T, works bool) {
	t.Helper()
	for what, ask := range map[string]func(context.Context, string) (limit.Result, error){"Peek": w.full.Peek, "Allow": w.full.Allow} {
		res, err := ask(t.Context(), "used up")
		if works && (err != nil || res.Allowed) || !works && (!w.noAnswer(err) || !res.Allowed) {
			t.Errorf("%s of what is used up: %+v, %v", what, res, err)
		}
	}
}

// forgets asks for what frees memory.
func (w *ward) forgets(t *testing.T, works bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*w.waits)
	defer cancel()
	for what, err := range map[string]error{"Reset": w.full.Reset(ctx, "nothing"), "Release": w.lease.Release(ctx)} {
		if works && err != nil || !works && !w.noAnswer(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDegraded(t *testing.T) {
	works := map[string]struct{ looks, forgets bool }{
		"read-only": {looks: true}, "out of memory": {looks: true, forgets: true},
	}
	for name, ill := range servertest.Ills {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := securecachetest.Start(t, securecachetest.WithPersistence())
			servertest.Real(t, env.Server)
			w := admit(t, env.Cache, ill.Says)
			patient := servertest.Patient{Server: env.Server, Admin: env.Admin, App: env.Client.Options().Username}
			ok(t, ill.Ail(t.Context(), patient))
			w.takes(t)
			w.looks(t, works[name].looks)
			w.forgets(t, works[name].forgets)
			ok(t, ill.Mend(t.Context(), patient))
			w.mends(t)
		})
	}
}

// mends waits until the server answers again, by what it has kept.
func (w *ward) mends(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		res, err := w.full.Peek(ctx, "used up")
		if err == nil {
			if res.Allowed {
				t.Errorf("what was used up is forgotten: %+v", res)
			}
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestServerSays has the server answer each command with an error of its own.
func TestServerSays(t *testing.T) {
	for name, text := range servertest.Replies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onMini(t)
			w := admit(t, b.cache, strings.Fields(text)[0])
			b.mini.SetError(text)
			w.takes(t)
			w.looks(t, false)
			w.forgets(t, false)
			b.mini.SetError("")
			w.mends(t)
			w.forgets(t, true)
		})
	}
}

// TestCallerHangsUp: that is refused under every policy, or it would be a way
// through.
func TestCallerHangsUp(t *testing.T) {
	c := absent(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for away := range policies {
		l := limiter(t, c, hour, &limit.Options{WhenAway: away, Nodes: 1, OnError: func(err error) { t.Errorf("told: %v", err) }})
		if res, err := l.Allow(gone, "a"); res.Allowed || !errors.Is(err, context.Canceled) || errors.Is(err, limit.ErrNoAnswer) {
			t.Errorf("policy %d: %+v, %v", away, res, err)
		}
	}
}
