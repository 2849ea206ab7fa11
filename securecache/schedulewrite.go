package securecache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
)

// scheduled is a write that keeps the schedule. An etag other than nil makes it
// a replacement.
func (c *Cache) scheduled(name string, value []byte, ttl time.Duration, options []SetOption, etag []byte) (lua.Call, error) {
	w, err := c.newWrite(ttl, options)
	if err != nil {
		return lua.Call{}, err
	}
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return lua.Call{}, err
	}
	now := c.options.now()
	record, err := c.codec.Seal(nil, key.Binding(), w.expires(now), value)
	if err != nil {
		return lua.Call{}, err
	}
	payload, err := c.announce(Event{Key: key, Name: name, Deadline: now.Add(w.ttl), Value: value}, w.ttl)
	if err != nil {
		return lua.Call{}, err
	}
	shard := c.schedule.of(key)
	return lua.Call{
		Keys: shard.keys(key),
		Args: []any{record, w.ttl.Milliseconds(), key.text[key.start:], payload, shard.wake, etag},
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
	if _, err := c.scripts.Run(ctx, lua.SetScheduled, call.Keys, call.Args...); err != nil {
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
		if outcome.Err != nil {
			errs[at[n]] = c.failed(outcome.Err)
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

// touching is one touch of what has a schedule: the payload that it writes has
// to say the new deadline, which is the server's to decide.
type touching struct {
	event   Event
	ttl     time.Duration
	shorten int
	end     int64  // the record's own, once it matters, in Unix milliseconds
	etag    []byte // of the payload from which the copied value is taken over
}

// What touchscheduled answers beyond a TTL.
const (
	anotherEnd     = -4
	anotherPayload = -5
)

// touchScheduled takes one round trip; one more where a value has been copied,
// and one where the record's own end comes before the TTL wanted.
func (c *Cache) touchScheduled(ctx context.Context, key Key, name string, ttl time.Duration, shorten int) (time.Duration, error) {
	t := touching{event: Event{Key: key, Name: name}, ttl: min(ttl, c.schedule.longest()), shorten: shorten}
	reread := c.schedule.CopyValue
	for range touches {
		if reread {
			if err := c.readEvent(ctx, &t); err != nil {
				return 0, err
			}
		}
		code, end, err := c.tryTouch(ctx, t)
		switch {
		case err != nil:
			return 0, c.failed(err)
		case code == anotherEnd:
			t.end, reread = end, false
		case code == anotherPayload:
			reread = true
		default:
			return c.touched(key, code)
		}
	}
	return 0, c.failed(ErrConflict)
}

// touches is how often a touch is tried while others write the same name.
const touches = 8

func (c *Cache) tryTouch(ctx context.Context, t touching) (code, end int64, err error) {
	t.event.Deadline = c.options.now().Add(t.ttl)
	if end := time.UnixMilli(t.end); t.end > 0 && end.Before(t.event.Deadline) {
		t.event.Deadline = end
	}
	payload, err := c.sealEvent(t.event)
	if err != nil {
		return 0, 0, err
	}
	key := t.event.Key
	shard := c.schedule.of(key)
	reply, err := c.scripts.Run(ctx, lua.TouchScheduled, shard.keys(key),
		t.ttl.Milliseconds(), t.shorten, key.text[key.start:], payload, t.end, t.etag, shard.wake)
	if err != nil {
		return 0, 0, err
	}
	pair, _ := reply.Value.([]any)
	if len(pair) != 2 {
		return 0, 0, fmt.Errorf("securecache: the reply to a touch is a %T, not two numbers", reply.Value)
	}
	code, ok1 := pair[0].(int64)
	end, ok2 := pair[1].(int64)
	if !ok1 || !ok2 {
		return 0, 0, errors.New("securecache: the reply to a touch is not two numbers")
	}
	return code, end, nil
}

// readEvent takes over what the event that is there has copied.
func (c *Cache) readEvent(ctx context.Context, t *touching) error {
	key := t.event.Key
	shard, id := c.schedule.of(key), key.text[key.start:]
	cmd := redis.NewStringCmd(ctx, "hget", shard.events, id)
	if err := c.conn.process(ctx, cmd); err != nil {
		if errors.Is(err, redis.Nil) {
			t.event.Value, t.etag = nil, nil
			return nil
		}
		return c.failed(err)
	}
	payload, _ := cmd.Bytes()
	there, err := c.OpenEvent(ctx, shard.base, id, payload)
	if err != nil && !errors.Is(err, ErrMiss) {
		return err
	}
	tag, _ := codec.ETagOf(payload)
	t.event.Value, t.etag = there.Value, tag[:]
	return nil
}
