package server_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

// formed bounds what waits for a cluster or for sentinels.
const formed = time.Minute

func TestCluster(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*formed)
		defer cancel()
		c, err := server.StartCluster(ctx, server.Options{Binary: binary})
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, c.Close)
		o, err := redis.ParseClusterURL(c.URL() + "&max_retries=-1")
		if err == nil { // "cluster" is securecache.Dial's own parameter
			t.Fatalf("go-redis knows the parameter by now: %v", o)
		}
		rdb := redis.NewClusterClient(c.Options())
		defer rdb.Close()
		for _, k := range []string{key, "sc:dev:v:{b}", "sc:dev:v:{c}", "sc:dev:v:{d}"} {
			if err := rdb.Set(ctx, k, "before", 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range c.Nodes() {
			wantSecureNode(t, s)
		}
		if err := rdb.FlushAll(ctx).Err(); err == nil {
			t.Error("the application may flush")
		}
		failOver(t, ctx, c, rdb)
	})
}

// wantSecureNode asks a node itself what it is set to.
func wantSecureNode(t *testing.T, s *server.Server) {
	t.Helper()
	got, err := dial(t, s.AdminOptions()).ConfigGet(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"port": "0", "tls-cluster": "yes", "tls-replication": "yes", "tls-auth-clients": "yes", "cluster-enabled": "yes"} {
		if got[name] != want {
			t.Errorf("%s: %s is %q, want %q", s.Addr(), name, got[name], want)
		}
	}
}

// failOver kills a master, waits for its replica, reads what was written
// before, and lets the dead one come back.
func failOver(t *testing.T, ctx context.Context, c *server.Cluster, rdb *redis.ClusterClient) {
	t.Helper()
	old, err := c.Master(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	// Replication lags behind the reply: the write has reached the replica first.
	if n, err := dial(t, old.AdminOptions()).Wait(ctx, 1, 20*time.Second).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas have the write, %v", n, err)
	}
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitTakeover(ctx, old); err != nil {
		t.Fatal(err)
	}
	now, err := c.Master(ctx, key)
	if err != nil || now == old {
		t.Fatalf("%v, %v", now, err)
	}
	rdb.ReloadState(ctx)
	if got, err := dial(t, now.Options()).Get(ctx, key).Result(); got != "before" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := old.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestSentinel(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*formed)
		defer cancel()
		w, err := server.StartSentinel(ctx, server.Options{Binary: binary})
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, w.Close)
		rdb := redis.NewFailoverClient(w.Options())
		defer rdb.Close()
		if err := rdb.Set(ctx, key, "before", 0).Err(); err != nil {
			t.Fatal(err)
		}
		old, err := w.Master(ctx)
		if err != nil || old != w.Nodes()[0] {
			t.Fatalf("%v, %v", old, err)
		}
		if n, err := dial(t, old.AdminOptions()).Wait(ctx, 2, 20*time.Second).Result(); err != nil || n != 2 {
			t.Fatalf("%d replicas have the write, %v", n, err)
		}
		sentinelsAreTight(t, w)
		if err := old.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := w.AwaitTakeover(ctx, old); err != nil {
			t.Fatal(err)
		}
		eventually(t, ctx, func() bool { got, err := rdb.Get(ctx, key).Result(); return got == "before" && err == nil })
		if err := old.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if err := w.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

// sentinelsAreTight logs in at a sentinel as the application, which may ask and
// not command.
func sentinelsAreTight(t *testing.T, w *server.Sentinel) {
	t.Helper()
	rdb := dial(t, w.Sentinels()[0].Options())
	if err := rdb.Do(t.Context(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", server.MasterName).Err(); err != nil {
		t.Error(err)
	}
	for _, args := range [][]any{{"SENTINEL", "FAILOVER", server.MasterName}, {"SENTINEL", "RESET", "*"}, {"INFO"}, {"CONFIG", "GET", "*"}} {
		if err := rdb.Do(t.Context(), args...).Err(); err == nil {
			t.Errorf("%v was let through", args)
		}
	}
}

func closed(t *testing.T, stop func() error) {
	t.Helper()
	for range 2 {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, ctx context.Context, f func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-tick.C:
		}
	}
}

func TestDivergentShardIDs(t *testing.T) {
	const (
		master  = "aaa 127.0.0.1:0@31014,,tls-port=21014,shard-id=one master - 0 0 3 connected 0-16383\n"
		replica = "bbb 127.0.0.1:0@31015,,tls-port=21015,shard-id=one myself,slave aaa 0 0 3 connected\n"
		strange = "bbb 127.0.0.1:0@31015,,tls-port=21015,shard-id=two myself,slave aaa 0 0 3 connected\n"
		old     = "aaa 127.0.0.1:21014@31014 master - 0 0 3 connected 0-16383\nbbb 127.0.0.1:21015@31015 slave aaa 0 0 3 connected\n"
		vars    = "vars currentEpoch 6 lastVoteEpoch 0\n"
	)
	for name, tt := range map[string]struct {
		nodes string
		want  bool
	}{
		"agree":                  {master + replica + vars, false},
		"differ":                 {master + strange + vars, true},
		"replica first":          {strange + master + vars, true},
		"before there were any":  {old + vars, false},
		"a master without other": {master + vars, false},
		"empty":                  {"", false},
	} {
		if got := server.Divergent(tt.nodes); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
