package securecache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// asks is a user's script.
var asks = lua.New("asks", `return redis.call('EXISTS', KEYS[1])`)

// verbs are the calls that go to the server, by name, on the values a and b that
// c holds; item is a's. What they write is value.
func verbs(t *testing.T, c *securecache.Cache, item securecache.Item, a, b string, value []byte) map[string]func(context.Context) error {
	t.Helper()
	key, err := c.Key(codec.KindValue, a)
	ok(t, err)
	user, err := c.Key(0x80, a)
	ok(t, err)
	names, entries := []string{a, b}, []securecache.Entry{{Name: a, Value: value}, {Name: b, Value: value}}
	load := func(context.Context) ([]byte, error) { return value, nil }
	return map[string]func(context.Context) error{
		"Get":     func(ctx context.Context) error { _, err := c.Get(ctx, a); return err },
		"Item":    func(ctx context.Context) error { _, err := c.Item(ctx, a); return err },
		"GetMany": func(ctx context.Context) error { return c.GetMany(ctx, names)[1].Err },
		"Read":    func(ctx context.Context) error { return c.Read(ctx, nil, []securecache.Key{key})[0].Err },
		"Exists":  func(ctx context.Context) error { _, err := c.Exists(ctx, a); return err },
		"TTL":     func(ctx context.Context) error { _, err := c.TTL(ctx, a); return err },
		"Set":     func(ctx context.Context) error { return c.Set(ctx, a, value, time.Minute) },
		"SetMany": func(ctx context.Context) error { return errors.Join(c.SetMany(ctx, entries, time.Minute)...) },
		"Replace": func(ctx context.Context) error { return c.Replace(ctx, a, item.ETag, value, time.Minute) },
		"Delete":  func(ctx context.Context) error { _, err := c.Delete(ctx, a); return err },
		"Touch":   func(ctx context.Context) error { _, err := c.Touch(ctx, a, time.Minute); return err },
		"TouchMany": func(ctx context.Context) error {
			return c.TouchMany(ctx, names, time.Minute)[1].Err
		},
		"Fetch": func(ctx context.Context) error { _, err := c.Fetch(ctx, a, time.Minute, load); return err },
		"Run": func(ctx context.Context) error {
			_, err := c.Run(ctx, asks, []securecache.Key{user}, value)
			return err
		},
		"Reseal": func(ctx context.Context) error { _, err := c.Reseal(ctx, []securecache.Key{key}); return err },
		"RunMany": func(ctx context.Context) error {
			return c.RunMany(ctx, asks, []securecache.Call{{Keys: []securecache.Key{user}, Args: []any{value}}})[0].Err
		},
	}
}

// TestDeadlines holds the server and asks with a deadline, on both faces: each
// call comes back within a tenth of it.
func TestDeadlines(t *testing.T) {
	const patience = 2 * time.Second
	faces(t, func(t *testing.T, o securecache.Options) {
		t.Parallel()
		env, c := start(t, &o)
		servertest.Real(t, env.Server)
		set(t, c, "a", "v", time.Minute)
		item, err := c.Item(t.Context(), "a")
		ok(t, err)
		ok(t, env.Server.Pause())
		t.Cleanup(func() { _ = env.Server.Resume() })
		var wg sync.WaitGroup
		for name, run := range verbs(t, c, item, "a", "b", []byte("w")) {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				began := time.Now()
				late := servertest.Late(began.Add(patience))
				err := run(ctx)
				if by, took := late(), time.Since(began); err == nil || took < patience*9/10 || by > patience/10 {
					t.Errorf("%s came back after %v, %v late, with %v, the deadline was %v", name, took, by, err, patience)
				}
			})
		}
		wg.Wait()
	})
}

// TestBatchKeepsCancellation cancels callers of a server that hangs, long before
// the client would give up by itself.
func TestBatchKeepsCancellation(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t)
	servertest.Real(t, env.Server)
	o := *env.Client.Options()
	o.ReadTimeout, o.MaxRetries = time.Minute, -1
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { _ = rdb.Close() })
	c, err := securecache.New(rdb, env.Keyring, &securecache.Options{Batch: true})
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	set(t, c, "a", "v", time.Minute)
	item, err := c.Item(t.Context(), "a")
	ok(t, err)
	ok(t, env.Server.Pause())
	t.Cleanup(func() { _ = env.Server.Resume() })
	ctx, cancel := context.WithCancel(t.Context())
	calls := verbs(t, c, item, "a", "b", []byte("w"))
	var started, ended sync.WaitGroup
	started.Add(len(calls)) // to wait for their answers
	for name, run := range calls {
		ended.Go(func() {
			if err := run(&awaited{Context: ctx, awaits: sync.OnceFunc(started.Done)}); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	started.Wait()
	cancel()
	ended.Wait()
}

// awaited tells when its end is waited for.
type awaited struct {
	context.Context
	awaits func()
}

func (c *awaited) Done() <-chan struct{} {
	c.awaits()
	return c.Context.Done()
}
