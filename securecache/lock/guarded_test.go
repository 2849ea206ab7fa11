package lock_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestGuardedSet(t *testing.T) {
	faces(t, func(t *testing.T, env *securecachetest.Env, l *lock.Locker) {
		ctx := t.Context()
		reads := func(want string) {
			t.Helper()
			if got, err := env.Cache.Get(ctx, "balance"); string(got) != want || err != nil {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		}
		first := try(t, l, "account", time.Minute)
		ok(t, first.GuardedSet(ctx, "balance", []byte("1"), time.Hour))
		ok(t, first.GuardedSet(ctx, "balance", []byte("2"), time.Hour))
		reads("2")
		// The first holder stalls, and its lock goes to another.
		ok(t, env.Admin.Del(ctx, first.Key().String()).Err())
		second := try(t, l, "account", time.Minute)
		ok(t, first.GuardedSet(ctx, "balance", []byte("3"), time.Hour)) // nobody has written since
		ok(t, second.GuardedSet(ctx, "balance", []byte("4"), time.Hour))
		if err := first.GuardedSet(ctx, "balance", []byte("5"), time.Hour); !errors.Is(err, lock.ErrFenced) {
			t.Errorf("a late write: %v", err)
		}
		reads("4")
		release(t, second)
		if err := second.GuardedSet(ctx, "balance", []byte("6"), time.Hour); !errors.Is(err, lock.ErrLost) {
			t.Errorf("after the release: %v", err)
		}
		reads("4")
		if ttl, err := env.Cache.TTL(ctx, "balance"); err != nil || ttl > time.Hour || ttl < 59*time.Minute {
			t.Errorf("the TTL is %v, %v", ttl, err)
		}
		if err := first.GuardedSet(ctx, "balance", nil, 0); !errors.Is(err, securecache.ErrNoTTL) {
			t.Errorf("without a TTL: %v", err)
		}
		if err := first.GuardedSet(ctx, "", nil, time.Hour); !errors.Is(err, securecache.ErrName) {
			t.Errorf("without a name: %v", err)
		}
	})
}

// TestGuardedSetIsSealed looks at what the server got.
func TestGuardedSetIsSealed(t *testing.T) {
	env, l := start(t, nil)
	held := try(t, l, "account", time.Minute)
	ok(t, held.GuardedSet(t.Context(), "balance", []byte("a secret"), time.Minute))
	key, err := env.Cache.Key(codec.KindValue, "balance")
	ok(t, err)
	record, err := env.Admin.Get(t.Context(), key.String()).Bytes()
	ok(t, err)
	header, err := codec.ParseHeader(record)
	if err != nil || time.Until(header.Expires) > time.Minute || time.Until(header.Expires) < 50*time.Second {
		t.Errorf("it ends at %v, %v", header.Expires, err)
	}
	if by := env.Admin.Get(t.Context(), key.Part("fence").String()).Val(); by != fmt.Sprint(held.Fence(), " 1") {
		t.Errorf("written by %q", by)
	}
	release(t, held)
}

// TestGuardedSetsOfOneHolder come in any order: the last of them stays.
func TestGuardedSetsOfOneHolder(t *testing.T) {
	env, l := start(t, nil)
	held := try(t, l, "account", time.Minute)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := held.GuardedSet(t.Context(), "balance", []byte{byte(i)}, time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	key, err := env.Cache.Key(codec.KindValue, "balance")
	ok(t, err)
	if by := env.Admin.Get(t.Context(), key.Part("fence").String()).Val(); by != fmt.Sprint(held.Fence(), " 16") {
		t.Errorf("the last write is %q", by)
	}
	release(t, held)
}
