package securecache

import (
	"context"
	"slices"
	"time"
)

// Read reads and opens the records at keys of any kind, in one round trip a
// node, and appends to dst, which may be nil, an answer for each as
// [Cache.GetMany] gives it.
func (c *Cache) Read(ctx context.Context, dst []Result, keys []Key) []Result {
	dst = slices.Grow(dst, len(keys))
	c.conn.getMany(ctx, keys, func(i int, record []byte, err error) {
		if err != nil {
			dst = append(dst, Result{Err: c.absent(err)})
			return
		}
		item, err := c.item(ctx, keys[i], record)
		dst = append(dst, Result{item, err})
	})
	return dst
}

// Now returns the time by the clock that records are written and read by,
// [Options.Codec]'s, in whole milliseconds.
func (c *Cache) Now() time.Time { return c.codec.Now() }
