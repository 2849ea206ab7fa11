package securecache

import (
	"context"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
)

// scheduled is a write that keeps the schedule. An etag other than nil makes it
// a replacement.
func (c *Cache) scheduled(name string, value []byte, ttl time.Duration, options []SetOption, etag []byte) (lua.Call, error) {
	key, record, err := c.prepare(nil, name, value, ttl, options)
	if err != nil {
		return lua.Call{}, err
	}
	payload, err := c.announce(Event{Key: key, Name: name, Deadline: c.Now().Add(ttl), Value: value}, ttl)
	if err != nil {
		return lua.Call{}, err
	}
	shard := c.schedule.of(key)
	return lua.Call{
		Keys: shard.keys(key),
		Args: []any{record, ttl.Milliseconds(), key.text[key.start:], payload, shard.wake, etag},
	}, nil
}

// announce makes the payload for a value that is stored for ttl, none where
// that is for ever.
func (c *Cache) announce(e Event, ttl time.Duration) ([]byte, error) {
	switch {
	case ttl == 0:
		return nil, nil
	case ttl > c.schedule.longest():
		return nil, fmt.Errorf("securecache: the TTL leaves no room for the event's retention: %w", codec.ErrLifetime)
	case !c.schedule.CopyValue:
		e.Value = nil
	case e.Value == nil:
		e.Value = []byte{}
	}
	return c.sealEvent(e)
}

func (c *Cache) setScheduled(ctx context.Context, name string, value []byte, ttl time.Duration, options []SetOption) error {
	call, err := c.scheduled(name, value, ttl, options, nil)
	if err != nil {
		return c.failed(err)
	}
	reply, err := c.scripts.Run(ctx, lua.SetScheduled, call.Keys, call.Args...)
	if err == nil {
		_, err = reply.Int()
	}
	if err != nil {
		return c.failed(err)
	}
	c.counters.sets.Add(1)
	return nil
}

func (c *Cache) setManyScheduled(ctx context.Context, entries []Entry, ttl time.Duration, options []SetOption) []error {
	errs := make([]error, len(entries))
	calls := make([]lua.Call, 0, len(entries))
	at := make([]int, 0, len(entries))
	for i, e := range entries {
		call, err := c.scheduled(e.Name, e.Value, ttl, options, nil)
		if err != nil {
			errs[i] = c.failed(err)
			continue
		}
		calls = append(calls, call)
		at = append(at, i)
	}
	for n, outcome := range c.scripts.RunMany(ctx, lua.SetScheduled, calls, c.conn.processAll) {
		err := outcome.Err
		if err == nil {
			_, err = outcome.Int()
		}
		if err != nil {
			errs[at[n]] = c.failed(err)
			continue
		}
		c.counters.sets.Add(1)
	}
	return errs
}

func (c *Cache) replaceScheduled(ctx context.Context, name string, etag codec.ETag, value []byte, ttl time.Duration, options []SetOption) error {
	call, err := c.scheduled(name, value, ttl, options, etag[:])
	if err != nil {
		return c.failed(err)
	}
	reply, err := c.scripts.Run(ctx, lua.SetScheduled, call.Keys, call.Args...)
	if err != nil {
		return c.failed(err)
	}
	return c.replaced(reply)
}

func (c *Cache) deleteScheduled(ctx context.Context, name string) (bool, error) {
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return false, c.failed(err)
	}
	reply, err := c.scripts.Run(ctx, lua.DeleteScheduled, c.schedule.of(key).keys(key), key.text[key.start:])
	if err != nil {
		return false, c.failed(err)
	}
	n, err := reply.Int()
	if err != nil {
		return false, c.failed(err)
	}
	return n > 0, nil
}
