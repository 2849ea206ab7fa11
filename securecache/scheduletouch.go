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

// touching is one touch of what has a schedule: the payload that it writes has
// to say the new deadline, which is the server's to decide.
type touching struct {
	event   Event
	ttl     time.Duration
	shorten int
	end     int64  // the record's own, once it matters, in Unix milliseconds
	etag    []byte // of the payload from which the copied value is taken over
	reread  bool   // that payload first
}

func (c *Cache) newTouching(key Key, name string, ttl time.Duration, shorten int) *touching {
	return &touching{
		event: Event{Key: key, Name: name}, ttl: min(ttl, c.schedule.longest()), shorten: shorten,
		reread: c.schedule.CopyValue,
	}
}

// What touchscheduled answers beyond a TTL.
const (
	anotherEnd     = -4
	anotherPayload = -5
)

// touchScheduled takes one round trip; one more where a value has been copied,
// and one where the record's own end comes before the TTL wanted.
func (c *Cache) touchScheduled(ctx context.Context, t *touching) (time.Duration, error) {
	for range touches {
		if t.reread {
			cmd := c.eventCmd(ctx, t)
			if err := c.takeOver(ctx, t, cmd, c.conn.process(ctx, cmd)); err != nil {
				return 0, err
			}
		}
		call, err := c.touchCall(t)
		if err != nil {
			return 0, c.failed(err)
		}
		reply, err := c.scripts.Run(ctx, lua.TouchScheduled, call.Keys, call.Args...)
		if err != nil {
			return 0, c.failed(err)
		}
		code, again, err := t.answered(reply)
		switch {
		case err != nil:
			return 0, c.failed(err)
		case !again:
			return c.touched(t.event.Key, code)
		}
	}
	return 0, c.failed(ErrConflict)
}

// touches is how often a touch is tried while others write the same name.
const touches = 8

func (c *Cache) touchCall(t *touching) (lua.Call, error) {
	t.event.Deadline = c.Now().Add(t.ttl)
	if end := time.UnixMilli(t.end); t.end > 0 && end.Before(t.event.Deadline) {
		t.event.Deadline = end
	}
	payload, err := c.sealEvent(t.event)
	if err != nil {
		return lua.Call{}, err
	}
	key := t.event.Key
	shard := c.schedule.of(key)
	return lua.Call{
		Keys: shard.keys(key),
		Args: []any{t.ttl.Milliseconds(), t.shorten, key.text[key.start:], payload, t.end, t.etag, shard.wake},
	}, nil
}

// answered takes a reply apart, and reports whether to touch again and with what.
func (t *touching) answered(reply lua.Reply) (code int64, again bool, err error) {
	pair, _ := reply.Value.([]any)
	if len(pair) != 2 {
		return 0, false, fmt.Errorf("securecache: the reply to a touch is a %T, not two numbers", reply.Value)
	}
	code, ok1 := pair[0].(int64)
	end, ok2 := pair[1].(int64)
	switch {
	case !ok1 || !ok2:
		return 0, false, errors.New("securecache: the reply to a touch is not two numbers")
	case code == anotherEnd:
		t.end, t.reread = end, false
	case code == anotherPayload:
		t.reread = true
	default:
		return code, false, nil
	}
	return code, true, nil
}

func (c *Cache) eventCmd(ctx context.Context, t *touching) *redis.StringCmd {
	key := t.event.Key
	return redis.NewStringCmd(ctx, "hget", c.schedule.of(key).events, key.text[key.start:])
}

// takeOver takes what the event that is there has copied. An err of cmd is a nil
// reply or a failure.
func (c *Cache) takeOver(ctx context.Context, t *touching, cmd *redis.StringCmd, err error) error {
	if err == redis.Nil {
		t.event.Value, t.etag = nil, nil
		return nil
	}
	if err != nil {
		return c.failed(err)
	}
	key := t.event.Key
	payload, _ := cmd.Bytes()
	there, err := c.OpenEvent(ctx, c.schedule.of(key).base, key.text[key.start:], payload)
	if err != nil && !errors.Is(err, ErrMiss) {
		return err
	}
	tag, _ := codec.ETagOf(payload)
	t.event.Value, t.etag = there.Value, tag[:]
	return nil
}
