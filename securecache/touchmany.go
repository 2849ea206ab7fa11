package securecache

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
)

// Touched is the answer for one name of many: the TTL that runs from now on, or
// the error that [Cache.Touch] would have given.
type Touched struct {
	TTL time.Duration
	Err error
}

// TouchMany renews the TTLs of many names, as [Cache.Touch] does for one, in one
// round trip a node, and answers for each, in their order. It is not a
// transaction. Where the namespace has a schedule, names that need more than one
// round trip share them.
func (c *Cache) TouchMany(ctx context.Context, names []string, ttl time.Duration, options ...TouchOption) []Touched {
	results := make([]Touched, len(names))
	asked := make([]string, 0, len(names))
	found := make([]Key, 0, len(names))
	at := make([]int, 0, len(names))
	shorten, wrong := newTouch(ttl, options)
	for i, name := range names {
		key, err := c.Key(codec.KindValue, name)
		if wrong != nil {
			err = wrong
		}
		if err != nil {
			results[i].Err = c.failed(err)
			continue
		}
		asked, found, at = append(asked, name), append(found, key), append(at, i)
	}
	for n, touched := range c.touchAll(ctx, found, asked, ttl, shorten) {
		results[at[n]] = touched
	}
	return results
}

func (c *Cache) touchAll(ctx context.Context, found []Key, names []string, ttl time.Duration, shorten int) []Touched {
	if c.schedule != nil {
		all := make([]*touching, len(found))
		for i, key := range found {
			all[i] = c.newTouching(key, names[i], ttl, shorten)
		}
		return c.touchManyScheduled(ctx, all)
	}
	results := make([]Touched, len(found))
	calls := make([]Call, len(found))
	for i, key := range found {
		calls[i] = Call{Keys: []Key{key}, Args: []any{ttl.Milliseconds(), shorten}}
	}
	for i, outcome := range c.RunMany(ctx, lua.Touch, calls) {
		if results[i].Err = outcome.Err; outcome.Err != nil {
			continue
		}
		ms, err := outcome.Int()
		if err != nil {
			results[i].Err = c.failed(err)
			continue
		}
		results[i].TTL, results[i].Err = c.touched(found[i], ms)
	}
	return results
}

// touchManyScheduled does for many what touchScheduled does for one, each step
// for all that have come as far.
func (c *Cache) touchManyScheduled(ctx context.Context, all []*touching) []Touched {
	results := make([]Touched, len(all))
	open := make([]int, len(all))
	for i := range open {
		open[i] = i
	}
	for range touches {
		if len(open) == 0 {
			return results
		}
		open = c.takeOverAll(ctx, all, open, results)
		open = c.touchThose(ctx, all, open, results)
	}
	for _, i := range open {
		results[i].Err = c.failed(ErrConflict)
	}
	return results
}

// takeOverAll reads the payloads that have to be read first, and returns those
// that are still to be touched. It writes over open, as touchThose does.
func (c *Cache) takeOverAll(ctx context.Context, all []*touching, open []int, results []Touched) []int {
	var reading []int
	var cmds []redis.Cmder
	left := open[:0]
	for _, i := range open {
		if all[i].reread {
			reading, cmds = append(reading, i), append(cmds, c.eventCmd(ctx, all[i]))
			continue
		}
		left = append(left, i)
	}
	if len(cmds) == 0 {
		return left
	}
	for n, err := range c.conn.processAll(ctx, cmds) {
		i := reading[n]
		if err := c.takeOver(ctx, all[i], cmds[n].(*redis.StringCmd), err); err != nil {
			results[i].Err = err
			continue
		}
		left = append(left, i)
	}
	return left
}

// touchThose touches those that open names, and returns the ones that have to be
// touched again.
func (c *Cache) touchThose(ctx context.Context, all []*touching, open []int, results []Touched) []int {
	calls := make([]lua.Call, 0, len(open))
	sent := make([]int, 0, len(open))
	for _, i := range open {
		call, err := c.touchCall(all[i])
		if err != nil {
			results[i].Err = c.failed(err)
			continue
		}
		calls, sent = append(calls, call), append(sent, i)
	}
	again := open[:0]
	for n, outcome := range c.scripts.RunMany(ctx, lua.TouchScheduled, calls, c.conn.processAll) {
		i := sent[n]
		code, more, err := all[i].outcome(outcome)
		switch {
		case err != nil:
			results[i].Err = c.failed(err)
		case more:
			again = append(again, i)
		default:
			results[i].TTL, results[i].Err = c.touched(all[i].event.Key, code)
		}
	}
	return again
}

func (t *touching) outcome(o lua.Outcome) (code int64, again bool, err error) {
	if o.Err != nil {
		return 0, false, o.Err
	}
	return t.answered(o.Reply)
}
