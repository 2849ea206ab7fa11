package lock_test

import (
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) {
	servertest.Main(m)
}

// start returns a server with all that belongs to it and a locker on it.
func start(t testing.TB, o *lock.Options, opts ...securecachetest.Option) (*securecachetest.Env, *lock.Locker) {
	t.Helper()
	env := securecachetest.Start(t, opts...)
	return env, locker(t, env.Cache, o)
}

func locker(t testing.TB, c *securecache.Cache, o *lock.Options) *lock.Locker {
	t.Helper()
	l, err := lock.New(c, o)
	ok(t, err)
	t.Cleanup(func() { ok(t, l.Close()) })
	return l
}

// faces runs a test with each command alone and with shared round trips.
func faces(t *testing.T, run func(t *testing.T, env *securecachetest.Env, l *lock.Locker)) {
	for name, o := range map[string]securecache.Options{"plain": {}, "batched": {Batch: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := securecachetest.Start(t)
			c, err := securecache.New(env.Client, env.Keyring, &o)
			ok(t, err)
			t.Cleanup(func() { ok(t, c.Close()) })
			run(t, env, locker(t, c, nil))
		})
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func try(t testing.TB, l *lock.Locker, name string, ttl time.Duration) *lock.Lock {
	t.Helper()
	held, err := l.Try(t.Context(), name, ttl)
	ok(t, err)
	return held
}

func release(t testing.TB, held *lock.Lock) {
	t.Helper()
	ok(t, held.Release(t.Context()))
}

// returns waits for what a goroutine answers, and fails where it hangs.
func returns[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: nothing within 30 s", what)
		panic("unreachable")
	}
}

// keyring returns one for a server that is not the harness'.
func keyring(t testing.TB) *keys.Keyring {
	t.Helper()
	store := keys.NewFile(t.TempDir() + "/keyring.json")
	ok(t, keys.Create(t.Context(), "test", store, keys.InsecurePlain(), keys.Layout{}))
	k, err := keys.Open(t.Context(), "test", store, keys.InsecurePlain(), nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, k.Close()) })
	return k
}
