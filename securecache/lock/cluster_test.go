package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

// everything takes locks of many slots, waits for some, and writes under them.
func everything(t *testing.T, c *securecache.Cache) {
	t.Helper()
	l, other := locker(t, c, nil), locker(t, c, nil)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			name := fmt.Sprint("job ", i)
			first, err := l.Obtain(t.Context(), name, time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			waiting := obtain(t.Context(), other, name, time.Minute)
			err = errors.Join(
				first.GuardedSet(t.Context(), name, []byte("1"), time.Minute),
				first.Extend(t.Context(), time.Hour),
				first.Release(t.Context()))
			got := <-waiting
			if err = errors.Join(err, got.err); err != nil {
				t.Error(err)
				return
			}
			if got.held.Fence() <= first.Fence() {
				t.Errorf("fence %d after %d", got.held.Fence(), first.Fence())
			}
			if err := errors.Join(got.held.GuardedSet(t.Context(), name, []byte("2"), time.Minute), got.held.Release(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestCluster(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	everything(t, env.Cache)
	ok(t, env.Admin.ForEachMaster(t.Context(), func(ctx context.Context, m *redis.Client) error { return m.ScriptFlush(ctx).Err() }))
	everything(t, env.Cache)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := locker(t, env.Cache, nil)
	key, err := env.Cache.Key(codec.KindLock, "job 1")
	ok(t, err)
	t.Run("after a resharding", func(t *testing.T) {
		held, err := l.Obtain(ctx, "job 1", time.Minute)
		ok(t, err)
		waiting := obtain(ctx, locker(t, env.Cache, nil), "job 1", time.Minute)
		_, err = env.MoveSlot(ctx, key.String(), func() {
			ok(t, held.Extend(ctx, time.Minute))
			ok(t, held.GuardedSet(ctx, "job 1", []byte("under way"), time.Minute))
			if _, err := l.Try(ctx, "job 1", time.Minute); !errors.Is(err, lock.ErrNotObtained) {
				t.Errorf("given twice while it moves: %v", err)
			}
		})
		ok(t, err)
		ok(t, held.Extend(ctx, time.Hour))
		ok(t, held.Release(ctx))
		got := returns(t, "the waiter", waiting)
		ok(t, got.err)
		if got.held.Fence() <= held.Fence() {
			t.Errorf("fence %d after %d", got.held.Fence(), held.Fence())
		}
		release(t, got.held)
	})
	t.Run("after a failover", func(t *testing.T) {
		master, err := env.Master(ctx, key.String())
		ok(t, err)
		last := int64(0)
		survives(t, l, &last)
		ok(t, master.Kill())
		ok(t, env.AwaitTakeover(ctx, master))
		servertest.Eventually(t, "the client finds the new master", func() bool {
			held, err := l.Try(ctx, "job 1", time.Second)
			return err == nil && held.Release(ctx) == nil
		})
		survives(t, l, &last)
		everything(t, env.Cache)
	})
}

// survives takes the lock and wants a fence greater than the last.
func survives(t *testing.T, l *lock.Locker, last *int64) {
	t.Helper()
	held, err := l.Obtain(t.Context(), "job 1", time.Minute)
	ok(t, err)
	if held.Fence() <= *last {
		t.Errorf("fence %d after %d", held.Fence(), *last)
	}
	*last = held.Fence()
	release(t, held)
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	if !servertest.Long() {
		t.Skip("a failover under Sentinel takes long: set SECURECACHE_LONG")
	}
	env := securecachetest.StartSentinel(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := locker(t, env.Cache, nil)
	last := int64(0)
	survives(t, l, &last)
	waiting := obtain(ctx, locker(t, env.Cache, nil), "job 1", time.Minute)
	got := returns(t, "the lock", waiting)
	ok(t, got.err)
	waiting = obtain(ctx, l, "job 1", time.Minute) // over the failover
	servertest.Eventually(t, "somebody waits", func() bool { return lock.Waiting(l) == 1 })
	if n, err := env.Admin.Wait(ctx, 2, 20*time.Second).Result(); err != nil || n != 2 {
		t.Fatalf("%d replicas, %v", n, err)
	}
	master, err := env.Master(ctx)
	ok(t, err)
	ok(t, master.Kill())
	ok(t, env.AwaitTakeover(ctx, master))
	servertest.Eventually(t, "the lock is released on the new master", func() bool { return got.held.Release(ctx) == nil })
	next := returns(t, "the waiter", waiting)
	if next.err != nil { // it asked while there was no master
		servertest.Eventually(t, "the client finds the new master", func() bool { next.held, next.err = l.Try(ctx, "job 1", time.Minute); return next.err == nil })
	}
	if next.held.Fence() <= got.held.Fence() || got.held.Fence() <= last {
		t.Errorf("fence %d after %d after %d", next.held.Fence(), got.held.Fence(), last)
	}
	release(t, next.held)
	everything(t, env.Cache)
}
