package securecache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// getCmd is a GET with its arguments, and setCmd a SET with the record that it
// stores. They are used again once the server has answered, and their arguments
// are pointers: what a new one leaves to the garbage collector costs more than
// opening a small record. Hooks that log arguments see no key in them.
type getCmd struct {
	*redis.StringCmd
	args [2]any
	key  string
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
		g.args = [...]any{"get", &g.key}
		g.StringCmd = redis.NewStringCmd(context.Background(), g.args[:]...)
		return g
	}}
	setCmds = sync.Pool{New: func() any {
		s := new(setCmd)
		s.args = [...]any{"set", &s.key, &s.record, "px", &s.ms}
		s.StatusCmd = redis.NewStatusCmd(context.Background(), s.args[:]...)
		return s
	}}
)

// mostKept bounds a record whose memory is kept.
const mostKept = 64 << 10

func newSet() *setCmd { return setCmds.Get().(*setCmd) }

// done is for a command that nothing refers to any more. What it holds is sealed
// and need not be cleared.
func (s *setCmd) done() {
	if cap(s.record.bytes) <= mostKept {
		setCmds.Put(s)
	}
}

// get reads what stands at key, into memory that is the caller's alone.
func (c *conn) get(ctx context.Context, key string) ([]byte, error) {
	if !c.alone() {
		cmd := redis.NewStringCmd(ctx, "get", key)
		if err := c.process(ctx, cmd); err != nil {
			return nil, err
		}
		return cmd.Bytes()
	}
	g := getCmds.Get().(*getCmd)
	g.key = key
	err := c.process(ctx, g.StringCmd)
	if err != nil && err != redis.Nil {
		return nil, err
	}
	record, _ := g.Bytes()
	g.SetVal("")
	g.SetErr(nil)
	getCmds.Put(g)
	return record, err
}

// set stores s.record at key for ttl, without an end where that is 0.
func (c *conn) set(ctx context.Context, key string, s *setCmd, ttl time.Duration) error {
	if !c.alone() || ttl == 0 {
		return c.process(ctx, setOf(ctx, key, s.record.bytes, ttl))
	}
	s.key, s.ms = key, ttl.Milliseconds()
	return c.process(ctx, s.StatusCmd)
}

// setOf is such a SET to be used once.
func setOf(ctx context.Context, key string, record []byte, ttl time.Duration) redis.Cmder {
	if ttl == 0 {
		return redis.NewStatusCmd(ctx, "set", key, record)
	}
	return redis.NewStatusCmd(ctx, "set", key, record, "px", ttl.Milliseconds())
}

// alone reports whether a command is nobody else's once it has returned, and can
// be used again: a batch may still look at what it has run, and a cluster client
// notes a command's slot in it.
func (c *conn) alone() bool { return c.batch == nil && c.cluster == nil }
