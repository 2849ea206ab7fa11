package lock

import (
	"context"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// GuardedSet stores value under name for ttl, where the cache's Get finds it,
// unless a later holder of the lock has stored one: then the error is
// [ErrFenced], and nothing is written. It is [ErrLost] where the lock's context
// has ended. A reply that was lost is asked for again without writing twice;
// where that does not settle it, the error matches [ErrOutcomeUnknown], and the
// write may still come to pass, though never over a later one.
//
// All writes to the name have to come this way and under the same lock: the
// cache's Set and Delete ask for no fence. The fence is remembered for 24 hours
// after the last write, and as long as the value. No expiry event is scheduled.
func (l *Lock) GuardedSet(ctx context.Context, name string, value []byte, ttl time.Duration) error {
	if ttl < time.Millisecond {
		return fmt.Errorf("%w: of a millisecond at least", securecache.ErrNoTTL)
	}
	if l.ctx.Err() != nil {
		return ErrLost
	}
	c := l.locker.cache
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return err
	}
	record, err := c.Seal(key, time.Now().Add(ttl), value)
	if err != nil {
		return err
	}
	// The number keeps a holder's own writes in order: a request that was
	// overtaken must not come back over the one that followed it.
	reply, err := c.Run(ctx, lua.GuardedSet, []securecache.Key{key, key.Part("fence")},
		l.number, l.writes.Add(1), record, ttl.Milliseconds())
	if err != nil {
		return fmt.Errorf("lock: guarded set: %w", err)
	}
	code, err := reply.Int()
	if err != nil {
		return err
	}
	if code == 0 {
		return l.fenced(reply.Resent)
	}
	return nil
}

// fenced tells a refusal from a write that a later holder may have followed.
func (l *Lock) fenced(resent bool) error {
	if resent {
		return fmt.Errorf("lock: guarded set: %w", ErrOutcomeUnknown)
	}
	return ErrFenced
}
