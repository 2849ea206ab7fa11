package securecache

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Subscribe listens on channels, each named as a key is: where a script says
// with PUBLISH that something has happened to what is kept there. Without
// channels it connects once the first is added to it, by its key's text. It
// takes a connection of its own, reconnects and subscribes again by itself, and
// loses what is published meanwhile. In a cluster it hears what is published on
// any node. It is the caller's to close, before the cache.
func (c *Cache) Subscribe(ctx context.Context, channels ...Key) *redis.PubSub {
	texts := make([]string, len(channels))
	for i, k := range channels {
		texts[i] = k.text
	}
	return c.conn.rdb.Subscribe(ctx, texts...)
}
