package securecachetest_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestStartCluster(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		e := securecachetest.StartCluster(t, securecachetest.WithServer(binary), securecachetest.WithNamespace("carts"))
		cacheWorks(t, e.Cache)
		for i := range 20 { // over all slots
			if err := e.Cache.Set(ctx, strconv.Itoa(i), []byte("x"), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		dialWorks(t, e.URL, func(link string) (*securecache.Cache, error) {
			return securecache.Dial(ctx, link, e.TLS, e.Keyring, nil)
		})
		if len(e.Nodes) != 6 || e.Namespace != "carts" || e.Keyring.Namespace() != "carts" {
			t.Errorf("%d nodes, namespace %s", len(e.Nodes), e.Namespace)
		}
		if n, err := e.Admin.DBSize(ctx).Result(); err != nil || n < 20 {
			t.Errorf("%d records, %v", n, err)
		}
		key := "sc:carts:v:{x}"
		old, err := e.Master(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := e.AwaitTakeover(ctx, old); err != nil {
			t.Fatal(err)
		}
		now, err := e.Master(ctx, key)
		if err != nil || now == old || now == nil {
			t.Errorf("%v took over, %v", now, err)
		}
		if err := old.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if err := e.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStartSentinel(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		e := securecachetest.StartSentinel(t, securecachetest.WithServer(binary))
		cacheWorks(t, e.Cache)
		dialWorks(t, e.URL, func(link string) (*securecache.Cache, error) {
			return securecache.Dial(ctx, link, e.TLS, e.Keyring, nil)
		})
		if len(e.Nodes) != 3 || len(e.Sentinels) != 3 {
			t.Errorf("%d nodes, %d sentinels", len(e.Nodes), len(e.Sentinels))
		}
		// A reply says nothing about the replicas: wait for them before the fault.
		if n, err := e.Admin.Wait(ctx, 2, 20*time.Second).Result(); err != nil || n != 2 {
			t.Fatalf("%d replicas, %v", n, err)
		}
		old, err := e.Master(ctx)
		if err != nil || old != e.Nodes[0] {
			t.Fatalf("%v, %v", old, err)
		}
		if err := old.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := e.AwaitTakeover(ctx, old); err != nil {
			t.Fatal(err)
		}
		recovers(t, e.Cache)
		if err := old.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if err := e.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

func dialWorks(t *testing.T, link string, dial func(string) (*securecache.Cache, error)) {
	t.Helper()
	c, err := dial(link)
	if err != nil {
		t.Fatal(err)
	}
	cacheWorks(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
