package limit_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
	"github.com/securecache/securecache-go/securecachetest"
)

func leases(t testing.TB, c *securecache.Cache, number int, ttl time.Duration, o *limit.Options) *limit.Leases {
	t.Helper()
	l, err := limit.NewLeases(c, number, ttl, o)
	ok(t, err)
	return l
}

// acquire obtains a lease, or is refused one, from a server that answers.
func acquire(t testing.TB, l *limit.Leases, name string, want bool) (*limit.Lease, limit.Result) {
	t.Helper()
	lease, res, err := l.Acquire(t.Context(), name)
	ok(t, err)
	if res.Allowed != want || (lease != nil) != want {
		t.Fatalf("%+v, want %t", res, want)
	}
	return lease, res
}

func TestLeases(t *testing.T) {
	faces(t, func(t *testing.T, env *securecachetest.Env, c *securecache.Cache) {
		l := leases(t, c, 2, time.Minute, nil)
		ctx := t.Context()
		before := time.Now()
		one, res := acquire(t, l, "report", true)
		if res.Limit != 2 || res.Remaining != 1 || res.RetryAfter != 0 {
			t.Errorf("%+v", res)
		}
		if until := one.Until(); until.Before(before.Add(59*time.Second)) || until.After(before.Add(time.Minute)) {
			t.Errorf("until %v from now", until.Sub(before))
		}
		if res, err := l.Peek(ctx, "report"); err != nil || !res.Allowed || res.Remaining != 1 {
			t.Errorf("a look: %+v, %v", res, err)
		}
		two, _ := acquire(t, l, "report", true)
		if _, res := acquire(t, l, "report", false); res.Remaining != 0 || res.RetryAfter <= 50*time.Second || res.RetryAfter > time.Minute {
			t.Errorf("%+v", res)
		}
		if res, err := l.Peek(ctx, "report"); err != nil || res.Allowed || res.RetryAfter <= 0 {
			t.Errorf("a look at no room: %+v, %v", res, err)
		}
		acquire(t, l, "another report", true)
		ok(t, one.Renew(ctx))
		ok(t, one.Release(ctx))
		for what, err := range map[string]error{"released again": one.Release(ctx), "renewed": one.Renew(ctx)} {
			if !errors.Is(err, limit.ErrLost) {
				t.Errorf("%s after its release: %v", what, err)
			}
		}
		acquire(t, l, "report", true)
		acquire(t, l, "report", false)
		ok(t, two.Release(ctx))
		acquire(t, l, "report", true)
		for _, err := range []error{second(l.Peek(ctx, "")), third(l.Acquire(ctx, ""))} {
			if !errors.Is(err, securecache.ErrName) || errors.Is(err, limit.ErrNoAnswer) {
				t.Errorf("of no name: %v", err)
			}
		}
	})
}

func third[T, U any](_ T, _ U, err error) error { return err }

func TestLeasesEnd(t *testing.T) {
	b := onMini(t)
	l := leases(t, b.cache, 1, time.Minute, nil)
	ctx := t.Context()
	old, _ := acquire(t, l, "report", true)
	b.pass(59 * time.Second)
	ok(t, old.Renew(ctx))
	b.pass(59 * time.Second)
	if _, res := acquire(t, l, "report", false); res.RetryAfter != time.Second {
		t.Errorf("%+v", res)
	}
	b.pass(time.Second)
	if err := old.Renew(ctx); !errors.Is(err, limit.ErrLost) {
		t.Errorf("renewed at its end: %v", err)
	}
	next, _ := acquire(t, l, "report", true)
	if err := old.Release(ctx); !errors.Is(err, limit.ErrLost) {
		t.Errorf("released after its end: %v", err)
	}
	acquire(t, l, "report", false) // and the other's was left alone
	ok(t, next.Release(ctx))
	if names := b.mini.Keys(); len(names) != 0 {
		t.Errorf("%d keys are left", len(names))
	}
	acquire(t, l, "report", true)
	b.pass(time.Minute + 2*time.Millisecond)
	if names := b.mini.Keys(); len(names) != 0 {
		t.Errorf("%d keys outlive what they hold", len(names))
	}
}

