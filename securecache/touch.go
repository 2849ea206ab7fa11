package securecache

import (
	"context"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
)

// TouchOption tunes a [Cache.Touch].
type TouchOption func(*touch)

type touch struct{ shorten bool }

// Shorten lets a touch bring the end nearer, which it otherwise never does.
func Shorten() TouchOption { return func(t *touch) { t.shorten = true } }

// Touch renews the TTL of what is stored under name, and returns the one that
// runs from now on. It never passes the record's own end, which is that of its
// first TTL unless it was set with [MaxLife]. [ErrMiss] where nothing is stored;
// a [*RefusedError] where what is there is no record.
func (c *Cache) Touch(ctx context.Context, name string, ttl time.Duration, options ...TouchOption) (time.Duration, error) {
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return 0, c.failed(err)
	}
	return c.TouchAt(ctx, key, name, ttl, options...)
}

// TouchAt is [Cache.Touch] for a key of any kind that holds one record. Where
// the namespace has a schedule, its event is sealed with name.
func (c *Cache) TouchAt(ctx context.Context, key Key, name string, ttl time.Duration, options ...TouchOption) (time.Duration, error) {
	shorten, err := newTouch(ttl, options)
	if err != nil {
		return 0, c.failed(err)
	}
	if c.schedule != nil {
		return c.touchScheduled(ctx, c.newTouching(key, name, ttl, shorten))
	}
	reply, err := c.Run(ctx, lua.Touch, []Key{key}, ttl.Milliseconds(), shorten)
	if err != nil {
		return 0, err
	}
	ms, err := reply.Int()
	if err != nil {
		return 0, c.failed(err)
	}
	return c.touched(key, ms)
}

// newTouch returns whether a touch may shorten, as its scripts take it.
func newTouch(ttl time.Duration, options []TouchOption) (shorten int, err error) {
	var t touch
	for _, o := range options {
		o(&t)
	}
	if ttl < time.Millisecond {
		return 0, fmt.Errorf("%w: of a millisecond at least", ErrNoTTL)
	}
	if t.shorten {
		shorten = 1
	}
	return shorten, nil
}

func (c *Cache) touched(key Key, ms int64) (time.Duration, error) {
	switch {
	case ms == -2:
		c.counters.misses.Add(1)
		return 0, ErrMiss
	case ms == -1: // no TTL and no end: nothing to renew
		return NoTTL, nil
	case ms < 0:
		return 0, c.refuse(key, &RefusedError{Reason: codec.ReasonNotRecord})
	default:
		return time.Duration(ms) * time.Millisecond, nil
	}
}

// Replace stores value under name if what is there is still the record that
// etag names, as [Cache.Item] gave it: compare-and-set. [ErrMiss] where nothing
// is there any more, [ErrConflict] where another record is. A lost reply is
// asked for again without writing twice; where that does not settle it, since
// somebody else has written meanwhile, the error is [ErrOutcomeUnknown].
func (c *Cache) Replace(ctx context.Context, name string, etag codec.ETag, value []byte, ttl time.Duration, options ...SetOption) error {
	if c.schedule != nil {
		return c.replaceScheduled(ctx, name, etag, value, ttl, options)
	}
	key, record, err := c.prepare(nil, name, value, ttl, options)
	if err != nil {
		return c.failed(err)
	}
	return c.replace(ctx, key, etag, record, ttl)
}

// replace swaps records; a ttl of 0 keeps the one that runs.
func (c *Cache) replace(ctx context.Context, key Key, etag codec.ETag, record []byte, ttl time.Duration) error {
	reply, err := c.Run(ctx, lua.Replace, []Key{key}, etag[:], record, ttl.Milliseconds())
	if err != nil {
		return err
	}
	return c.replaced(reply)
}

func (c *Cache) replaced(reply lua.Reply) error {
	code, err := reply.Int()
	switch {
	case err != nil:
		return c.failed(err)
	case code > 0:
		c.counters.sets.Add(1)
		return nil
	case reply.Resent:
		return c.failed(ErrOutcomeUnknown)
	case code == 0:
		return ErrConflict
	default:
		c.counters.misses.Add(1)
		return ErrMiss
	}
}
