package limit_test

import (
	"crypto/fips140"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) {
	servertest.Main(m)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func limiter(t testing.TB, c *securecache.Cache, r limit.Rate, o *limit.Options) *limit.Limiter {
	t.Helper()
	l, err := limit.New(c, r, o)
	ok(t, err)
	return l
}

// allowed takes n, from a server that answers.
func allowed(t testing.TB, l *limit.Limiter, name string, n int, want bool) limit.Result {
	t.Helper()
	res, err := l.AllowN(t.Context(), name, n)
	ok(t, err)
	if res.Allowed != want {
		t.Errorf("%d of %s: %+v, want %t", n, name, res, want)
	}
	return res
}

// algorithms by the names that tests give them.
var algorithms = map[string]limit.Algorithm{
	"gcra": limit.GCRA, "fixed": limit.FixedWindow, "sliding": limit.SlidingWindow,
}

// faces runs a test with each command alone and with shared round trips.
func faces(t *testing.T, run func(t *testing.T, env *securecachetest.Env, c *securecache.Cache)) {
	for name, o := range map[string]securecache.Options{"plain": {}, "batched": {Batch: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := securecachetest.Start(t)
			run(t, env, cacheOn(t, env, env.Client, &o))
		})
	}
}

func cacheOn(t testing.TB, env *securecachetest.Env, rdb redis.UniversalClient, o *securecache.Options) *securecache.Cache {
	t.Helper()
	c, err := securecache.New(rdb, env.Keyring, o)
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	return c
}

// bed is miniredis under a clock that the test moves.
type bed struct {
	mini  *miniredis.Miniredis
	cache *securecache.Cache
	clock *servertest.Clock
}

func onMini(t testing.TB) *bed {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("miniredis needs SHA-1 for SCRIPT LOAD, which FIPS 140-only mode does not have")
	}
	mini := miniredis.RunT(t)
	b := &bed{mini: mini, clock: servertest.NewClock(time.UnixMicro(1_795_176_000_123_457)), cache: cacheAt(t, mini.Addr())}
	mini.SetTime(b.clock.Now())
	mini.ClockTTL(true)
	return b
}

// cacheAt is a cache on a server without TLS, with a keyring of its own.
func cacheAt(t testing.TB, addr string) *securecache.Cache {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { ok(t, rdb.Close()) })
	store, wrapper := keys.NewFile(filepath.Join(t.TempDir(), "keyring.json")), keys.InsecurePlain()
	ok(t, keys.Create(t.Context(), "test", store, wrapper, keys.Layout{}))
	k, err := keys.Open(t.Context(), "test", store, wrapper, nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, k.Close()) })
	c, err := securecache.New(rdb, k, nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	return c
}

// pass lets time go by for the server, or go back.
func (b *bed) pass(d time.Duration) {
	b.clock.Advance(d)
	b.mini.SetTime(b.clock.Now())
}

func isCost(err error) bool {
	var cost *limit.CostError
	return errors.As(err, &cost)
}
