package securecache

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Read reads and opens the records at keys of any kind, in one round trip a
// node, and answers for each as [Cache.GetMany] does.
func (c *Cache) Read(ctx context.Context, keys []Key) []Result {
	results := make([]Result, len(keys))
	cmds := make([]redis.Cmder, len(keys))
	for i, k := range keys {
		cmds[i] = redis.NewStringCmd(ctx, "get", k.text)
	}
	for i, err := range c.conn.processAll(ctx, cmds) {
		if err != nil {
			results[i].Err = c.absent(err)
			continue
		}
		record, _ := cmds[i].(*redis.StringCmd).Bytes()
		results[i].Item, results[i].Err = c.item(ctx, keys[i], record)
	}
	return results
}

// Now returns the time by the clock that records are written and read by,
// [Options.Codec]'s.
func (c *Cache) Now() time.Time { return c.options.now() }
