package securecachetest

import (
	"context"
	"crypto/tls"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// Sentinel is what [StartSentinel] sets up; see [Env].
type Sentinel struct {
	// Nodes are a master and its two replicas, as they started.
	Nodes []*Server
	// Sentinels are the three that watch them.
	Sentinels []*Server
	// URL is securecache.Dial's, of the application's user, password and all.
	URL       string
	Namespace string
	Files     hardening.Files
	TLS       *tls.Config
	Client    *redis.Client
	Admin     *redis.Client
	Keyring   *keys.Keyring
	Cache     *securecache.Cache

	w *server.Sentinel
}

// StartSentinel is [Start] for a master with two replicas under three
// sentinels, all under mutual TLS. It takes some seconds. Embedded cannot be had
// under Sentinel: the test is skipped.
func StartSentinel(t testing.TB, opts ...Option) *Sentinel {
	t.Helper()
	o := newSettings(opts)
	w, err := server.StartSentinel(t.Context(), o.server)
	need(t, err)
	closeAfter(t, w.Close)
	e := &Sentinel{
		Nodes: wrap(w.Nodes()), Sentinels: wrap(w.Sentinels()),
		URL: w.URL(), Namespace: o.server.Namespace, Files: files(w.Nodes()[0]), w: w,
	}
	e.TLS, err = hardening.ClientTLS(e.Files, "")
	need(t, err)
	e.Client = e.connect(t, w.Options())
	e.Admin = e.connect(t, w.AdminOptions())
	e.Keyring = newKeyring(t, o)
	e.Cache = newCache(t, e.Client, e.Keyring)
	return e
}

func (e *Sentinel) connect(t testing.TB, o *redis.FailoverOptions) *redis.Client {
	o.TLSConfig = e.TLS.Clone()
	rdb := redis.NewFailoverClient(o)
	disconnectAfter(t, rdb)
	return rdb
}

// Master returns the node that the sentinels take for the master.
func (e *Sentinel) Master(ctx context.Context) (*Server, error) {
	s, err := e.w.Master(ctx)
	return pick(e.Nodes, s), err
}

// Ready waits until every running sentinel sees the master up and knows the
// replicas and the other sentinels. Give it a ctx that ends.
func (e *Sentinel) Ready(ctx context.Context) error { return e.w.Ready(ctx) }

// AwaitTakeover waits until a replica has taken over from a master that was
// killed, stopped or paused: some seconds. Give it a ctx that ends.
func (e *Sentinel) AwaitTakeover(ctx context.Context, from *Server) error {
	return e.w.AwaitTakeover(ctx, from.s)
}
