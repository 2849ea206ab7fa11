package audit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

// complete holds that every node has a result of every check, without an error.
func complete(t *testing.T, r *audit.Report, nodes []string) {
	t.Helper()
	slices.Sort(nodes)
	var seen []string
	for _, n := range r.Nodes {
		seen = append(seen, n.Addr)
		if n.Error != "" || n.Version == "" {
			t.Errorf("%+v", n)
		}
		checked := map[string]bool{}
		for _, one := range r.Results {
			if one.Node == n.Addr {
				checked[one.Check] = true
			}
		}
		if len(checked) != len(audit.Checks()) {
			t.Errorf("%s: %d checks", n.Addr, len(checked))
		}
	}
	slices.Sort(seen)
	if !slices.Equal(seen, nodes) {
		t.Errorf("%v, want %v", seen, nodes)
	}
	for _, id := range []string{"T2", "T6", "T10", "N1", "N3", "A1", "A3"} {
		if found := of(r, id); len(found) != 0 {
			t.Errorf("%+v", found)
		}
	}
}

// knowsReplicas waits until a node has heard that the replicas have their data,
// which comes by gossip some time after the cluster is complete. Until then
// CLUSTER SLOTS, from which clients know the nodes, leaves them out.
func knowsReplicas(t *testing.T, n *server.Server) {
	rdb := redis.NewClient(n.AdminOptions())
	defer rdb.Close()
	await(t, func() bool {
		slots, err := rdb.Do(t.Context(), "CLUSTER", "SLOTS").Slice()
		return err == nil && len(slots) == 3 && !slices.ContainsFunc(slots, func(s any) bool {
			return len(s.([]any)) != 4 // two bounds, two nodes
		})
	})
}

// forgets waits until a node tells clients of five nodes.
func forgets(t *testing.T, n *server.Server) {
	t.Helper()
	rdb := redis.NewClient(n.AdminOptions())
	defer rdb.Close()
	await(t, func() bool {
		slots, err := rdb.Do(t.Context(), "CLUSTER", "SLOTS").Slice()
		known := 0
		for _, s := range slots {
			known += len(s.([]any)) - 2 // two bounds, then the nodes
		}
		return err == nil && known == 5
	})
}

// slow skips what takes some seconds to start, but in long runs.
func slow(t *testing.T) {
	if !servertest.Long() {
		t.Skip("a cluster and Sentinel take long to start: set SECURECACHE_LONG")
	}
}

func TestCluster(t *testing.T) {
	slow(t)
	each(t, func(t *testing.T, binary string) {
		c := must[*server.Cluster](t)(server.StartCluster(t.Context(), server.Options{Binary: binary}))
		t.Cleanup(func() { _ = c.Close() })
		var nodes []string
		for _, n := range c.Nodes() {
			nodes = append(nodes, n.Addr())
			knowsReplicas(t, n)
		}
		rdb := redis.NewClusterClient(c.AdminOptions())
		t.Cleanup(func() { _ = rdb.Close() })
		complete(t, look(t, rdb, audit.Options{}), nodes)

		// A replica that is down is left out of CLUSTER SLOTS, and not of the report.
		away := c.Nodes()[5]
		if err := away.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, n := range c.Nodes()[:5] {
			forgets(t, n)
		}
		fresh := redis.NewClusterClient(c.AdminOptions()) // which has not heard of it
		t.Cleanup(func() { _ = fresh.Close() })
		r := look(t, fresh, audit.Options{})
		if gone := r.Unreached(); len(r.Nodes) != 6 || len(gone) != 1 || gone[0].Addr != away.Addr() {
			t.Errorf("%+v", r.Nodes)
		}
	})
}

// silent holds that nothing is found on the Sentinels but what no server can
// mend.
func silent(t *testing.T, r *audit.Report, sentinels []*server.Server) {
	t.Helper()
	for _, s := range sentinels {
		for _, one := range r.Found(audit.Info) {
			if one.Node == s.Addr() && !slices.Contains(always, one.Check) {
				t.Errorf("%+v", one)
			}
		}
	}
}

// TestAwayUnderSentinel has a Sentinel and a replica that are down: they are in
// the report all the same.
func TestAwayUnderSentinel(t *testing.T) {
	slow(t)
	t.Parallel()
	each(t, func(t *testing.T, binary string) {
		s := must[*server.Sentinel](t)(server.StartSentinel(t.Context(), server.Options{Binary: binary}))
		t.Cleanup(func() { _ = s.Close() })
		rdb := redis.NewFailoverClient(s.AdminOptions())
		t.Cleanup(func() { _ = rdb.Close() })
		seed := s.AdminOptions()
		seed.SentinelAddrs = seed.SentinelAddrs[:1]
		replica, sentinel := s.Nodes()[2], s.Sentinels()[2]
		if err := errors.Join(replica.Kill(), sentinel.Kill()); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool {
			return strings.Contains(rdb.Info(t.Context(), "replication").Val(), "connected_slaves:1")
		})
		r := look(t, rdb, audit.Options{Sentinels: seed})
		if gone := r.Unreached(); len(r.Nodes) != 6 || len(gone) != 2 || gone[0].Addr != replica.Addr() || gone[1].Addr != sentinel.Addr() {
			t.Errorf("%+v", r.Nodes)
		}
	})
}

func TestSentinel(t *testing.T) {
	slow(t)
	each(t, func(t *testing.T, binary string) {
		o := server.Options{Binary: binary, Config: []string{"tls-ciphers ECDHE+AESGCM:ECDHE+CHACHA20"}}
		s := must[*server.Sentinel](t)(server.StartSentinel(t.Context(), o))
		t.Cleanup(func() { _ = s.Close() })
		rdb := redis.NewFailoverClient(s.AdminOptions())
		t.Cleanup(func() { _ = rdb.Close() })
		var nodes []string
		for _, n := range slices.Concat(s.Nodes(), s.Sentinels()) {
			nodes = append(nodes, n.Addr())
		}
		// One of them is enough to find the others, and none is there twice.
		seed := s.AdminOptions()
		seed.SentinelAddrs = seed.SentinelAddrs[1:2]
		for _, by := range []*redis.FailoverOptions{seed, s.AdminOptions()} {
			o := later(-2 * day) // these certificates are for 30 days
			o.Admins, o.Expected, o.Sentinels = []string{"admin", "sentinel"}, []string{"127.0.0.1"}, by
			r := look(t, rdb, o)
			complete(t, r, slices.Clone(nodes))
			var roles []string
			for _, n := range r.Nodes {
				roles = append(roles, n.Role)
			}
			if !slices.Equal(roles, []string{"master", "slave", "slave", "sentinel", "sentinel", "sentinel"}) {
				t.Errorf("%v", roles)
			}
			silent(t, r, s.Sentinels())
		}
		if _, err := audit.Run(t.Context(), rdb, nil); err == nil || errors.Is(err, audit.ErrUnreachable) {
			t.Errorf("without a word on the Sentinels: %v", err)
		}
	})
}
