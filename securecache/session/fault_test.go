package session_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// cutting is a bed behind a proxy that ends every connection in place of passing
// on its every so many-th answer: the command has run and nobody hears.
type cutting struct {
	*bed
	listener net.Listener
	server   string
	count    atomic.Int64
	cuts     atomic.Int64
	wg       sync.WaitGroup
}

const cutEvery = 23

func newCutting(t *testing.T, b *bed) *cutting {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	behind := *b
	p := &cutting{bed: &behind, listener: l, server: b.env.Server.Addr()}
	p.wg.Go(p.accept)
	t.Cleanup(func() { _ = l.Close(); p.wg.Wait() })
	o := *b.env.Client.Options()
	o.Addr = l.Addr().String()
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { _ = rdb.Close() })
	p.rdb = rdb
	p.cache, err = securecache.New(rdb, b.keys, nil)
	ok(t, err)
	return p
}

func (p *cutting) accept() {
	for {
		down, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(down) })
	}
}

func (p *cutting) serve(down net.Conn) {
	defer down.Close()
	up, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer up.Close()
	p.wg.Go(func() {
		_, _ = io.Copy(up, down)
		_ = up.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := up.Read(buf)
		if err != nil {
			return
		}
		if p.count.Add(1)%cutEvery == 0 {
			p.cuts.Add(1)
			return
		}
		if _, err := down.Write(buf[:n]); err != nil {
			return
		}
	}
}

// lossy is a keyring's store that can be away.
type lossy struct {
	keys.Store
	away atomic.Bool
}

func (l *lossy) Load(ctx context.Context) ([]byte, error) {
	if l.away.Load() {
		return nil, errors.New("the store is away")
	}
	return l.Store.Load(ctx)
}
