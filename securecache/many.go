package securecache

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
)

// Result is the answer for one name of many: an item, or the error that
// [Cache.Item] would have given.
type Result struct {
	Item
	Err error
}

// GetMany reads many names in one round trip a node and answers for each, in
// their order.
func (c *Cache) GetMany(ctx context.Context, names []string) []Result {
	results := make([]Result, len(names))
	keys := make([]Key, 0, len(names))
	at := make([]int, 0, len(names))
	for i, name := range names {
		key, err := c.Key(codec.KindValue, name)
		if err != nil {
			results[i].Err = c.failed(err)
			continue
		}
		keys, at = append(keys, key), append(at, i)
	}
	for n, r := range c.Read(ctx, nil, keys) {
		results[at[n]] = r
	}
	return results
}

// Entry is one value of many to be stored.
type Entry struct {
	Name  string
	Value []byte
}

// SetMany stores many values for ttl in one round trip a node, and returns an
// error for each, in their order, nil where it is stored. It is not a
// transaction.
func (c *Cache) SetMany(ctx context.Context, entries []Entry, ttl time.Duration, options ...SetOption) []error {
	if c.schedule != nil {
		return c.setManyScheduled(ctx, entries, ttl, options)
	}
	errs := make([]error, len(entries))
	cmds := make([]redis.Cmder, 0, len(entries))
	at := make([]int, 0, len(entries))
	for i, e := range entries {
		key, record, err := c.prepare(nil, e.Name, e.Value, ttl, options)
		if err != nil {
			errs[i] = c.failed(err)
			continue
		}
		cmds = append(cmds, newSetCmd(ctx, key.text, record, ttl))
		at = append(at, i)
	}
	for n, err := range c.conn.processAll(ctx, cmds) {
		if err != nil {
			errs[at[n]] = c.failed(err)
			continue
		}
		c.counters.sets.Add(1)
	}
	return errs
}

// Call is one run of a script among many: its keys, which share a slot, and its
// arguments.
type Call struct {
	Keys []Key
	Args []any
}

// RunMany calls a script once for each of calls, in one round trip a node, and
// answers each in its place, as [lua.Runner.RunMany] does.
func (c *Cache) RunMany(ctx context.Context, s *lua.Script, calls []Call) []lua.Outcome {
	list := make([]lua.Call, len(calls))
	for i, call := range calls {
		list[i].Args = call.Args
		list[i].Keys = make([]string, len(call.Keys))
		for j, k := range call.Keys {
			list[i].Keys[j] = k.text
		}
	}
	outcomes := c.scripts.RunMany(ctx, s, list, c.conn.processAll)
	for i := range outcomes {
		if outcomes[i].Err != nil {
			c.counters.errors.Add(1)
		}
	}
	return outcomes
}
