package limit_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
)

// absent is a cache whose server refuses every command at once.
func absent(t testing.TB) *securecache.Cache {
	t.Helper()
	return saying(t, func(c *server.Peer) { c.WriteError("ERR this server does nothing") })
}

// saying is a cache on a server that answers every script with what reply
// writes, and knows nothing else.
func saying(t testing.TB, reply func(*server.Peer)) *securecache.Cache {
	t.Helper()
	s, err := server.NewServer("127.0.0.1:0")
	ok(t, err)
	t.Cleanup(s.Close)
	ok(t, s.Register("EVALSHA", func(c *server.Peer, _ string, _ []string) { reply(c) }))
	return cacheAt(t, s.Addr().String())
}

// here is a limiter that has no server.
func here(t testing.TB, r limit.Rate, nodes int, algorithm limit.Algorithm) (*limit.Limiter, *servertest.Clock) {
	t.Helper()
	now := servertest.NewClock(time.Now())
	return limiter(t, absent(t), r, &limit.Options{Algorithm: algorithm, WhenAway: limit.Local, Nodes: nodes, Now: now.Now}), now
}

// locally takes n where no server answers.
func locally(t testing.TB, l *limit.Limiter, name string, n int, want bool) limit.Result {
	t.Helper()
	res, err := l.AllowN(t.Context(), name, n)
	if res.Allowed != want || !errors.Is(err, limit.ErrNoAnswer) {
		t.Errorf("%d of %s: %+v, %v; want %t", n, name, res, err, want)
	}
	return res
}

func TestLocal(t *testing.T) {
	for name, tc := range map[string]struct {
		rate      limit.Rate
		nodes     int
		algorithm limit.Algorithm
		burst     int
		every     time.Duration
	}{
		"alone":                {limit.Rate{Count: 10, Period: time.Second}, 1, limit.GCRA, 10, 100 * time.Millisecond},
		"one of four":          {limit.Rate{Count: 10, Period: time.Second}, 4, limit.GCRA, 2, 400 * time.Millisecond},
		"with a burst":         {limit.Rate{Count: 10, Period: time.Second, Burst: 40}, 4, limit.GCRA, 10, 400 * time.Millisecond},
		"more nodes than that": {limit.Rate{Count: 10, Period: time.Second}, 100, limit.GCRA, 1, 10 * time.Second},
		"a fixed window":       {limit.Rate{Count: 10, Period: time.Second}, 2, limit.FixedWindow, 5, 200 * time.Millisecond},
		"a sliding window":     {limit.Rate{Count: 10, Period: time.Second}, 5, limit.SlidingWindow, 2, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			l, now := here(t, tc.rate, tc.nodes, tc.algorithm)
			if res, err := l.Peek(t.Context(), "a"); !res.Allowed || res.Remaining != tc.burst || !errors.Is(err, limit.ErrNoAnswer) {
				t.Errorf("a look: %+v, %v", res, err)
			}
			for left := tc.burst - 1; left >= 0; left-- {
				if res := locally(t, l, "a", 1, true); res.Limit != tc.burst || res.Remaining != left {
					t.Errorf("%+v", res)
				}
			}
			if res := locally(t, l, "a", 1, false); res.RetryAfter != tc.every || res.ResetAfter != time.Duration(tc.burst)*tc.every {
				t.Errorf("%+v", res)
			}
			locally(t, l, "b", tc.burst, true)
			now.Advance(tc.every - time.Microsecond)
			locally(t, l, "a", 1, false)
			now.Advance(time.Microsecond)
			locally(t, l, "a", 1, true)
			locally(t, l, "a", 1, false)
			now.Advance(-time.Hour) // never more than all of it to wait for
			if res := locally(t, l, "a", 1, false); res.ResetAfter > time.Duration(tc.burst)*tc.every {
				t.Errorf("%+v", res)
			}
			if err := l.Reset(t.Context(), "a"); !errors.Is(err, limit.ErrNoAnswer) {
				t.Errorf("a reset that the server has not heard of: %v", err)
			}
			locally(t, l, "a", tc.burst, true)
		})
	}
}

// TestLocalShareTooSmall: what one node can never give is refused, without a time
// to come back at.
func TestLocalShareTooSmall(t *testing.T) {
	l, _ := here(t, limit.Rate{Count: 10, Period: time.Second}, 5, limit.GCRA)
	if res := locally(t, l, "a", 3, false); res.RetryAfter != 0 || res.Limit != 2 || res.Remaining != 2 {
		t.Errorf("%+v", res)
	}
	locally(t, l, "a", 2, true)
	if _, err := l.AllowN(t.Context(), "a", 11); !isCost(err) {
		t.Errorf("more than the whole limit: %v", err)
	}
}

func TestLocalAmongMany(t *testing.T) {
	l, _ := here(t, limit.Rate{Count: 100, Period: time.Hour}, 1, limit.GCRA)
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				if res, _ := l.Allow(t.Context(), "a"); res.Allowed {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if taken.Load() != 100 {
		t.Errorf("%d were taken", taken.Load())
	}
}

// TestLocalForgets: names that nothing is known of any more make room, and those
// that are beyond all room are refused.
func TestLocalForgets(t *testing.T) {
	table, now := limit.NewTable(), time.Now()
	live := func(end time.Time) bool { return !end.After(now) }
	for i := range 3 * limit.MaxNames {
		name := fmt.Sprint(i)
		if room := table.Room(name, now, live); room != (i < limit.MaxNames) {
			t.Fatalf("room for name %d: %t", i, room)
		} else if room {
			table.Set(name, now.Add(time.Second))
		}
	}
	if !table.Room("0", now, live) {
		t.Error("what is known has no room")
	}
	now = now.Add(2 * time.Second)
	if !table.Room("new", now, live) || table.Len() != 0 {
		t.Errorf("%d names are left when all of them are over", table.Len())
	}
}
