package main

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

// long skips what takes some seconds to start, but in long runs.
func long(t *testing.T) {
	if !servertest.Long() {
		t.Skip("a cluster and Sentinel take long to start: set SECURECACHE_LONG")
	}
}

// loginFlags are the command's for a user of the servers: the environment is one
// for all tests.
func loginFlags(t *testing.T, raw, user, password string, first *server.Server) []string {
	t.Helper()
	u, err := url.Parse(raw)
	check(t, err)
	u.User = url.User(user)
	file := filepath.Join(t.TempDir(), "password")
	check(t, os.WriteFile(file, []byte(password), 0o600))
	return []string{"--redis", u.String(), "--redis-password-file", file, "--timeout", "60s",
		"--tls-ca", first.CAFile(), "--tls-cert", first.CertFile(), "--tls-key", first.KeyFile()}
}

// TestACLApplyOnACluster gives every node the user, replicas too, and has each
// keep it. One that is down is told of, also when clients do not know it any more.
func TestACLApplyOnACluster(t *testing.T) {
	long(t)
	t.Parallel()
	servertest.Each(t, func(t *testing.T, binary string) {
		c, err := server.StartCluster(t.Context(), server.Options{Binary: binary})
		check(t, err)
		t.Cleanup(func() { check(t, c.Close()) })
		awaitKnown(t, c, 6)
		o, nodes := c.AdminOptions(), c.Nodes()
		login := loginFlags(t, c.URL(), o.Username, o.Password, nodes[0])
		given := apply(t, login...)

		away := nodes[len(nodes)-1]
		check(t, away.Kill())
		awaitKnown(t, c, 5)
		var said bytes.Buffer
		status := run(append([]string{"acl", "backup", "--apply", "--yes"}, login...), strings.NewReader(rolePassword), &said, &said)
		if status != exitUnreachable || !strings.Contains(said.String(), away.Addr()+" does not have the user") {
			t.Errorf("exit status %d: %s", status, &said)
		}
		for _, n := range nodes[:len(nodes)-1] {
			if !strings.Contains(said.String(), n.Addr()+": backup is there") {
				t.Errorf("%s is missing: %s", n.Addr(), &said)
			}
		}
		hasOnEach(t, given, nodes) // the last, since a master that is away for too long is replaced
	})
}

// TestACLApplyBehindSentinel gives the master and its replicas the user.
func TestACLApplyBehindSentinel(t *testing.T) {
	long(t)
	t.Parallel()
	servertest.Each(t, func(t *testing.T, binary string) {
		w, err := server.StartSentinel(t.Context(), server.Options{Binary: binary})
		check(t, err)
		t.Cleanup(func() { check(t, w.Close()) })
		o := w.AdminOptions()
		hasOnEach(t, apply(t, loginFlags(t, w.URL(), o.Username, o.Password, w.Nodes()[0])...), w.Nodes()[1:])
	})
}

// hasOnEach holds that the nodes have the user monitor, and still do after a restart.
func hasOnEach(t *testing.T, said string, nodes []*server.Server) {
	t.Helper()
	for _, n := range nodes {
		if !strings.Contains(said, n.Addr()+": monitor is there and in the ACL file") {
			t.Errorf("%s is missing: %s", n.Addr(), said)
		}
		check(t, n.Restart(t.Context()))
		rdb := redis.NewClient(n.AdminOptions())
		t.Cleanup(func() { _ = rdb.Close() })
		there(t, rdb, true)
		logsIn(t, n)
	}
}

// logsIn holds that the user that was made can log in, and has its rights.
func logsIn(t *testing.T, n *server.Server) {
	t.Helper()
	o := n.AdminOptions()
	o.Username, o.Password = "monitor", rolePassword
	rdb := redis.NewClient(o)
	defer rdb.Close()
	check(t, rdb.Info(t.Context(), "memory").Err())
	if err := rdb.Get(t.Context(), "k").Err(); !redis.HasErrorPrefix(err, "NOPERM") {
		t.Errorf("%s: %v", n.Addr(), err)
	}
}

// awaitKnown waits until every running node tells clients of so many nodes.
// CLUSTER SLOTS leaves out replicas that have no data yet, and those that are down.
func awaitKnown(t *testing.T, c *server.Cluster, want int) {
	t.Helper()
	for _, n := range c.Nodes()[:want] {
		rdb := redis.NewClient(n.AdminOptions())
		defer rdb.Close()
		await(t, "the cluster's nodes are known", func() bool {
			slots, err := rdb.Do(t.Context(), "cluster", "slots").Slice()
			known := 0
			for _, s := range slots {
				known += len(s.([]any)) - 2 // two bounds, then the nodes
			}
			return err == nil && known == want
		})
	}
}

// TestAuditOfSentinels has the command audit a master, its replicas and their
// Sentinels in one go, one of which lets everybody in.
func TestAuditOfSentinels(t *testing.T) {
	long(t)
	t.Parallel()
	servertest.Each(t, func(t *testing.T, binary string) {
		w, err := server.StartSentinel(t.Context(), server.Options{Binary: binary})
		check(t, err)
		t.Cleanup(func() { check(t, w.Close()) })
		open := w.Sentinels()[1]
		rdb := redis.NewClient(open.AdminOptions())
		t.Cleanup(func() { _ = rdb.Close() })
		check(t, rdb.Do(t.Context(), "acl", "setuser", "default", "on", "nopass").Err())
		before := rdb.Do(t.Context(), "acl", "list").String()

		o := w.AdminOptions()
		var out, said bytes.Buffer
		args := append([]string{"audit", "--check", "A1,M4", "--fix", "--yes"}, loginFlags(t, w.URL(), o.Username, o.Password, w.Nodes()[0])...)
		if status := run(args, strings.NewReader(""), &out, &said); status != exitAbsent {
			t.Errorf("exit status %d: %s", status, &said)
		}
		if strings.Count(out.String(), " master\n") != 1 || strings.Count(out.String(), " slave\n") != 2 || strings.Count(out.String(), " sentinel\n") != 3 {
			t.Errorf("%s", &out)
		}
		_, of, _ := strings.Cut(out.String(), open.Addr())
		if !strings.Contains(strings.SplitN(of, "\n", 3)[1], "critical  A1") || strings.Count(out.String(), "A1") != 1 {
			t.Errorf("%s", &out)
		}
		if !strings.Contains(said.String(), "left alone: clients and the other Sentinels") {
			t.Errorf("%s", &said)
		}
		if after := rdb.Do(t.Context(), "acl", "list").String(); after != before {
			t.Error("the Sentinel's users were changed")
		}
	})
}
