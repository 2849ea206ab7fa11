package securecache_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("SECURECACHE_TEST_ROLE"); role != "" {
		os.Exit(child(role))
	}
	servertest.Main(m)
}

// start returns a server with all that belongs to it and a cache on it.
func start(t *testing.T, o *securecache.Options, opts ...securecachetest.Option) (*securecachetest.Env, *securecache.Cache) {
	t.Helper()
	env := securecachetest.Start(t, opts...)
	return env, open(t, env, o)
}

func open(t *testing.T, env *securecachetest.Env, o *securecache.Options) *securecache.Cache {
	t.Helper()
	c, err := securecache.New(env.Client, env.Keyring, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func keyOf(t *testing.T, c *securecache.Cache, name string) string {
	t.Helper()
	key, err := c.Key(codec.KindValue, name)
	ok(t, err)
	return key.String()
}

func set(t *testing.T, c *securecache.Cache, name, value string, ttl time.Duration, opts ...securecache.SetOption) {
	t.Helper()
	ok(t, c.Set(t.Context(), name, []byte(value), ttl, opts...))
}

// refusals collects what OnRefused is told.
type refusals struct {
	mu  sync.Mutex
	all []securecache.Refusal
}

func (r *refusals) add(one securecache.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, one)
}

func (r *refusals) take() []securecache.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

func contains(err error, secret string) bool {
	return strings.Contains(fmt.Sprintf("%v %+v %#v %q", err, err, err, err), secret)
}
