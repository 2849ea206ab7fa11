package expiry_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecachetest"
)

// names wants each name to have come as one event, however often.
func names(t testing.TB, events []expiry.Event) map[string]string {
	t.Helper()
	var all tally
	for _, e := range events {
		all.add(t, e.Name, e.ID)
	}
	return all.ids
}

// TestCluster has shards on all masters, and bells; moves a shard to another
// master, kills one, and goes on.
func TestCluster(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t, securecachetest.WithLayout(keys.Layout{Shards: 16}), securecachetest.WithConfig("notify-keyspace-events Ex"))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	rung := newHeard()
	listen(t, clusterBell(t, env), rung.handle, &expiry.Options{Doorbell: true, OnError: func(err error) {
		if errors.Is(err, expiry.ErrNoNotifications) || redis.HasErrorPrefix(err, "NOPERM") {
			t.Errorf("the doorbell said %v", err)
		}
	}})
	h := newHeard()
	n, _ := listen(t, env.Cache, h.handle, &expiry.Options{Visibility: time.Second, MaxClaims: 1000})
	masters := map[string]bool{}
	for _, base := range env.Cache.Shards() {
		node, err := env.Master(ctx, base.Part("due").String())
		ok(t, err)
		masters[node.Addr()] = true
	}
	if len(masters) != 3 {
		t.Fatalf("the shards are on %d masters", len(masters))
	}
	const each = 300
	total := 0
	more := func(c *securecache.Cache, ttl time.Duration) {
		t.Helper()
		setMany(t, c, total, each, ttl)
		total += each
	}
	all := func(when string) {
		t.Helper()
		h.await(t, "all "+when, func(events []expiry.Event) bool { return len(names(t, events)) == total })
	}
	more(env.Cache, 100*time.Millisecond)
	more(env.Cache.Tagged("tenant"), 100*time.Millisecond)
	all("at first")
	bells(t, env, rung)

	// Deadlines pass, and new ones are set, while the shard moves.
	more(env.Cache, 500*time.Millisecond)
	_, err := env.MoveSlot(ctx, env.Cache.Shards()[3].Part("due").String(), func() {
		for range 20 {
			if env.Cache.Set(ctx, strconv.Itoa(total), nil, 100*time.Millisecond) == nil {
				total++
			} // a slot that moves may ask to be tried again for longer than a write waits
		}
	})
	ok(t, err)
	more(env.Cache, 100*time.Millisecond)
	all("through a move")

	// Ahead when the master dies, and safe on its replica.
	more(env.Cache, 3*time.Second)
	replicated(t, env)
	dead, err := env.Master(ctx, env.Cache.Shards()[3].Part("due").String())
	ok(t, err)
	ok(t, dead.Kill())
	ok(t, env.AwaitTakeover(ctx, dead))
	all("through the failover")

	// And what is written afterwards wakes the sleepers at once.
	servertest.Eventually(t, "the cache writes again", func() bool { return env.Cache.Set(ctx, strconv.Itoa(total), nil, 50*time.Millisecond) == nil })
	total++
	more(env.Cache, 100*time.Millisecond)
	all("after the failover")
	servertest.Eventually(t, "nothing left", func() bool {
		d, err := n.Depth(ctx)
		return err == nil && d == expiry.Depth{}
	})
	bells(t, env, rung)
}

func replicated(t *testing.T, env *securecachetest.Cluster) {
	t.Helper()
	ok(t, env.Admin.ForEachMaster(t.Context(), func(ctx context.Context, m *redis.Client) error {
		replicas, err := m.Wait(ctx, 1, 10*time.Second).Result()
		if err == nil && replicas < 1 {
			err = errors.New("no replica has it")
		}
		return err
	}))
}

// clusterBell is a cache with the doorbell's login on every node.
func clusterBell(t *testing.T, env *securecachetest.Cluster) *securecache.Cache {
	t.Helper()
	rules := bellRules(t, env.Nodes[0].Version(), true)
	for _, node := range env.Nodes { // replicas do not learn of users
		admin := env.Admin.Options()
		rdb := redis.NewClient(&redis.Options{Addr: node.Addr(), Username: admin.Username, Password: admin.Password, TLSConfig: env.TLS.Clone()})
		ok(t, errors.Join(rdb.Do(t.Context(), rules...).Err(), rdb.Close()))
	}
	o := *env.Client.Options()
	o.Username, o.Password = bellUser, bellPassword
	rdb := redis.NewClusterClient(&o)
	t.Cleanup(func() { _ = rdb.Close() })
	c, err := securecache.New(rdb, env.Keyring, nil)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// bells wants names of all masters heard by the doorbell.
func bells(t *testing.T, env *securecachetest.Cluster, rung *heard) {
	t.Helper()
	left := map[securecache.Key]bool{}
	for i := range 30 {
		key, err := env.Cache.Key(codec.KindValue, "bell "+strconv.Itoa(i))
		ok(t, err)
		left[key] = true
	}
	seen := len(rung.all())
	servertest.Eventually(t, "heard on every master", func() bool {
		for key := range left {
			if env.Client.Set(t.Context(), key.String(), "", time.Millisecond).Err() == nil {
				_ = env.Client.Exists(t.Context(), key.String()).Err()
			}
		}
		for _, e := range rung.all()[seen:] {
			delete(left, e.Key)
		}
		return len(left) == 0
	})
}

// TestSentinel fails over under the sentinels' eyes.
func TestSentinel(t *testing.T) {
	t.Parallel()
	if !servertest.Long() {
		t.Skip("a failover under Sentinel takes long: set SECURECACHE_LONG")
	}
	env := securecachetest.StartSentinel(t, securecachetest.WithLayout(keys.Layout{Shards: shards}))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	h := newHeard()
	listen(t, env.Cache, h.handle, &expiry.Options{Visibility: time.Second, MaxClaims: 1000})
	const each = 200
	setMany(t, env.Cache, 0, each, 100*time.Millisecond)
	h.awaitCount(t, each)
	setMany(t, env.Cache, each, each, 2*time.Second)
	if n, err := env.Admin.Wait(ctx, 2, 10*time.Second).Result(); err != nil || n != 2 {
		t.Fatalf("%d replicas, %v", n, err)
	}
	dead, err := env.Master(ctx)
	ok(t, err)
	ok(t, dead.Kill())
	ok(t, env.AwaitTakeover(ctx, dead))
	h.await(t, "all through the failover", func(events []expiry.Event) bool { return len(names(t, events)) == 2*each })
	servertest.Eventually(t, "the cache writes again", func() bool { return env.Cache.Set(ctx, "again", nil, 50*time.Millisecond) == nil })
	setMany(t, env.Cache, 2*each, each, 100*time.Millisecond)
	h.await(t, "all after the failover", func(events []expiry.Event) bool { return len(names(t, events)) == 3*each+1 })
}
