package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/lossy"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

// losing returns a locker whose server's replies are lost as often as arm was
// given, one after the other.
func losing(t *testing.T, env *securecachetest.Env) (l *lock.Locker, arm func(replies int64)) {
	t.Helper()
	var left atomic.Int64
	p, err := lossy.Start(env.Server.Addr(), func() bool { return left.Load() > 0 && left.Add(-1) >= 0 })
	ok(t, err)
	t.Cleanup(func() { ok(t, p.Close()) })
	o := *env.Client.Options()
	o.Addr, o.PoolSize = p.Addr(), 1
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { ok(t, rdb.Close()) })
	c, err := securecache.New(rdb, env.Keyring, nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	return locker(t, c, &lock.Options{Fixed: true}), left.Store
}

// all is more replies than there will be, handshakes included.
const all = 1 << 30

func TestALostReplyIsAskedForAgain(t *testing.T) {
	env, direct := start(t, nil)
	servertest.Real(t, env.Server)
	l, lose := losing(t, env)
	ctx := t.Context()

	lose(1)
	held := try(t, l, "job", time.Minute)
	if holds, err := env.Admin.Get(ctx, held.Key().String()).Result(); !strings.HasSuffix(holds, fmt.Sprint(held.Fence())) || err != nil {
		t.Errorf("asked twice, it was given a second fence: %d, then %q, %v", held.Fence(), holds, err)
	}
	lose(1)
	ok(t, held.Extend(ctx, time.Hour))
	if ttl := env.Admin.PTTL(ctx, held.Key().String()).Val() - 24*time.Hour; ttl < 59*time.Minute {
		t.Errorf("the TTL is %v", ttl)
	}
	lose(1)
	ok(t, held.GuardedSet(ctx, "value", []byte("v"), time.Minute))
	if got, err := env.Cache.Get(ctx, "value"); string(got) != "v" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	lose(1)
	ok(t, held.Release(ctx))
	release(t, try(t, direct, "job", time.Minute))
}

// TestAReleaseThatLostItsReply is followed by another holder before it is asked
// again: nobody can tell what became of it.
func TestAReleaseThatLostItsReply(t *testing.T) {
	env, direct := start(t, nil)
	servertest.Real(t, env.Server)
	l, lose := losing(t, env)
	held := try(t, l, "job", time.Minute)
	next := obtain(t.Context(), direct, "job", time.Minute)
	listening(t, env, held, 1)
	lose(1)
	// The waiter takes it while the second question is on its way, or a moment
	// later.
	if err := held.Release(t.Context()); err != nil && !errors.Is(err, lock.ErrOutcomeUnknown) {
		t.Error(err)
	}
	got := returns(t, "the waiter", next)
	ok(t, got.err)
	release(t, got.held)
}

// TestNoReplyAtAll loses all that is answered: the outcome is unknown, and the
// lock does not stay behind.
func TestNoReplyAtAll(t *testing.T) {
	env, direct := start(t, nil)
	servertest.Real(t, env.Server)
	l, lose := losing(t, env)
	release(t, try(t, l, "job", time.Minute)) // so that a connection stands

	lose(all)
	_, err := l.Try(t.Context(), "job", time.Minute)
	if !errors.Is(err, lock.ErrOutcomeUnknown) {
		t.Errorf("%v", err)
	}
	lose(0)
	got := returns(t, "the lock that nobody knew of", obtain(t.Context(), direct, "job", time.Minute))
	ok(t, got.err)
	release(t, got.held)

	held := try(t, l, "job", time.Minute)
	for name, call := range map[string]func() error{
		"Extend":     func() error { return held.Extend(t.Context(), time.Hour) },
		"GuardedSet": func() error { return held.GuardedSet(t.Context(), "value", nil, time.Minute) },
	} {
		lose(all)
		if err := call(); !errors.Is(err, lock.ErrOutcomeUnknown) {
			t.Errorf("%s: %v", name, err)
		}
		lose(0)
	}
	lose(all)
	if err := held.Release(t.Context()); !errors.Is(err, lock.ErrOutcomeUnknown) {
		t.Errorf("Release: %v", err)
	}
	lose(0)
	// It may be asked again, and has the true answer once there is a connection.
	servertest.Eventually(t, "the release is answered", func() bool {
		err := held.Release(t.Context())
		if errors.Is(err, lock.ErrLost) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// TestDeadlines holds the server still and asks with a deadline.
func TestDeadlines(t *testing.T) {
	faces(t, func(t *testing.T, env *securecachetest.Env, l *lock.Locker) {
		servertest.Real(t, env.Server)
		const deadline = 250 * time.Millisecond
		held := try(t, l, "job", time.Minute)
		ok(t, env.Server.Pause())
		t.Cleanup(func() { ok(t, env.Server.Resume()) })
		for name, run := range map[string]func(context.Context) error{
			"Try":        func(ctx context.Context) error { _, err := l.Try(ctx, "another", time.Minute); return err },
			"Obtain":     func(ctx context.Context) error { _, err := l.Obtain(ctx, "another", time.Minute); return err },
			"Extend":     func(ctx context.Context) error { return held.Extend(ctx, time.Minute) },
			"GuardedSet": func(ctx context.Context) error { return held.GuardedSet(ctx, "value", nil, time.Minute) },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			began := time.Now()
			late := servertest.Late(began.Add(deadline))
			err := run(ctx)
			by, took := late(), time.Since(began)
			cancel()
			if err == nil || took < deadline*9/10 || by > slack {
				t.Errorf("%s came back after %v, %v late, with %v, the deadline was %v", name, took, by, err, deadline)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		if held.Release(ctx) == nil {
			t.Error("released on a server that stands still")
		}
	})
}
