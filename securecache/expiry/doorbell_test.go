package expiry_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecachetest"
)

const bellUser, bellPassword = "bell", "a password for this test"

// bellRules are the words of ACL SETUSER that make the doorbell's user.
func bellRules(t *testing.T, version string, cluster bool) []any {
	t.Helper()
	sum := sha256.Sum256([]byte(bellPassword))
	line, err := hardening.ACL(hardening.Profile{
		Role: hardening.Doorbell, User: bellUser, PasswordSHA256: hex.EncodeToString(sum[:]), Namespace: "test", Version: version, Cluster: cluster,
	})
	ok(t, err)
	words := []any{"acl", "setuser"}
	for _, w := range strings.Fields(line)[1:] {
		words = append(words, w)
	}
	return words
}

// bellCache is a cache with the doorbell's login.
func bellCache(t *testing.T, env *securecachetest.Env) *securecache.Cache {
	t.Helper()
	ok(t, env.Admin.Do(t.Context(), bellRules(t, env.Server.Version(), false)...).Err())
	o := *env.Client.Options()
	o.Username, o.Password = bellUser, bellPassword
	return cacheOn(t, redis.NewClient(&o), env)
}

func cacheOn(t *testing.T, rdb *redis.Client, env *securecachetest.Env) *securecache.Cache {
	t.Helper()
	t.Cleanup(func() { _ = rdb.Close() })
	c, err := securecache.New(rdb, env.Keyring, nil)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// gone reads what has expired, so that the server notices.
func gone(t *testing.T, c *securecache.Cache, names ...string) {
	t.Helper()
	servertest.Eventually(t, "expired", func() bool {
		for _, name := range names {
			if there, err := c.Exists(t.Context(), name); err != nil || there {
				return false
			}
		}
		return true
	})
}

func TestDoorbell(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t, securecachetest.WithConfig("notify-keyspace-events Ex"))
	servertest.Real(t, env.Server)
	h := newHeard()
	n, _ := listen(t, bellCache(t, env), h.handle, &expiry.Options{Doorbell: true})
	ctx := t.Context()
	keyOf := func(name string) securecache.Key {
		key, err := env.Cache.Key(codec.KindValue, name)
		ok(t, err)
		return key
	}
	first, second := keyOf("first"), keyOf("second")
	rung := func(key securecache.Key) func([]expiry.Event) bool {
		return func(all []expiry.Event) bool {
			return slices.ContainsFunc(all, func(e expiry.Event) bool { return e.Key == key })
		}
	}
	for heard := rung(first); !heard(h.all()); { // until the bell hangs
		set(t, env.Cache, "first", 50*time.Millisecond)
		gone(t, env.Cache, "first")
	}
	for _, foreign := range []string{"sc:other:v:{a}", "other", "sc:test:s:{a}", "sc:test2:v:{a}", "sc:test:nonsense"} {
		ok(t, env.Admin.Set(ctx, foreign, "x", time.Millisecond).Err())
		servertest.Eventually(t, "expired", func() bool { return env.Admin.Exists(ctx, foreign).Val() == 0 })
	}
	set(t, env.Cache, "second", 50*time.Millisecond)
	gone(t, env.Cache, "second")
	all := h.await(t, "the second", rung(second))
	for _, e := range all {
		if e.Key != first && e.Key != second {
			t.Errorf("%v came with it", e.Key)
		}
	}
	if e := all[len(all)-1]; e.ID != "" || e.Name != "" || !e.Deadline.IsZero() || e.Attempt != 0 {
		t.Errorf("%+v", e)
	}
	servertest.Eventually(t, "counted", func() bool {
		s := n.Stats()
		return s.Delivered == int64(len(all)) && s.Failed == 0
	})
}

func TestDoorbellSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t)
	servertest.Real(t, env.Server)
	ctx, h := t.Context(), newHeard()
	bell := bellCache(t, env)

	// The application's user may not hear other tenants.
	if err := expiry.Listen(ctx, env.Cache, h.handle, &expiry.Options{Doorbell: true}); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("the application's login: %v", err)
	}
	// And the doorbell's may not configure the server.
	if err := expiry.Listen(ctx, bell, h.handle, &expiry.Options{Doorbell: true, EnableNotifications: true}); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("enabling without the right: %v", err)
	}
	started := time.Now()
	if err := expiry.Listen(ctx, bell, h.handle, &expiry.Options{Doorbell: true}); !errors.Is(err, expiry.ErrNoNotifications) {
		t.Errorf("no notifications: %v", err)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %s to notice", took)
	}
	for _, was := range []string{"", "K$", "KA", "E", "Ex"} {
		ok(t, env.Admin.ConfigSet(ctx, "notify-keyspace-events", was).Err())
		h := newHeard()
		_, stop := listen(t, cacheOn(t, redis.NewClient(env.Admin.Options()), env), h.handle, &expiry.Options{Doorbell: true, EnableNotifications: true})
		for len(h.all()) == 0 {
			set(t, env.Cache, "name", 50*time.Millisecond)
			gone(t, env.Cache, "name")
		}
		stop()
		is := env.Admin.ConfigGet(ctx, "notify-keyspace-events").Val()["notify-keyspace-events"]
		for _, flag := range was {
			if !strings.ContainsRune(is, flag) {
				t.Errorf("%q became %q", was, is)
			}
		}
	}
}

// TestDoorbellComesBack kills the connection of the subscription, and restarts
// the server.
func TestDoorbellComesBack(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t, securecachetest.WithConfig("notify-keyspace-events Ex"))
	servertest.Real(t, env.Server)
	h := newHeard()
	// A restarted server knows nothing of users that were made since: it has the administrator.
	listen(t, cacheOn(t, redis.NewClient(env.Admin.Options()), env), h.handle, &expiry.Options{Doorbell: true})
	more := func() {
		t.Helper()
		before := len(h.all())
		servertest.Eventually(t, "heard", func() bool {
			ringOnce(t, env.Cache, "name")
			return len(h.all()) > before
		})
	}
	more()
	ok(t, env.Admin.Do(t.Context(), "client", "kill", "type", "pubsub").Err())
	more()
	ok(t, env.Server.Kill())
	ok(t, env.Server.Restart(t.Context()))
	more()
}

// ringOnce stores a name that is not there, and by asking has the server delete
// what has expired.
func ringOnce(t testing.TB, c *securecache.Cache, name string) {
	if there, err := c.Exists(t.Context(), name); err == nil && !there {
		_ = c.Set(t.Context(), name, nil, 50*time.Millisecond)
	}
}
