package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
)

var errReplicas = errors.New("written, and too few replicas have it yet: a failover could take it back")

// replicasPatience is how long one attempt waits for the replicas. They are
// asked again while the request lasts.
const replicasPatience = 500 * time.Millisecond

type onReplicas struct{}

// lasting has what is done under the context wait for the replicas that
// -replicas asks for: what ends a session or a token.
func lasting(ctx context.Context) context.Context {
	return context.WithValue(ctx, onReplicas{}, true)
}

// awaitReplicas makes the client heed [lasting]. The application's user needs
// the command WAIT then, which hardening.Profile.Commands has to name.
func awaitReplicas(ctx context.Context, rdb redis.UniversalClient, cache *securecache.Cache, n int) error {
	if n == 0 {
		return nil
	}
	client, single := rdb.(*redis.Client)
	if !single {
		return errors.New("-replicas needs one master, with or without Sentinel")
	}
	if err := client.Wait(ctx, 0, time.Second).Err(); err != nil {
		return fmt.Errorf("-replicas needs a user that may WAIT: %w", err)
	}
	key, err := cache.Key(codec.KindValue, "marker of the last logout")
	if err != nil {
		return err
	}
	client.AddHook(replicas{client, cache, key, n})
	return nil
}

// replicas sends a script and WAIT on one connection. WAIT is about what its own
// connection wrote, and on two of them a failover could come between: the new
// master would vouch for a write that it never had.
type replicas struct {
	client *redis.Client
	cache  *securecache.Cache
	marker securecache.Key
	n      int
}

func (r replicas) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r replicas) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r replicas) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if ctx.Value(onReplicas{}) == nil || cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		return r.process(ctx, cmd)
	}
}

func (r replicas) process(ctx context.Context, cmd redis.Cmder) error {
	record, err := r.cache.Seal(r.marker, r.cache.Now().Add(time.Minute), nil)
	if err != nil {
		return err
	}
	pipe := r.client.Pipeline()
	_ = pipe.Process(ctx, cmd) // queues it
	// A logout that is repeated finds nothing to write, and the server would have
	// WAIT wait for nothing. Whoever has the marker has what came before it.
	marked := pipe.Set(ctx, r.marker.String(), record, time.Second)
	have := redis.NewIntCmd(ctx, "wait", r.n, replicasPatience.Milliseconds())
	_ = pipe.Process(ctx, have)
	_, _ = pipe.Exec(ctx)
	switch {
	case cmd.Err() != nil && cmd.Err() != redis.Nil:
		return cmd.Err()
	case marked.Err() != nil:
		return fmt.Errorf("%w: %w", errReplicas, marked.Err())
	case have.Err() != nil:
		return fmt.Errorf("%w: %w", errReplicas, have.Err())
	case have.Val() < int64(r.n):
		return errReplicas
	}
	return cmd.Err()
}
