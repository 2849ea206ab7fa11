package securecache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/scripts/lua"
)

// Cache stores sealed values under blinded names. It is safe for concurrent
// use.
type Cache struct {
	*core
	tag    string // of all names, if it is not empty
	inSlot bool   // all names are in slot
	slot   Slot
}

// core is what the views of one cache share.
type core struct {
	// What every operation needs stands together.
	conn     *conn
	keyring  *keys.Keyring
	codec    *codec.Codec
	counters *counters
	schedule *schedule // nil: the namespace has none
	scripts  *lua.Runner
	head     string      // of every Redis key: "<prefix>:<namespace>:"
	layout   keys.Layout // which never changes
	options  Options
	flights  flights
	owned    redis.UniversalClient // closed with the cache; nil where it is the caller's
}

// New returns a cache on rdb, which must be a [redis.Client], failover clients
// included, or a [redis.ClusterClient], with ContextTimeoutEnabled set. New
// tries to load the scripts; where that fails, they load when first needed.
// Client and keyring remain the caller's to close, after the cache.
//
// Hooks on the client must not keep a command, its arguments or its reply beyond
// their return, nor set a reply that they keep: values are opened where they
// stand. Scripts' keys are pointers among the arguments, and so are the
// arguments of GET and of a lone SET on a [redis.Client] without batching, where
// a pipeline's GET is of a type of its own.
func New(rdb redis.UniversalClient, k *keys.Keyring, o *Options) (*Cache, error) {
	if rdb == nil || k == nil {
		return nil, errors.New("securecache: a client and a keyring are needed")
	}
	options := o.orDefault()
	ring, err := k.Ring()
	if err != nil {
		return nil, err
	}
	if err := options.validate(ring); err != nil {
		return nil, err
	}
	records, err := codec.New(k, &options.Codec)
	if err != nil {
		return nil, err
	}
	sched, err := newSchedule(ring, options.Schedule)
	if err != nil {
		return nil, err
	}
	link, err := newConn(rdb, options.Batch)
	if err != nil {
		return nil, err
	}
	process := link.process
	if link.alone {
		process = nil // the runner's own way, which uses commands again
	}
	c := &Cache{core: &core{
		conn: link, keyring: k, codec: records, scripts: lua.NewRunner(rdb, process),
		layout: ring.Layout(), head: ring.Layout().Prefix + ":" + ring.Namespace() + ":",
		schedule: sched, options: options, counters: new(counters),
	}}
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	_ = c.scripts.Load(ctx)
	return c, nil
}

// loadTimeout bounds the best-effort load of the scripts in New.
const loadTimeout = time.Second

// Close ends the cache; what [Dial] connected is disconnected. The keyring
// remains open.
func (c *Cache) Close() error {
	err := c.conn.close()
	if c.owned != nil {
		err = errors.Join(err, c.owned.Close())
	}
	return err
}

// Get returns the value stored under name: [ErrMiss] where there is none or its
// end has come, a [*RefusedError] where what is there does not open.
func (c *Cache) Get(ctx context.Context, name string) ([]byte, error) {
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return nil, c.failed(err)
	}
	record, err := c.conn.get(ctx, key.text)
	if err != nil {
		return nil, c.absent(err)
	}
	return c.value(ctx, &key, record)
}

// Item is a stored value as it was read.
type Item struct {
	Value []byte
	// Written is when the value was sealed, Expires its own end, zero where it
	// has none. Both are authenticated.
	Written, Expires time.Time
	// ETag names this very record; see [Cache.Replace].
	ETag codec.ETag
}

// Item is [Cache.Get] with what the record says of itself.
func (c *Cache) Item(ctx context.Context, name string) (Item, error) {
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return Item{}, c.failed(err)
	}
	return c.ItemAt(ctx, key)
}

// Set stores value under name for ttl, whole milliseconds of it. What was there
// is gone.
func (c *Cache) Set(ctx context.Context, name string, value []byte, ttl time.Duration, options ...SetOption) error {
	if c.schedule != nil {
		return c.setScheduled(ctx, name, value, ttl, options)
	}
	cmd := newSet()
	key, record, err := c.prepare(cmd.record.bytes[:0], name, value, ttl, options)
	if err != nil {
		cmd.done()
		return c.failed(err)
	}
	cmd.record.bytes = record
	if err := c.conn.set(ctx, key.text, cmd, ttl); err != nil {
		return c.failed(err)
	}
	c.counters.sets.Add(1)
	return nil
}

// prepare appends to dst the record that stores value under name for ttl, and
// says where.
func (c *Cache) prepare(dst []byte, name string, value []byte, ttl time.Duration, options []SetOption) (Key, []byte, error) {
	w, err := c.newWrite(ttl, options)
	if err != nil {
		return Key{}, nil, err
	}
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return Key{}, nil, err
	}
	record, err := c.codec.SealFor(dst, key.Binding(), w.life, value)
	return key, record, err
}

// Delete removes what is stored under name, and reports whether there was
// something.
func (c *Cache) Delete(ctx context.Context, name string) (bool, error) {
	if c.schedule != nil {
		return c.deleteScheduled(ctx, name)
	}
	return c.count(ctx, "unlink", name)
}

// Exists reports whether something is stored under name, without looking
// whether it opens.
func (c *Cache) Exists(ctx context.Context, name string) (bool, error) {
	return c.count(ctx, "exists", name)
}

func (c *Cache) count(ctx context.Context, verb, name string) (bool, error) {
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return false, c.failed(err)
	}
	cmd := redis.NewIntCmd(ctx, verb, key.text)
	if err := c.conn.process(ctx, cmd); err != nil {
		return false, c.failed(err)
	}
	return cmd.Val() > 0, nil
}

// NoTTL is the TTL of what the server keeps without one.
const NoTTL time.Duration = -1

// TTL returns how long the server will keep what is stored under name, [NoTTL]
// where it has no TTL, [ErrMiss] where nothing is stored. The server's word
// alone: a record's own end holds whatever it says.
func (c *Cache) TTL(ctx context.Context, name string) (time.Duration, error) {
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return 0, c.failed(err)
	}
	cmd := redis.NewIntCmd(ctx, "pttl", key.text)
	if err := c.conn.process(ctx, cmd); err != nil {
		return 0, c.failed(err)
	}
	switch ms := cmd.Val(); ms {
	case -2:
		c.counters.misses.Add(1)
		return 0, ErrMiss
	case -1:
		return NoTTL, nil
	default:
		return time.Duration(ms) * time.Millisecond, nil
	}
}

// failed counts an operation that got no answer.
func (c *Cache) failed(err error) error {
	c.counters.errors.Add(1)
	return err
}

// absent tells a miss from a failure. Of what only wraps a reply of nothing, the
// reply may have been a sentinel's, which knows of no server.
func (c *Cache) absent(err error) error {
	if err == redis.Nil {
		c.counters.misses.Add(1)
		return ErrMiss
	}
	return c.failed(err)
}
