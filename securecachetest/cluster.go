package securecachetest

import (
	"context"
	"crypto/tls"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// Cluster is what [StartCluster] sets up; see [Env].
type Cluster struct {
	// Nodes are three masters, then a replica of each, as they started.
	Nodes []*Server
	// URL is securecache.Dial's, of the application's user, password and all.
	URL       string
	Namespace string
	Files     hardening.Files
	TLS       *tls.Config
	Client    *redis.ClusterClient
	Admin     *redis.ClusterClient
	Keyring   *keys.Keyring
	Cache     *securecache.Cache

	c *server.Cluster
}

// StartCluster is [Start] for a cluster of three masters with a replica each,
// under mutual TLS for clients, bus and replication. It takes some seconds.
// Embedded cannot be had as a cluster: the test is skipped.
func StartCluster(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	o := newSettings(opts)
	c, err := server.StartCluster(t.Context(), o.server)
	need(t, err)
	closeAfter(t, c.Close)
	e := &Cluster{Nodes: wrap(c.Nodes()), URL: c.URL(), Namespace: o.server.Namespace, Files: files(c.Nodes()[0]), c: c}
	e.TLS, err = hardening.ClientTLS(e.Files, "")
	need(t, err)
	e.Client = e.connect(t, c.Options())
	e.Admin = e.connect(t, c.AdminOptions())
	e.Keyring = newKeyring(t, o)
	e.Cache = newCache(t, e.Client, e.Keyring)
	return e
}

func (e *Cluster) connect(t testing.TB, o *redis.ClusterOptions) *redis.ClusterClient {
	o.TLSConfig = e.TLS.Clone()
	rdb := redis.NewClusterClient(o)
	disconnectAfter(t, rdb)
	return rdb
}

// Master returns the node that serves the Redis key at present.
func (e *Cluster) Master(ctx context.Context, key string) (*Server, error) {
	s, err := e.c.Master(ctx, key)
	return pick(e.Nodes, s), err
}

// Ready waits until every running node finds the cluster complete and its
// replicas in step, as after a Restart. Give it a ctx that ends.
func (e *Cluster) Ready(ctx context.Context) error { return e.c.Ready(ctx) }

// AwaitTakeover waits until a replica has taken over from a master that was
// killed, stopped or paused: some seconds. Give it a ctx that ends.
func (e *Cluster) AwaitTakeover(ctx context.Context, from *Server) error {
	return e.c.AwaitTakeover(ctx, from.s)
}

func wrap(servers []*server.Server) (list []*Server) {
	for _, s := range servers {
		list = append(list, &Server{s})
	}
	return list
}

// pick returns the one of list that stands for s, nil if none does.
func pick(list []*Server, s *server.Server) *Server {
	i := slices.IndexFunc(list, func(w *Server) bool { return w.s == s })
	if i < 0 {
		return nil
	}
	return list[i]
}
