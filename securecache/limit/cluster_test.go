package limit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
	"github.com/securecache/securecache-go/securecachetest"
)

// everywhere uses up limits and leases of many slots, of names that are new.
func everywhere(t *testing.T, c *securecache.Cache, names string) {
	t.Helper()
	for i := range 12 {
		name := fmt.Sprint(names, i)
		for _, algorithm := range algorithms {
			l := limiter(t, c, hour, &limit.Options{Algorithm: algorithm})
			allowed(t, l, name, 2, true)
			allowed(t, l, name, 1, false)
		}
		one := leases(t, c, 1, time.Minute, nil)
		lease, _ := acquire(t, one, name, true)
		acquire(t, one, name, false)
		ok(t, lease.Renew(t.Context()))
		ok(t, lease.Release(t.Context()))
	}
}

// stillUsedUp waits until somebody answers, and wants what was taken remembered.
func stillUsedUp(t *testing.T, l *limit.Limiter, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		switch res, err := l.Allow(ctx, name); {
		case err == nil && res.Allowed:
			t.Fatalf("what was taken is forgotten: %+v", res)
		case err == nil:
			return
		case ctx.Err() != nil:
			t.Fatal(err)
		}
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	everywhere(t, env.Cache, "at first ")
	ok(t, env.Admin.ForEachMaster(t.Context(), func(ctx context.Context, m *redis.Client) error { return m.ScriptFlush(ctx).Err() }))
	everywhere(t, env.Cache, "without scripts ")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l := limiter(t, env.Cache, hour, nil)
	allowed(t, l, "job", 2, true)
	key, err := env.Cache.Key(codec.KindLimit, "\x01job")
	ok(t, err)
	_, err = env.MoveSlot(ctx, key.String(), func() { stillUsedUp(t, l, "job") })
	ok(t, err)
	stillUsedUp(t, l, "job")
	everywhere(t, env.Cache, "after a resharding ")

	master, err := env.Master(ctx, key.String())
	ok(t, err)
	at, err := env.Admin.MasterForKey(ctx, key.String())
	ok(t, err)
	if n, err := at.Wait(ctx, 1, 20*time.Second).Result(); err != nil || n < 1 {
		t.Fatalf("%d replicas, %v", n, err)
	}
	ok(t, master.Kill())
	ok(t, env.AwaitTakeover(ctx, master))
	stillUsedUp(t, l, "job")
	everywhere(t, env.Cache, "after a failover ")
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	if !servertest.Long() {
		t.Skip("a failover under Sentinel takes long: set SECURECACHE_LONG")
	}
	env := securecachetest.StartSentinel(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	everywhere(t, env.Cache, "at first ")
	l := limiter(t, env.Cache, hour, nil)
	allowed(t, l, "job", 2, true)
	if n, err := env.Admin.Wait(ctx, 2, 20*time.Second).Result(); err != nil || n != 2 {
		t.Fatalf("%d replicas, %v", n, err)
	}
	master, err := env.Master(ctx)
	ok(t, err)
	ok(t, master.Kill())
	ok(t, env.AwaitTakeover(ctx, master))
	stillUsedUp(t, l, "job")
	everywhere(t, env.Cache, "after a failover ")
}
