package session_test

import (
	"crypto/fips140"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) {
	servertest.Main(m)
}

// cart is what the sessions of these tests hold.
type cart struct {
	Items []string
	Note  string
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is fails unless err is want.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// bed is what a test runs on: a server, and a cache whose clock may be the
// test's own.
type bed struct {
	rdb   redis.UniversalClient // as the application
	admin redis.UniversalClient
	cache *securecache.Cache
	keys  *keys.Keyring
	clock *servertest.Clock // nil: the system's
	env   *securecachetest.Env
	mini  *miniredis.Miniredis
}

func (b *bed) store(t *testing.T, o *session.Options) *session.Store[cart] {
	t.Helper()
	s, err := session.New(b.cache, codec.JSON[cart](), o)
	ok(t, err)
	return s
}

// onServer is a bed on the server of the environment.
func onServer(t *testing.T, opts ...securecachetest.Option) *bed {
	t.Helper()
	env := securecachetest.Start(t, opts...)
	return &bed{rdb: env.Client, admin: env.Admin, cache: env.Cache, keys: env.Keyring, env: env}
}

// withClock gives the cache a clock that the test moves. The server's stays.
func (b *bed) withClock(t *testing.T) *bed {
	t.Helper()
	b.clock = servertest.NewClock(time.Now().Truncate(time.Millisecond))
	c, err := securecache.New(b.rdb, b.keys, &securecache.Options{Codec: codec.Options{Now: b.clock.Now}})
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	b.cache = c
	return b
}

// onMini is a bed on a server whose clock and whose cache's are the test's.
func onMini(t *testing.T) *bed {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("miniredis needs SHA-1 for SCRIPT LOAD, which FIPS 140-only mode does not have")
	}
	mini := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	store, wrapper := keys.NewFile(filepath.Join(t.TempDir(), "keyring.json")), keys.InsecurePlain()
	ok(t, keys.Create(t.Context(), "test", store, wrapper, keys.Layout{}))
	k, err := keys.Open(t.Context(), "test", store, wrapper, nil)
	ok(t, err)
	t.Cleanup(func() { _ = k.Close() })
	b := (&bed{rdb: rdb, admin: rdb, keys: k, mini: mini}).withClock(t)
	mini.SetTime(b.clock.Now())
	mini.ClockTTL(true)
	return b
}

// everywhere runs a test on both beds, with a clock that stands still.
func everywhere(t *testing.T, run func(t *testing.T, b *bed)) {
	t.Run("server", func(t *testing.T) { t.Parallel(); run(t, onServer(t).withClock(t)) })
	t.Run("miniredis", func(t *testing.T) { t.Parallel(); run(t, onMini(t)) })
}

// pass lets time go by for the cache and the embedded server.
func (b *bed) pass(d time.Duration) {
	b.clock.Advance(d)
	if b.mini != nil {
		b.mini.SetTime(b.clock.Now())
	}
}

// names returns the Redis keys of a kind.
func (b *bed) names(t *testing.T, kind codec.Kind) []string {
	t.Helper()
	list, err := b.admin.Keys(t.Context(), "sc:test:"+kind.String()+":*").Result()
	ok(t, err)
	return list
}

// only returns the one Redis key of a kind.
func (b *bed) only(t *testing.T, kind codec.Kind) string {
	t.Helper()
	list := b.names(t, kind)
	if len(list) != 1 {
		t.Fatalf("%d keys of kind %v", len(list), kind)
	}
	return list[0]
}

// create begins a session whose note is given.
func create(t *testing.T, s *session.Store[cart], subject, note string) string {
	t.Helper()
	token, err := s.Create(t.Context(), subject, cart{Note: note})
	ok(t, err)
	return token
}

// holds fails unless the token's session has the note.
func holds(t *testing.T, s *session.Store[cart], token, note string) *session.Session[cart] {
	t.Helper()
	got, err := s.Get(t.Context(), token)
	ok(t, err)
	if got.Value.Note != note {
		t.Fatalf("the session holds %q, want %q", got.Value.Note, note)
	}
	return got
}

// gone fails unless the token stands for nothing.
func gone(t *testing.T, s *session.Store[cart], token string) {
	t.Helper()
	got, err := s.Get(t.Context(), token)
	if !errors.Is(err, securecache.ErrMiss) {
		t.Fatalf("the session is there: %v, %v", got != nil, err)
	}
}

func notes(list []*session.Session[cart]) string {
	var all []string
	for _, one := range list {
		all = append(all, one.Value.Note)
	}
	return strings.Join(all, " ")
}

// listed fails unless the subject's sessions have these notes, oldest first.
func listed(t *testing.T, s *session.Store[cart], subject, want string) []*session.Session[cart] {
	t.Helper()
	list, err := s.List(t.Context(), subject)
	ok(t, err)
	if got := notes(list); got != want {
		t.Errorf("listed are %q, want %q", got, want)
	}
	return list
}

// refusals counts what OnRefused is told.
type refusals struct {
	mu sync.Mutex
	n  int
}

func (r *refusals) add(securecache.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
}

func (r *refusals) take() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.n
	r.n = 0
	return n
}
