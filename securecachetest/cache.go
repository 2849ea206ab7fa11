package securecachetest

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// newCache returns a cache with the default options.
func newCache(t testing.TB, rdb redis.UniversalClient, k *keys.Keyring) *securecache.Cache {
	t.Helper()
	c, err := securecache.New(rdb, k, nil)
	need(t, err)
	closeAfter(t, c.Close)
	return c
}
