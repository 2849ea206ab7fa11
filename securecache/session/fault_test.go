package session_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/lossy"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// cutting is a bed behind a proxy that loses every so many-th answer.
type cutting struct {
	*bed
	proxy *lossy.Proxy
}

const cutEvery = 23

func newCutting(t *testing.T, b *bed) *cutting {
	t.Helper()
	var answers atomic.Int64
	proxy, err := lossy.Start(b.env.Server.Addr(), func() bool { return answers.Add(1)%cutEvery == 0 })
	ok(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	o := *b.env.Client.Options()
	o.Addr = proxy.Addr()
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { _ = rdb.Close() })
	behind := *b
	behind.rdb = rdb
	behind.cache, err = securecache.New(rdb, b.keys, nil)
	ok(t, err)
	return &cutting{&behind, proxy}
}

// outage is a keyring's store that can be away.
type outage struct {
	keys.Store
	away atomic.Bool
}

func (l *outage) Load(ctx context.Context) ([]byte, error) {
	if l.away.Load() {
		return nil, errors.New("the store is away")
	}
	return l.Store.Load(ctx)
}
