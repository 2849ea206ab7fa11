package securecache

import (
	"errors"
	"fmt"

	"github.com/securecache/securecache-go/codec"
)

// Shard returns the key of the schedule that what stands under key belongs to,
// one of [Cache.Shards], false where the namespace has no schedule. Its parts
// "due" and "event" are Redis keys in key's own slot, its part "wake" is a
// channel. It is for primitives whose scripts keep the schedule themselves.
func (c *Cache) Shard(key Key) (Key, bool) {
	if c.schedule == nil {
		return Key{}, false
	}
	return c.schedule.of(key).base, true
}

// SealEvent makes the payload of e for such a script, to be stored for as long
// as events are kept. It takes the value of e as it is. The error wraps
// [codec.ErrLifetime] where the deadline leaves no room for that.
func (c *Cache) SealEvent(e Event) ([]byte, error) {
	if c.schedule == nil {
		return nil, errors.New("securecache: the namespace has no schedule")
	}
	if e.Deadline.After(c.Now().Add(c.schedule.longest())) {
		return nil, c.failed(fmt.Errorf("securecache: the TTL leaves no room for the event's retention: %w", codec.ErrLifetime))
	}
	payload, err := c.sealEvent(e)
	if err != nil {
		return nil, c.failed(err)
	}
	return payload, nil
}
