package securecache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A getCmd is a GET with its arguments, a setCmd a SET with the record that it
// stores. They are used again once the server has answered, and their arguments
// are pointers, which need no box: what new ones leave to the garbage collector
// costs more than opening a small record.
type getCmd struct {
	*redis.StringCmd
	args   [2]any // anew for every use, since hooks may change them
	key    string
	absent bool
}

// SetErr is how a pipeline says how a command of it ended. That nothing stands
// at a key is no error there: go-redis looks into the first one's for whether to
// try again, which costs it more than a GET does. It ends with nil for those that
// went well.
func (g *getCmd) SetErr(err error) {
	if err == redis.Nil {
		g.absent, err = true, nil
	}
	g.StringCmd.SetErr(err)
}

type setCmd struct {
	*redis.StatusCmd
	args   [5]any
	key    string
	record sealed
	ms     int64
}

// sealed is a record that stands as an argument.
type sealed struct{ bytes []byte }

// MarshalBinary is what go-redis asks for an argument's bytes.
func (s *sealed) MarshalBinary() ([]byte, error) { return s.bytes, nil }

// String is for hooks that log arguments.
func (s *sealed) String() string { return fmt.Sprintf("record of %d bytes", len(s.bytes)) }

var (
	getCmds = sync.Pool{New: func() any {
		g := new(getCmd)
		g.StringCmd = redis.NewStringCmd(context.Background(), g.args[:]...)
		return g
	}}
	setCmds = sync.Pool{New: func() any {
		s := new(setCmd)
		s.StatusCmd = redis.NewStatusCmd(context.Background(), s.args[:]...)
		return s
	}}
)

// mostKept bounds a record whose memory is kept.
const mostKept = 64 << 10

func newSet() *setCmd { return setCmds.Get().(*setCmd) }

// done keeps s for the next SET, and with it the memory of a record that nobody
// reads any more. Sealed as it is, that need not be cleared.
func (s *setCmd) done() {
	s.key = ""
	if cap(s.record.bytes) > mostKept {
		s.record.bytes = nil
	}
	setCmds.Put(s)
}

// get reads what stands at key, into memory that is the caller's alone. The
// error is [redis.Nil] where nothing does.
func (c *conn) get(ctx context.Context, key string) ([]byte, error) {
	if !c.alone {
		cmd := redis.NewStringCmd(ctx, "get", key)
		if err := c.process(ctx, cmd); err != nil {
			return nil, err
		}
		return cmd.Bytes()
	}
	g := newGet(key)
	err := c.process(ctx, g.StringCmd)
	if err != nil && err != redis.Nil {
		return nil, err // and g is left, as somebody may still be at it
	}
	return g.done(), err
}

// getMany is get for many keys, in one round trip a node: each is told what stands
// at the key of its number.
func (c *conn) getMany(ctx context.Context, keys []Key, each func(i int, record []byte, err error)) {
	cmds := make([]redis.Cmder, len(keys))
	for i, k := range keys {
		if c.alone {
			cmds[i] = newGet(k.text)
		} else {
			cmds[i] = redis.NewStringCmd(ctx, "get", k.text)
		}
	}
	for i, err := range c.processAll(ctx, cmds) {
		var record []byte
		if err == nil {
			record, err = answerOf(cmds[i])
		}
		each(i, record, err)
	}
}

// answerOf returns what a GET of many has read, once it has ended without error.
func answerOf(cmd redis.Cmder) ([]byte, error) {
	g, ours := cmd.(*getCmd)
	if !ours {
		return cmd.(*redis.StringCmd).Bytes()
	}
	if g.absent && g.Val() == "" { // else it was found by a second try
		g.done()
		return nil, redis.Nil
	}
	return g.done(), nil
}

func newGet(key string) *getCmd {
	g := getCmds.Get().(*getCmd)
	g.key, g.absent = key, false
	g.args[0], g.args[1] = "get", &g.key
	return g
}

// done keeps g for the next GET, and returns what it has read.
func (g *getCmd) done() []byte {
	record, _ := g.Bytes()
	g.key = ""
	g.SetVal("")
	g.SetErr(nil)
	getCmds.Put(g)
	return record
}

// set stores the record in s, which is not to be used after it, at key for ttl;
// without an end where that is 0.
func (c *conn) set(ctx context.Context, key string, s *setCmd, ttl time.Duration) error {
	if !c.alone || ttl == 0 {
		cmd := newSetCmd(ctx, key, s.record.bytes, ttl)
		s.record.bytes = nil // the command's now
		s.done()
		return c.process(ctx, cmd)
	}
	s.key, s.ms = key, ttl.Milliseconds()
	s.args[0], s.args[1], s.args[2], s.args[3], s.args[4] = "set", &s.key, &s.record, "px", &s.ms
	if err := c.process(ctx, s.StatusCmd); err != nil {
		return err
	}
	s.done()
	return nil
}

// newSetCmd is a SET that is used once.
func newSetCmd(ctx context.Context, key string, record []byte, ttl time.Duration) redis.Cmder {
	if ttl == 0 {
		return redis.NewStatusCmd(ctx, "set", key, record)
	}
	return redis.NewStatusCmd(ctx, "set", key, record, "px", ttl.Milliseconds())
}
