package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestOneAtATime(t *testing.T) {
	faces(t, func(t *testing.T, env *securecachetest.Env, l *lock.Locker) {
		other := locker(t, env.Cache, nil) // as another process would have
		var wg sync.WaitGroup
		inside, last, entered := 0, int64(0), 0
		for i := range 32 {
			mine := l
			if i%2 == 1 {
				mine = other
			}
			wg.Go(func() {
				for range 10 {
					held, err := mine.Obtain(t.Context(), "job", 10*time.Second)
					if err != nil {
						t.Error(err)
						return
					}
					// Only the lock keeps these apart; -race looks as well.
					if inside++; inside != 1 {
						t.Errorf("%d inside", inside)
					}
					if held.Fence() <= last {
						t.Errorf("fence %d after %d", held.Fence(), last)
					}
					last = held.Fence()
					entered++
					inside--
					if err := held.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if entered != 320 {
			t.Errorf("%d of 320 went in", entered)
		}
	})
}

func TestTry(t *testing.T) {
	faces(t, func(t *testing.T, _ *securecachetest.Env, l *lock.Locker) {
		held := try(t, l, "job", time.Minute)
		if _, err := l.Try(t.Context(), "job", time.Minute); !errors.Is(err, lock.ErrNotObtained) {
			t.Errorf("while it is held: %v", err)
		}
		other := try(t, l, "another job", time.Minute)
		release(t, other)
		release(t, held)
		if held.Context().Err() == nil || context.Cause(held.Context()) == lock.ErrLost {
			t.Errorf("the context after the release: %v, by %v", held.Context().Err(), context.Cause(held.Context()))
		}
		again := try(t, l, "job", time.Minute)
		if again.Fence() <= held.Fence() {
			t.Errorf("fence %d after %d", again.Fence(), held.Fence())
		}
		release(t, again)
	})
}

func TestKeysOnTheServer(t *testing.T) {
	env, l := start(t, nil)
	held := try(t, l, "job", 30*time.Second)
	key, err := env.Cache.Key(codec.KindLock, "job")
	ok(t, err)
	if held.Key() != key {
		t.Errorf("%v, want %v", held.Key(), key)
	}
	holds := func() (string, time.Duration) {
		t.Helper()
		found, err := env.Admin.Keys(t.Context(), "*").Result()
		if err != nil || len(found) != 1 || found[0] != key.String() {
			t.Fatalf("%v, %v", found, err)
		}
		return env.Admin.Get(t.Context(), found[0]).Val(), env.Admin.PTTL(t.Context(), found[0]).Val()
	}
	const day = 24 * time.Hour
	text, ttl := holds()
	if !strings.HasSuffix(text, fmt.Sprint("-", held.Fence())) || len(text) != 23+16 {
		t.Errorf("the server holds %q", text)
	}
	if ttl <= day+20*time.Second || ttl > day+30*time.Second {
		t.Errorf("the TTL is %v", ttl)
	}
	release(t, held)
	if after, ttl := holds(); after != text || ttl <= day-10*time.Second || ttl > day {
		t.Errorf("after the release: %q for %v", after, ttl)
	}
}

func TestRelease(t *testing.T) {
	env, l := start(t, &lock.Options{Fixed: true})
	for name, tc := range map[string]struct {
		before func(t *testing.T, held *lock.Lock)
		want   error
	}{
		"held":    {func(*testing.T, *lock.Lock) {}, nil},
		"twice":   {func(t *testing.T, held *lock.Lock) { release(t, held) }, nil},
		"expired": {func(t *testing.T, held *lock.Lock) { expire(t, env, held) }, nil},
		"expired and taken": {func(t *testing.T, held *lock.Lock) {
			expire(t, env, held)
			try(t, l, "job", time.Minute)
		}, lock.ErrLost},
		"deleted": {func(t *testing.T, held *lock.Lock) { env.Admin.Del(t.Context(), held.Key().String()) }, lock.ErrLost},
		"deleted and taken": {func(t *testing.T, held *lock.Lock) {
			env.Admin.Del(t.Context(), held.Key().String())
			try(t, l, "job", time.Minute)
		}, lock.ErrLost},
		"deleted, taken and released": {func(t *testing.T, held *lock.Lock) {
			env.Admin.Del(t.Context(), held.Key().String())
			release(t, try(t, l, "job", time.Minute))
		}, lock.ErrLost},
		"all data lost":   {func(t *testing.T, _ *lock.Lock) { env.Admin.FlushAll(t.Context()) }, lock.ErrLost},
		"told so already": {func(t *testing.T, held *lock.Lock) { env.Admin.FlushAll(t.Context()); _ = held.Release(t.Context()) }, lock.ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			env.Admin.FlushAll(t.Context())
			held := try(t, l, "job", time.Minute)
			tc.before(t, held)
			if err := held.Release(t.Context()); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if held.Context().Err() == nil {
				t.Error("the context goes on")
			}
			if err := held.Extend(t.Context(), time.Minute); err != lock.ErrLost {
				t.Errorf("extended after the release: %v", err)
			}
		})
	}
}

// expire has the lock's time on the server run out.
func expire(t *testing.T, env *securecachetest.Env, held *lock.Lock) {
	t.Helper()
	ok(t, env.Admin.PExpire(t.Context(), held.Key().String(), 24*time.Hour).Err())
}

func TestReleaseOfAnothersLock(t *testing.T) {
	env, l := start(t, nil)
	held := try(t, l, "job", time.Minute)
	env.Admin.Del(t.Context(), held.Key().String())
	other := try(t, l, "job", time.Minute)
	if err := held.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Error(err)
	}
	if err := other.Extend(t.Context(), time.Minute); err != nil {
		t.Errorf("the other has lost it: %v", err)
	}
	release(t, other)
}

func TestExtend(t *testing.T) {
	env, l := start(t, &lock.Options{Fixed: true})
	held := try(t, l, "job", time.Minute)
	before := held.Until()
	if left := time.Until(before); left > time.Minute-600*time.Millisecond || left < 50*time.Second {
		t.Errorf("%v left of a minute", left)
	}
	pttl := func() time.Duration { return env.Admin.PTTL(t.Context(), held.Key().String()).Val() - 24*time.Hour }
	ok(t, held.Extend(t.Context(), time.Hour))
	if ttl := pttl(); ttl <= 59*time.Minute || ttl > time.Hour {
		t.Errorf("the TTL is %v", ttl)
	}
	if left := time.Until(held.Until()); left <= 58*time.Minute || left >= time.Hour {
		t.Errorf("%v left of an hour", left)
	}
	until := held.Until()
	ok(t, held.Extend(t.Context(), time.Second)) // a late request does no harm
	if ttl := pttl(); ttl <= 59*time.Minute || !held.Until().Equal(until) {
		t.Errorf("shortened to %v, %v", ttl, held.Until())
	}
	env.Admin.Del(t.Context(), held.Key().String())
	if err := held.Extend(t.Context(), time.Hour); !errors.Is(err, lock.ErrLost) {
		t.Errorf("a lock that is gone: %v", err)
	}
	if cause := context.Cause(held.Context()); cause != lock.ErrLost {
		t.Errorf("the context's cause is %v", cause)
	}
}

// TestExtendsByItself holds a lock for more than its TTL.
func TestExtendsByItself(t *testing.T) {
	t.Parallel()
	faces(t, func(t *testing.T, env *securecachetest.Env, l *lock.Locker) {
		const ttl = 4 * time.Second
		held := try(t, l, "job", ttl)
		first := held.Until()
		servertest.Eventually(t, "the lock outlives its TTL", func() bool {
			if held.Context().Err() != nil {
				t.Fatal(context.Cause(held.Context()))
			}
			return held.Until().Sub(first) > ttl
		})
		if _, err := l.Try(t.Context(), "job", ttl); !errors.Is(err, lock.ErrNotObtained) {
			t.Errorf("the server has forgotten it: %v", err)
		}
		release(t, held)
		release(t, try(t, l, "job", ttl))
	})
}

func TestFixedEndsWithItsTTL(t *testing.T) {
	_, l := start(t, &lock.Options{Fixed: true})
	began := time.Now()
	held := try(t, l, "job", 200*time.Millisecond)
	late := servertest.Late(began.Add(196 * time.Millisecond))
	returns(t, "the end of the lock", held.Context().Done())
	if by, took := late(), time.Since(began); took < 150*time.Millisecond || by > slack {
		t.Errorf("it ended after %v, %v late", took, by)
	}
	if cause := context.Cause(held.Context()); cause != lock.ErrLost {
		t.Errorf("by %v", cause)
	}
	ok(t, held.Release(t.Context())) // nobody has had it
	if err := held.Extend(t.Context(), time.Second); err != lock.ErrLost {
		t.Errorf("extended after its end: %v", err)
	}
}

// slack is for a machine whose cores are all taken by other tests.
const slack = 500 * time.Millisecond

// TestLostOnTheServer takes a lock away behind its holder's back: the next
// extension tells.
func TestLostOnTheServer(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, env *securecachetest.Env, key string){
		"deleted": func(t *testing.T, env *securecachetest.Env, key string) { ok(t, env.Admin.Del(t.Context(), key).Err()) },
		"expired": func(t *testing.T, env *securecachetest.Env, key string) {
			ok(t, env.Admin.PExpire(t.Context(), key, 24*time.Hour).Err())
		},
		"flushed": func(t *testing.T, env *securecachetest.Env, _ string) { ok(t, env.Admin.FlushAll(t.Context()).Err()) },
		"another's": func(t *testing.T, env *securecachetest.Env, key string) {
			ok(t, env.Admin.Set(t.Context(), key, "somebody else's owner.-1", 25*time.Hour).Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, l := start(t, nil)
			held := try(t, l, "job", 3*time.Second)
			take(t, env, held.Key().String())
			late := servertest.Late(time.Now().Add(time.Second)) // when it is extended
			returns(t, "the end of the lock", held.Context().Done())
			if by := late(); by > time.Second {
				t.Errorf("noticed %v late", by)
			}
			if cause := context.Cause(held.Context()); cause != lock.ErrLost {
				t.Errorf("by %v", cause)
			}
		})
	}
}

func TestContextHasTheValuesAndNotTheEnd(t *testing.T) {
	_, l := start(t, nil)
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	held, err := l.Obtain(ctx, "job", time.Minute)
	ok(t, err)
	cancel()
	if held.Context().Value(key{}) != "value" || held.Context().Err() != nil {
		t.Errorf("%v, %v", held.Context().Value(key{}), held.Context().Err())
	}
	if found, there := lock.FromContext(held.Context()); found != held || !there {
		t.Errorf("%v, %t", found, there)
	}
	if _, there := lock.FromContext(ctx); there {
		t.Error("a lock was found where none is")
	}
	release(t, held)
}

func TestMistakes(t *testing.T) {
	env, l := start(t, nil)
	if _, err := lock.New(nil, nil); err == nil {
		t.Error("a locker without a cache")
	}
	for _, ttl := range []time.Duration{0, -time.Second, 9 * time.Millisecond, 24*time.Hour + 1} {
		for name, call := range map[string]func() error{
			"Try":    func() error { _, err := l.Try(t.Context(), "job", ttl); return err },
			"Obtain": func() error { _, err := l.Obtain(t.Context(), "job", ttl); return err },
			"Do":     func() error { return l.Do(t.Context(), "job", ttl, func(context.Context) error { return nil }) },
		} {
			if err := call(); !errors.Is(err, lock.ErrTTL) {
				t.Errorf("%s for %v: %v", name, ttl, err)
			}
		}
	}
	held := try(t, l, "job", 24*time.Hour)
	if err := held.Extend(t.Context(), 0); !errors.Is(err, lock.ErrTTL) || held.Context().Err() != nil {
		t.Errorf("extended by nothing: %v", err)
	}
	release(t, held)
	if _, err := l.Try(t.Context(), "", time.Minute); !errors.Is(err, securecache.ErrName) {
		t.Errorf("no name: %v", err)
	}
	ok(t, env.Admin.Del(t.Context(), held.Key().String()).Err())
	ok(t, env.Admin.HSet(t.Context(), held.Key().String(), "field", "value").Err())
	if _, err := l.Try(t.Context(), "job", time.Minute); err == nil || errors.Is(err, lock.ErrNotObtained) {
		t.Errorf("a key of another type: %v", err)
	}
}
