package securecache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
)

// Seal makes the record of value for key, with expires as its own end; the zero
// time gives it none, in a namespace that allows that. It is for primitives and
// users' own scripts, which store the record where key says.
func (c *Cache) Seal(key Key, expires time.Time, value []byte) ([]byte, error) {
	return c.codec.Seal(nil, key.Binding(), expires, value)
}

// Open opens what was read from where key says. [ErrMiss] says that its end has
// come; a [*RefusedError] is reported and counted before it is returned.
// Where the record names a key that this process has not heard of, the keyring
// is refreshed, once and at most once a second, and waited for a quarter of a
// second.
func (c *Cache) Open(ctx context.Context, key Key, record []byte) ([]byte, error) {
	return c.openTo(ctx, nil, &key, record)
}

// openTo is Open into dst's spare capacity.
func (c *Cache) openTo(ctx context.Context, dst []byte, key *Key, record []byte) ([]byte, error) {
	value, err := c.open(ctx, dst, key, record)
	if err == nil {
		c.counters.hits.Add(1)
		return value, nil
	}
	if errors.Is(err, codec.ErrExpired) {
		c.counters.misses.Add(1)
		c.counters.outlived.Add(1)
		return nil, ErrMiss
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		_ = c.refuse(*key, refused)
		return nil, err
	}
	return nil, c.failed(err)
}

// refuse counts and reports a refusal.
func (c *Cache) refuse(key Key, err *RefusedError) error {
	c.counters.refused.Add(1)
	if c.options.OnRefused != nil {
		c.options.OnRefused(Refusal{Key: key.text, Err: err})
	}
	return err
}

func (c *Cache) open(ctx context.Context, dst []byte, key *Key, record []byte) ([]byte, error) {
	value, err := c.codec.Open(dst, key.Binding(), record)
	if err == nil {
		return value, nil
	}
	if err := c.learn(ctx, err); err != nil {
		return nil, err
	}
	return c.codec.Open(dst, key.Binding(), record)
}

// learn returns nil where err says that a record's key was not known, and a look
// at the keyring has brought that key: then it is worth another try.
func (c *Cache) learn(ctx context.Context, err error) error {
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || refused.Reason != codec.ReasonUnknownKey {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, lookupPatience)
	known, lookup := c.keyring.Lookup(wait, refused.KeyID)
	cancel()
	switch {
	case known:
		return nil
	case lookup != nil:
		// Not wrapped: the wait is ours, and whose deadline it was matters to nobody.
		return fmt.Errorf("%w; whether its key is a new one could not be found out: %v", err, lookup)
	default:
		return err
	}
}

// lookupPatience is how long a read waits for the keyring because of a record
// under a key that it has not heard of, which anybody can plant who writes to
// the server. A key is announced minutes before it is used, so the wait is for
// those who missed that; the look goes on without them.
const lookupPatience = 250 * time.Millisecond

// value opens record, which is nobody else's, where it stands.
func (c *Cache) value(ctx context.Context, key *Key, record []byte) ([]byte, error) {
	return c.openTo(ctx, codec.InPlace(record), key, record)
}

// item is value with what the header says, which Open has authenticated.
func (c *Cache) item(ctx context.Context, key Key, record []byte) (Item, error) {
	tag, _ := codec.ETagOf(record)
	value, err := c.value(ctx, &key, record)
	if err != nil {
		return Item{}, err
	}
	header, err := codec.ParseHeader(record)
	if err != nil {
		return Item{}, err
	}
	return Item{Value: value, Written: header.Written, Expires: header.Expires, ETag: tag}, nil
}

// ItemAt is [Cache.Item] for a key of any kind that holds one record.
func (c *Cache) ItemAt(ctx context.Context, key Key) (Item, error) {
	record, err := c.conn.get(ctx, key.text)
	if err != nil {
		return Item{}, c.absent(err)
	}
	return c.item(ctx, key, record)
}

// Run calls a script on keys of one slot, as [lua.Runner.Run] does: under the
// caller's deadline, loaded where the server lacks it, sent again only where
// that cannot apply it twice.
func (c *Cache) Run(ctx context.Context, s *lua.Script, keys []Key, args ...any) (lua.Reply, error) {
	var room [8]string
	texts := room[:0]
	for _, k := range keys {
		texts = append(texts, k.text)
	}
	reply, err := c.scripts.Run(ctx, s, texts, args...)
	if err != nil {
		return reply, c.failed(err)
	}
	return reply, nil
}
