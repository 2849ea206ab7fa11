package lock_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache/lock"
)

func TestFencesRiseWhateverIsLost(t *testing.T) {
	env, l := start(t, nil)
	for name, lose := range map[string]func(held *lock.Lock){
		"nothing":  func(*lock.Lock) {},
		"the lock": func(held *lock.Lock) { env.Admin.Del(t.Context(), held.Key().String()) },
		"all data": func(*lock.Lock) { env.Admin.FlushAll(t.Context()) },
		"scripts":  func(*lock.Lock) { env.Admin.ScriptFlush(t.Context()) },
	} {
		last := int64(0)
		for range 20 {
			held := try(t, l, "job", time.Minute)
			if held.Fence() <= last {
				t.Errorf("%s: fence %d after %d", name, held.Fence(), last)
			}
			last = held.Fence()
			lose(held)
			_ = held.Release(t.Context())
		}
	}
}

// TestFencesThatCannotBe has the server remember fences that no store must ever
// see.
func TestFencesThatCannotBe(t *testing.T) {
	now := time.Now()
	env, l := start(t, &lock.Options{Now: func() time.Time { return now }})
	servertest.Real(t, env.Server) // the embedded one's Lua reads such numbers otherwise
	first := try(t, l, "job", time.Minute)
	release(t, first)
	key := first.Key().String()
	for name, tc := range map[string]struct {
		last any
		want error
	}{
		"a day ahead but a second": {now.Add(24*time.Hour - time.Second).UnixMicro(), nil},
		"a day ahead and a second": {now.Add(24*time.Hour + time.Second).UnixMicro(), lock.ErrFence},
		"the last exact one":       {int64(1<<53 - 2), lock.ErrFence},
		"beyond":                   {int64(1<<53 - 1), lock.ErrFence},
		"far beyond":               {"1e300", lock.ErrFence},
		"infinite":                 {"inf", lock.ErrFence},
		"less than nothing":        {-1, nil},
		"not a number":             {"nan", nil},
		"text":                     {"fence", nil},
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, env.Admin.Set(t.Context(), key, fmt.Sprint("somebody else's owner.-", tc.last), time.Hour).Err())
			held, err := l.Try(t.Context(), "job", time.Minute)
			if !errors.Is(err, tc.want) {
				t.Fatalf("%v, want %v", err, tc.want)
			}
			if err == nil {
				release(t, held)
				return
			}
			servertest.Eventually(t, "the lock is given back", func() bool { return env.Admin.PTTL(t.Context(), key).Val() <= 24*time.Hour })
		})
	}
}

// TestNow has a process whose clock is far behind refuse all fences: it could
// not tell a false one from a true one.
func TestNow(t *testing.T) {
	_, l := start(t, &lock.Options{Now: func() time.Time { return time.Now().Add(-25 * time.Hour) }})
	if _, err := l.Try(t.Context(), "job", time.Minute); !errors.Is(err, lock.ErrFence) {
		t.Errorf("a clock that is a day and an hour behind the server's: %v", err)
	}
}
