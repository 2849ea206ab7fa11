package limit_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestLimiter(t *testing.T) {
	faces(t, func(t *testing.T, env *securecachetest.Env, c *securecache.Cache) {
		for name, algorithm := range algorithms {
			t.Run(name, func(t *testing.T) {
				l := limiter(t, c, limit.Rate{Count: 5, Period: time.Minute}, &limit.Options{Algorithm: algorithm})
				if res, err := l.Peek(t.Context(), "user/1"); err != nil || !res.Allowed || res.Remaining != 5 || res.ResetAfter != 0 {
					t.Errorf("a look at what was never used: %+v, %v", res, err)
				}
				for left := 4; left >= 3; left-- {
					res := allowed(t, l, "user/1", 1, true)
					if res.Limit != 5 || res.Remaining != left || res.RetryAfter != 0 || res.ResetAfter <= 0 || res.ResetAfter > 2*time.Minute {
						t.Errorf("%+v", res)
					}
				}
				if res := allowed(t, l, "user/1", 4, false); res.Remaining != 3 || res.RetryAfter <= 0 || res.RetryAfter > 2*time.Minute {
					t.Errorf("more than is left: %+v", res)
				}
				allowed(t, l, "user/1", 3, true)
				allowed(t, l, "user/1", 1, false)
				if res, err := l.Peek(t.Context(), "user/1"); err != nil || res.Allowed || res.Remaining != 0 || res.RetryAfter <= 0 {
					t.Errorf("a look at what is used up: %+v, %v", res, err)
				}
				allowed(t, l, "user/2", 5, true) // another's
				ok(t, l.Reset(t.Context(), "user/1"))
				ok(t, l.Reset(t.Context(), "user/1"))
				allowed(t, l, "user/1", 5, true)
			})
		}
		for _, name := range env.Admin.Keys(t.Context(), "*").Val() {
			if !strings.HasPrefix(name, "sc:test:r:{") || strings.Contains(name, "user") {
				t.Errorf("a key reads %s", name)
			}
			if ttl := env.Admin.PTTL(t.Context(), name).Val(); ttl <= 0 || ttl > 2*time.Minute+time.Second {
				t.Errorf("%s is kept for %v", name, ttl)
			}
		}
	})
}

// TestRooms: names of different algorithms and tags have nothing to do with each
// other.
func TestRooms(t *testing.T) {
	env := securecachetest.Start(t)
	rate := limit.Rate{Count: 1, Period: time.Minute}
	for _, c := range []*securecache.Cache{env.Cache, env.Cache.Tagged("a"), env.Cache.Tagged("b")} {
		for _, algorithm := range algorithms {
			l := limiter(t, c, rate, &limit.Options{Algorithm: algorithm})
			allowed(t, l, "name", 1, true)
			allowed(t, limiter(t, c, rate, &limit.Options{Algorithm: algorithm}), "name", 1, false)
		}
		leases, err := limit.NewLeases(c, 1, time.Minute, nil)
		ok(t, err)
		lease, _, err := leases.Acquire(t.Context(), "name")
		if lease == nil || err != nil {
			t.Errorf("a lease of the same name: %v", err)
		}
	}
}

func TestBurst(t *testing.T) {
	env := securecachetest.Start(t)
	l := limiter(t, env.Cache, limit.Rate{Count: 1, Period: time.Hour, Burst: 10}, nil)
	if res := allowed(t, l, "a", 10, true); res.Limit != 10 || res.ResetAfter != 10*time.Hour {
		t.Errorf("%+v", res)
	}
	if res := allowed(t, l, "a", 2, false); res.RetryAfter <= 119*time.Minute || res.RetryAfter > 2*time.Hour {
		t.Errorf("%+v", res)
	}
	one := limiter(t, env.Cache, limit.Rate{Count: 10, Period: 10 * time.Hour, Burst: 1}, nil)
	allowed(t, one, "b", 1, true)
	if res := allowed(t, one, "b", 1, false); res.Limit != 1 || res.RetryAfter > time.Hour {
		t.Errorf("%+v", res)
	}
}

func TestCost(t *testing.T) {
	env := securecachetest.Start(t)
	for name, algorithm := range algorithms {
		l := limiter(t, env.Cache, limit.Rate{Count: 5, Period: time.Minute}, &limit.Options{
			Algorithm: algorithm, WhenAway: limit.FailOpen,
			OnError: func(err error) { t.Errorf("a mistake of the caller's is told as the server's: %v", err) },
		})
		for _, n := range []int{-1, 0, 6, 1 << 40} {
			res, err := l.AllowN(t.Context(), "a", n)
			var cost *limit.CostError
			if res.Allowed || !errors.As(err, &cost) || cost.Cost != n || cost.Limit != 5 || errors.Is(err, limit.ErrNoAnswer) {
				t.Errorf("%s: %d of 5: %+v, %v", name, n, res, err)
			}
		}
		for what, err := range map[string]error{
			"Allow": second(l.Allow(t.Context(), "")), "Peek": second(l.Peek(t.Context(), "")), "Reset": l.Reset(t.Context(), ""),
		} {
			if !errors.Is(err, securecache.ErrName) || errors.Is(err, limit.ErrNoAnswer) {
				t.Errorf("%s of no name: %v", what, err)
			}
		}
		allowed(t, l, "a", 5, true)
	}
	if text := (&limit.CostError{Cost: 6, Limit: 5}).Error(); text != "limit: from 1 to 5 can be taken at once, not 6" {
		t.Error(text)
	}
}

func second[T any](_ T, err error) error { return err }

