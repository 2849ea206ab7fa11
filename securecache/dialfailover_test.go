package securecache_test

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/securecache"
)

// TestSentinelsRefuseOnce has every sentinel refuse a client without a
// certificate: the error is the refusal, and each is asked once.
func TestSentinelsRefuseOnce(t *testing.T) {
	ca, err := pki.New("test")
	ok(t, err)
	issued, err := ca.Issue(pki.Server())
	ok(t, err)
	shown, err := issued.TLS()
	ok(t, err)
	var count atomic.Int32
	config := &tls.Config{Certificates: []tls.Certificate{shown}, ClientAuth: tls.RequireAnyClientCert}
	one, two := strict(t, config, &count), strict(t, config, &count)
	rdb, err := securecache.Connect("rediss://"+one+"?master_name=primary&addr="+two, &tls.Config{RootCAs: ca.Pool()})
	ok(t, err)
	defer rdb.Close()
	refused, is := errors.AsType[*handshake.Error](rdb.Ping(t.Context()).Err())
	if !is || refused.Cause != handshake.NoCertificate || !refused.ByServer {
		t.Errorf("%v", refused)
	}
	if n := count.Load(); n != 2 {
		t.Errorf("two sentinels had %d connections", n)
	}
}

// strict is a port that makes handshakes and nothing more, and counts them.
func strict(t *testing.T, config *tls.Config, count *atomic.Int32) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	ok(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			count.Add(1)
			_ = c.(*tls.Conn).HandshakeContext(t.Context())
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}
