package main

import (
	"context"
	"fmt"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
)

const lockTarget = 0.85

// pair obtains a lock that is free and releases it.
type pair func(ctx context.Context, name string) error

// locks measures pairs beside redislock, whose locks have no fence, and whose
// waiters poll.
func (b *bench) locks(ctx context.Context) error {
	peer, err := b.redislock(ctx)
	if err != nil {
		return fmt.Errorf("redislock: %w", err)
	}
	plain, err := b.ourPair(nil)
	if err != nil {
		return err
	}
	batched, err := b.ourPair(&securecache.Options{Batch: true})
	if err != nil {
		return err
	}
	return b.race(ctx, "Obtain and release a lock", side{who: "bsm/redislock", op: peer.on(ctx)}, []side{
		{who: "securecache, lock", target: lockTarget, op: plain.on(ctx)},
		{who: "securecache, lock, Batch", op: batched.on(ctx)},
	})
}

// on gives each goroutine locks of its own, so that nobody waits.
func (p pair) on(ctx context.Context) func(worker, i int) error {
	names := make([]string, nameCount)
	for i := range names {
		names[i] = nameOf("lock", i)
	}
	const each = nameCount / busy
	return func(worker, i int) error { return p(ctx, names[worker*each+i%each]) }
}

func (b *bench) ourPair(o *securecache.Options) (pair, error) {
	cache, err := b.cache(o)
	if err != nil {
		return nil, err
	}
	locker, err := lock.New(cache, nil)
	if err != nil {
		return nil, err
	}
	b.onClose(locker.Close)
	return func(ctx context.Context, name string) error {
		held, err := locker.Obtain(ctx, name, ttl)
		if err != nil {
			return err
		}
		return held.Release(ctx)
	}, nil
}

func (b *bench) redislock(ctx context.Context) (pair, error) {
	pairOf := func(rdb *redis.Client) pair {
		locker := redislock.New(rdb)
		return func(ctx context.Context, name string) error {
			held, err := locker.Obtain(ctx, name, ttl, nil)
			if err != nil {
				return err
			}
			return held.Release(ctx)
		}
	}
	// It loads its scripts with EVAL, which the application's user may not send.
	admin := redis.NewClient(b.server.AdminOptions())
	defer admin.Close()
	if err := pairOf(admin)(ctx, nameOf("lock", 0)); err != nil {
		return nil, err
	}
	return pairOf(b.client()), nil
}
