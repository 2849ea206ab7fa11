package lock_test

import (
	"context"
	"crypto/fips140"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

// patience is how long a caller waits in the tests of a server that is not well.
const patience = time.Second

// operations are all that is asked of a server, on a lock that is held.
func operations(l *lock.Locker, held *lock.Lock) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Try":        func(ctx context.Context) error { _, err := l.Try(ctx, "another job", time.Minute); return err },
		"Obtain":     func(ctx context.Context) error { _, err := l.Obtain(ctx, "a third job", time.Minute); return err },
		"Extend":     func(ctx context.Context) error { return held.Extend(ctx, time.Minute) },
		"GuardedSet": func(ctx context.Context) error { return held.GuardedSet(ctx, "value", nil, time.Minute) },
		"Release":    held.Release,
	}
}

var inOrder = []string{"Try", "Obtain", "Extend", "GuardedSet", "Release"}

// degrade asks for everything, and wants an error from all but what works. None
// of the errors may be an answer.
func degrade(t *testing.T, all map[string]func(context.Context) error, says string, works ...string) {
	t.Helper()
	for _, name := range inOrder {
		deadline, fine := patience, slices.Contains(works, name)
		if fine || says != "" { // there is an answer, which a busy machine may be late with
			deadline = 10 * patience
		}
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		late := servertest.Late(time.Now().Add(deadline))
		err := all[name](ctx)
		by := late()
		cancel()
		if (err == nil) != fine || by > slack {
			t.Errorf("%s: %v late: %v", name, by, err)
		}
		if err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", name, err, says)
		}
		for _, answer := range []error{lock.ErrNotObtained, lock.ErrLost, lock.ErrFenced, lock.ErrFence} {
			if errors.Is(err, answer) {
				t.Errorf("%s: an answer without one: %v", name, err)
			}
		}
	}
}

func TestDegraded(t *testing.T) {
	works := map[string][]string{"out of memory": {"Extend", "Release"}}
	for name, ill := range servertest.Ills {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, l := start(t, nil, securecachetest.WithPersistence())
			servertest.Real(t, env.Server)
			held := try(t, l, "job", time.Minute)
			all := operations(l, held)
			patient := servertest.Patient{Server: env.Server, Admin: env.Admin, App: env.Client.Options().Username}
			ok(t, ill.Ail(t.Context(), patient))
			degrade(t, all, ill.Says, works[name]...)
			ok(t, ill.Mend(t.Context(), patient))
			// The release is asked for again, and whoever waits gets the lock.
			servertest.Eventually(t, "the release", func() bool { return held.Release(t.Context()) == nil })
			got := returns(t, "the lock", obtain(t.Context(), l, "job", time.Minute))
			ok(t, got.err)
			release(t, got.held)
		})
	}
}

// TestServerSays has the server answer each command with an error of its own.
func TestServerSays(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("miniredis needs SHA-1 for SCRIPT LOAD, which FIPS 140-only mode does not have")
	}
	for name, text := range servertest.Replies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mini := miniredis.RunT(t)
			rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true})
			t.Cleanup(func() { ok(t, rdb.Close()) })
			c, err := securecache.New(rdb, keyring(t), nil)
			ok(t, err)
			t.Cleanup(func() { ok(t, c.Close()) })
			l := locker(t, c, nil)
			all := operations(l, try(t, l, "job", time.Minute))
			mini.SetError(text)
			degrade(t, all, strings.Fields(text)[0])
			mini.SetError("")
			for _, name := range inOrder[len(inOrder)-1:] {
				ok(t, all[name](t.Context()))
			}
		})
	}
}

// TestHeldWhileTheServerIsAway: a lock is relied on up to its TTL and not beyond,
// and is extended as soon as the server is back.
func TestHeldWhileTheServerIsAway(t *testing.T) {
	t.Run("too long", func(t *testing.T) {
		t.Parallel()
		env, l := start(t, nil)
		servertest.Real(t, env.Server)
		const ttl = 900 * time.Millisecond
		held := try(t, l, "job", ttl)
		ok(t, env.Server.Kill())
		late := servertest.Late(held.Until())
		returns(t, "the end of the lock", held.Context().Done())
		by := late()
		if time.Now().Before(held.Until()) || by > slack || context.Cause(held.Context()) != lock.ErrLost {
			t.Errorf("it ended %v late, by %v", by, context.Cause(held.Context()))
		}
		if err := held.GuardedSet(t.Context(), "value", nil, time.Minute); !errors.Is(err, lock.ErrLost) {
			t.Errorf("a write after the end: %v", err)
		}
	})
	t.Run("for a while", func(t *testing.T) {
		t.Parallel()
		env, l := start(t, nil, securecachetest.WithPersistence())
		servertest.Real(t, env.Server)
		held := try(t, l, "job", 12*time.Second)
		before := held.Until()
		ok(t, env.Server.Kill())
		ok(t, env.Server.Restart(t.Context()))
		servertest.Eventually(t, "the lock is extended", func() bool { return held.Until().After(before) })
		if err := held.Context().Err(); err != nil {
			t.Error(context.Cause(held.Context()))
		}
		release(t, held)
	})
}
