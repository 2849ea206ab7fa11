package securecache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// everything uses the whole surface over names of many slots.
func everything(t *testing.T, c *securecache.Cache) {
	t.Helper()
	ctx := t.Context()
	const many = 100
	entries, list := make([]securecache.Entry, many), make([]string, many)
	for i := range many {
		list[i] = fmt.Sprintf("user/%d", i)
		entries[i] = securecache.Entry{Name: list[i], Value: []byte(list[i])}
	}
	ok(t, errors.Join(c.SetMany(ctx, entries, time.Minute, securecache.MaxLife(time.Hour))...))
	for i, r := range c.GetMany(ctx, list) {
		if r.Err != nil || string(r.Value) != list[i] {
			t.Fatalf("%s: %q, %v", list[i], r.Value, r.Err)
		}
	}
	for i, touched := range c.TouchMany(ctx, list, 5*time.Minute) {
		if touched.TTL != 5*time.Minute || touched.Err != nil {
			t.Fatalf("%s: %v", list[i], touched)
		}
	}
	for _, name := range list[:20] {
		if ttl, err := c.Touch(ctx, name, 10*time.Minute); err != nil || ttl != 10*time.Minute {
			t.Fatalf("touch: %v, %v", ttl, err)
		}
		item, err := c.Item(ctx, name)
		ok(t, err)
		ok(t, c.Replace(ctx, name, item.ETag, []byte("new"), time.Minute))
		there, err := c.Delete(ctx, name)
		if !there || err != nil {
			t.Fatalf("delete: %t, %v", there, err)
		}
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	faces(t, func(t *testing.T, o securecache.Options) {
		c, err := securecache.New(env.Client, env.Keyring, &o)
		ok(t, err)
		t.Cleanup(func() { _ = c.Close() })
		everything(t, c)
		ok(t, env.Admin.ForEachMaster(t.Context(), func(ctx context.Context, m *redis.Client) error { return m.ScriptFlush(ctx).Err() }))
		everything(t, c)
	})
	t.Run("after a failover", func(t *testing.T) {
		c, err := securecache.New(env.Client, env.Keyring, nil)
		ok(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		master, err := env.Master(ctx, keyOf(t, c, "user/1"))
		ok(t, err)
		ok(t, master.Kill())
		ok(t, env.AwaitTakeover(ctx, master))
		ok(t, servertest.Until(ctx, "the client finds the new master", func() bool { return c.Set(ctx, "user/1", []byte("v"), time.Minute) == nil }))
		everything(t, c) // the new master had no script loaded by us but through replication
	})
}

func TestDialCluster(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	c, err := securecache.Dial(t.Context(), env.URL, env.TLS, env.Keyring, nil)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	everything(t, c)
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartSentinel(t)
	c, err := securecache.Dial(t.Context(), env.URL, env.TLS, env.Keyring, nil)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	everything(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	master, err := env.Master(ctx)
	ok(t, err)
	ok(t, master.Kill())
	ok(t, env.AwaitTakeover(ctx, master))
	ok(t, servertest.Until(ctx, "the client finds the new master", func() bool { return c.Set(ctx, "user/1", []byte("v"), time.Minute) == nil }))
	everything(t, c)
}
