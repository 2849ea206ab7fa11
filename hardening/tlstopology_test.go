package hardening_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

// topologies are where a client talks to several servers.
var topologies = map[string]func(t *testing.T, binary string) *site{
	"Cluster": func(t *testing.T, binary string) *site {
		c, err := server.StartCluster(t.Context(), server.Options{Binary: binary})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return newTopology(t, c.URL(), c.Nodes(), nil)
	},
	"Sentinel": func(t *testing.T, binary string) *site {
		w, err := server.StartSentinel(t.Context(), server.Options{Binary: binary})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Close() })
		return newTopology(t, w.URL(), w.Nodes(), w)
	},
}

// newTopology gives the clients an authority of their own beside the servers'.
func newTopology(t *testing.T, url string, nodes []*server.Server, w *server.Sentinel) *site {
	t.Helper()
	ca, err := pki.New("first")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, url: url, dir: t.TempDir(), ca: ca, sentinels: w}
	if s.base, err = os.ReadFile(nodes[0].CAFile()); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		s.admins = append(s.admins, connect(t, n.AdminOptions()))
	}
	s.trust(ca.PEM())
	return s
}

// restartSentinels has them take over the authorities, one after the other, so
// that two watch at any time.
func (s *site) restartSentinels() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	text, err := os.ReadFile(s.dir + "/ca.pem")
	if err != nil {
		s.Fatal(err)
	}
	for _, one := range s.sentinels.Sentinels() {
		write(s.T, filepath.Join(one.Dir(), "ca.pem"), text, 0o600)
		if err := one.Restart(ctx); err != nil {
			s.Fatal(err)
		}
		if err := s.sentinels.Ready(ctx); err != nil {
			s.Fatal(err)
		}
	}
}

func onTopologies(t *testing.T, test func(t *testing.T, s *site)) {
	if !servertest.Long() {
		t.Skip("a cluster and Sentinel take long to start: set SECURECACHE_LONG")
	}
	for name, start := range topologies {
		t.Run(name, func(t *testing.T) {
			servertest.Each(t, func(t *testing.T, binary string) { test(t, start(t, binary)) })
		})
	}
}

// TestRotationOnTopologies rotates as TestRotationUnderTraffic does; the
// Sentinels are restarted for each of an authority's steps.
func TestRotationOnTopologies(t *testing.T) {
	t.Parallel()
	onTopologies(t, func(t *testing.T, s *site) { s.rotate(5) })
}

// TestRevokedClientIsGoneFromTopologies takes the client's authority away from
// every server. Its old connections end by themselves within the bound, on the
// nodes that it has not used since too.
func TestRevokedClientIsGoneFromTopologies(t *testing.T) {
	t.Parallel() // it waits for most of its time
	onTopologies(t, func(t *testing.T, s *site) {
		another, err := pki.New("another client's")
		if err != nil {
			t.Fatal(err)
		}
		rdb, config := s.client()
		for _, key := range strings.Fields("a b c d e f g h i j") { // on all masters
			if err := rdb.Set(t.Context(), "sc:dev:v:"+key, 1, time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
		}
		s.trust(another.PEM())

		s.refuses(config)
		for _, admin := range s.everybody() {
			servertest.Eventually(t, "the old connections are gone", func() bool {
				list, err := admin.ClientList(t.Context()).Result()
				if err != nil {
					t.Fatal(err)
				}
				return !strings.Contains(list, "user=app ")
			})
		}
		if e := handshake.Explain(rdb.Get(t.Context(), "sc:dev:v:a").Err()); e == nil || e.Cause != handshake.UnknownAuthority {
			t.Errorf("after its connections have ended: %v", e)
		}
	})
}

// everybody are the administrators' clients, of the Sentinels too.
func (s *site) everybody() []*redis.Client {
	s.Helper()
	list := slices.Clone(s.admins)
	if s.sentinels != nil {
		for _, one := range s.sentinels.Sentinels() {
			list = append(list, connect(s.T, one.AdminOptions()))
		}
	}
	return list
}
