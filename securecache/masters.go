package securecache

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// EachMaster calls fn with a client of each master, of all at once in a cluster,
// and returns the first error. It is for what is a server's and not a key's,
// such as its keyspace events. The clients are the cache's.
func (c *Cache) EachMaster(ctx context.Context, fn func(context.Context, *redis.Client) error) error {
	if c.conn.cluster != nil {
		return c.conn.cluster.ForEachMaster(ctx, fn)
	}
	return fn(ctx, c.conn.rdb.(*redis.Client)) // newConn takes no third kind
}