func TestNewRefuses(t *testing.T) {
	env := securecachetest.Start(t)
	good := limit.Rate{Count: 10, Period: time.Minute}
	const year = 366 * 24 * time.Hour
	for name, tc := range map[string]struct {
		rate    limit.Rate
		options limit.Options
	}{
		"the zero rate":               {limit.Rate{}, limit.Options{}},
		"a negative count":            {limit.Rate{Count: -1, Period: time.Minute}, limit.Options{}},
		"too great a count":           {limit.Rate{Count: 1 << 31, Period: year}, limit.Options{}},
		"no period":                   {limit.Rate{Count: 1}, limit.Options{}},
		"a negative period":           {limit.Rate{Count: 1, Period: -time.Minute}, limit.Options{}},
		"a period of twenty years":    {limit.Rate{Count: 1, Period: 20 * year}, limit.Options{}},
		"more than one a microsecond": {limit.Rate{Count: 1001, Period: time.Millisecond}, limit.Options{}},
		"a negative burst":            {limit.Rate{Count: 1, Period: time.Minute, Burst: -1}, limit.Options{}},
		"too great a burst":           {limit.Rate{Count: 1, Period: time.Microsecond, Burst: 1 << 31}, limit.Options{}},
		"a burst of twenty years":     {limit.Rate{Count: 1, Period: year, Burst: 20}, limit.Options{}},
		"a window with a burst":       {limit.Rate{Count: 1, Period: time.Minute, Burst: 2}, limit.Options{Algorithm: limit.FixedWindow}},
		"a window of microseconds":    {limit.Rate{Count: 1, Period: 1500 * time.Microsecond}, limit.Options{Algorithm: limit.SlidingWindow}},
		"a product beyond doubles":    {limit.Rate{Count: 1 << 30, Period: year}, limit.Options{Algorithm: limit.SlidingWindow}},
		"another algorithm":           {good, limit.Options{Algorithm: 3}},
		"a negative algorithm":        {good, limit.Options{Algorithm: -1}},
		"another policy":              {good, limit.Options{WhenAway: 3}},
		"a negative policy":           {good, limit.Options{WhenAway: -1}},
		"Local without nodes":         {good, limit.Options{WhenAway: limit.Local}},
		"Local without end":           {limit.Rate{Count: 1, Period: year}, limit.Options{WhenAway: limit.Local, Nodes: 20}},
		"a negative timeout":          {good, limit.Options{Timeout: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := limit.New(env.Cache, tc.rate, &tc.options); err == nil || errors.Is(err, limit.ErrRate) != (tc.rate != good && tc.options.Algorithm < 3) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := limit.New(nil, good, nil); err == nil {
		t.Error("no cache")
	}
	for name, rate := range map[string]limit.Rate{
		"one a microsecond":   {Count: 1000, Period: time.Millisecond},
		"one in ten years":    {Count: 1, Period: 10 * year},
		"the greatest count":  {Count: 1<<31 - 1, Period: year},
		"a burst of the rate": {Count: 7, Period: time.Second, Burst: 7},
	} {
		if _, err := limit.New(env.Cache, rate, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]limit.Rate{
		"10/1m":         {Count: 10, Period: time.Minute},
		"5/s":           {Count: 5, Period: time.Second},
		"1/500ms":       {Count: 1, Period: 500 * time.Millisecond},
		"1000/1h30m":    {Count: 1000, Period: 90 * time.Minute},
		"2147483647/1h": {Count: 1<<31 - 1, Period: time.Hour},
	} {
		if got, err := limit.ParseRate(text); got != want || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "/", "10", "10/", "/1m", "0/1m", "-1/1m", "10/0s", "10/-1m", "10/m/s", "10 / 1m", "1e3/1m", "2147483648/1h", "10/1x", "ten/1m", "10/1",
	} {
		if got, err := limit.ParseRate(text); !errors.Is(err, limit.ErrRate) || got != (limit.Rate{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// TestAmongMany has many take at once, with different costs: never more than
// there is, and all of it.
func TestAmongMany(t *testing.T) {
	faces(t, func(t *testing.T, env *securecachetest.Env, c *securecache.Cache) {
		for name, algorithm := range algorithms {
			l := limiter(t, c, limit.Rate{Count: 100, Period: 24 * time.Hour}, &limit.Options{Algorithm: algorithm})
			var taken atomic.Int64
			var wg sync.WaitGroup
			for i := range 32 {
				wg.Go(func() {
					for range 10 {
						n := 1 + i%3
						res, err := l.AllowN(t.Context(), "name", n)
						if err != nil {
							t.Error(err)
						}
						if res.Allowed {
							taken.Add(int64(n))
						}
					}
				})
			}
			wg.Wait()
			for {
				res, err := l.Allow(t.Context(), "name")
				ok(t, err)
				if !res.Allowed {
					break
				}
				taken.Add(1)
			}
			if taken.Load() != 100 {
				t.Errorf("%s: %d were taken", name, taken.Load())
			}
		}
	})
}

// TestNoSecretsInErrors asks with a name that must not be seen.
func TestNoSecretsInErrors(t *testing.T) {
	env := securecachetest.Start(t)
	servertest.Real(t, env.Server)
	l := limiter(t, env.Cache, limit.Rate{Count: 1, Period: time.Minute}, nil)
	ok(t, env.Server.Kill())
	for _, err := range []error{
		second(l.Allow(t.Context(), "alice@example.org")), second(l.Peek(t.Context(), "alice@example.org")),
		l.Reset(t.Context(), "alice@example.org"), second(l.AllowN(t.Context(), "alice@example.org", 2)),
	} {
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); err == nil || strings.Contains(text, "alice") {
			t.Errorf("%s", text)
		}
	}
}