func TestLeasesAmongMany(t *testing.T) {
	faces(t, func(t *testing.T, _ *securecachetest.Env, c *securecache.Cache) {
		l := leases(t, c, 3, time.Minute, nil)
		var running, most atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 30 {
					lease, _, err := l.Acquire(t.Context(), "report")
					if err != nil {
						t.Error(err)
					}
					if lease == nil {
						continue
					}
					if n := running.Add(1); n > most.Load() {
						most.Store(n)
					}
					running.Add(-1)
					if err := lease.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if most.Load() > 3 {
			t.Errorf("%d at a time", most.Load())
		}
	})
}

func TestNewLeasesRefuses(t *testing.T) {
	c := absent(t)
	for name, tc := range map[string]struct {
		number  int
		ttl     time.Duration
		options limit.Options
		want    error
	}{
		"none":                {0, time.Minute, limit.Options{}, limit.ErrRate},
		"fewer":               {-1, time.Minute, limit.Options{}, limit.ErrRate},
		"too many":            {1 << 31, time.Minute, limit.Options{}, limit.ErrRate},
		"no TTL":              {1, 0, limit.Options{}, limit.ErrRate},
		"a TTL of a year":     {1, 366 * 24 * time.Hour, limit.Options{}, limit.ErrRate},
		"Local without nodes": {1, time.Minute, limit.Options{WhenAway: limit.Local}, nil},
	} {
		if _, err := limit.NewLeases(c, tc.number, tc.ttl, &tc.options); err == nil || !errors.Is(err, tc.want) && tc.want != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := limit.NewLeases(nil, 1, time.Minute, nil); err == nil {
		t.Error("no cache")
	}
}

// TestLeasesWithoutServer goes through the policies.
func TestLeasesWithoutServer(t *testing.T) {
	ctx := t.Context()
	c := absent(t)
	closed := leases(t, c, 2, time.Minute, nil)
	if lease, res, err := closed.Acquire(ctx, "a"); lease != nil || res.Allowed || !errors.Is(err, limit.ErrNoAnswer) {
		t.Errorf("closed: %+v, %v", res, err)
	}
	open := leases(t, c, 2, time.Minute, &limit.Options{WhenAway: limit.FailOpen})
	for range 3 {
		lease, res, err := open.Acquire(ctx, "a")
		if lease == nil || !res.Allowed || !errors.Is(err, limit.ErrNoAnswer) {
			t.Fatalf("open: %+v, %v", res, err)
		}
		ok(t, lease.Renew(ctx))
		ok(t, lease.Release(ctx))
	}
	now := servertest.NewClock(time.Now())
	local := leases(t, c, 8, time.Minute, &limit.Options{WhenAway: limit.Local, Nodes: 3, Now: now.Now})
	take := func(name string, want bool) (*limit.Lease, limit.Result) {
		t.Helper()
		lease, res, err := local.Acquire(ctx, name)
		if (lease != nil) != want || res.Allowed != want || !errors.Is(err, limit.ErrNoAnswer) {
			t.Fatalf("local: %+v, %v; want %t", res, err, want)
		}
		return lease, res
	}
	one, res := take("a", true)
	if res.Limit != 2 || res.Remaining != 1 {
		t.Errorf("%+v", res)
	}
	now.Advance(10 * time.Second)
	two, _ := take("a", true)
	if _, res := take("a", false); res.RetryAfter != 50*time.Second || res.Remaining != 0 {
		t.Errorf("%+v", res)
	}
	if res, err := local.Peek(ctx, "a"); res.Allowed || !errors.Is(err, limit.ErrNoAnswer) {
		t.Errorf("%+v, %v", res, err)
	}
	take("b", true)
	ok(t, two.Renew(ctx))
	now.Advance(50 * time.Second)
	if err := one.Renew(ctx); !errors.Is(err, limit.ErrLost) {
		t.Errorf("renewed at its end: %v", err)
	}
	take("a", true)
	take("a", false)
	ok(t, two.Release(ctx))
	if err := two.Release(ctx); !errors.Is(err, limit.ErrLost) {
		t.Errorf("released twice: %v", err)
	}
	take("a", true)
}

// TestHostileReplies: what cannot be is no answer, and breaks nothing.
func TestHostileReplies(t *testing.T) {
	numbers := func(list ...int) func(*server.Peer) {
		return func(c *server.Peer) {
			c.WriteLen(len(list))
			for _, n := range list {
				c.WriteInt(n)
			}
		}
	}
	const great = 1 << 62
	for name, reply := range map[string]func(*server.Peer){
		"a text":                     func(c *server.Peer) { c.WriteBulk("1") },
		"nothing":                    func(c *server.Peer) { c.WriteNull() },
		"more than there is":         func(c *server.Peer) { c.WriteInt(great) },
		"less than nothing":          func(c *server.Peer) { c.WriteInt(-great) },
		"the least number":           func(c *server.Peer) { c.WriteInt(-great - great) },
		"refused from the full":      func(c *server.Peer) { c.WriteInt(-1) },
		"no numbers":                 numbers(),
		"too few":                    numbers(1),
		"too many":                   numbers(1, 2, 3, 4, 5),
		"texts":                      func(c *server.Peer) { c.WriteStrings([]string{"1", "2", "3"}) },
		"three, and more taken":      numbers(1, great, 1000),
		"three, and refused room":    numbers(0, 1, 1000),
		"three, and a long window":   numbers(1, 1, great),
		"three, one below nothing":   numbers(1, -1, 1000),
		"four, and more before":      numbers(1, great, 1, 1000),
		"four, and too much":         numbers(1, 10, 10, 60_000),
		"four, and refused room":     numbers(0, 0, 1, 1000),
		"four, and neither 0 nor 1":  numbers(2, 1, 1, 1000),
		"three, and neither 0 nor 1": numbers(2, 1, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			c := saying(t, reply)
			for which, algorithm := range algorithms {
				l := limiter(t, c, limit.Rate{Count: 10, Period: time.Minute}, &limit.Options{Algorithm: algorithm})
				if res, err := l.Allow(t.Context(), "a"); res != (limit.Result{}) || !errors.Is(err, limit.ErrNoAnswer) {
					t.Errorf("%s: %+v, %v", which, res, err)
				}
				if res, err := l.Peek(t.Context(), "a"); err == nil && (res.Remaining < 0 || res.Remaining > 10 || res.RetryAfter < 0) {
					t.Errorf("%s: a look: %+v", which, res)
				}
			}
			l := leases(t, c, 10, time.Minute, nil)
			if _, res, err := l.Acquire(context.Background(), "a"); err == nil && (res.Remaining < 0 || res.Remaining > 10 || res.RetryAfter < 0) {
				t.Errorf("a lease: %+v", res)
			}
		})
	}
}
