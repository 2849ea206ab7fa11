package vault_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// served is a cache whose keyring is in a real Vault.
type served struct {
	*real
	ring  *keys.Keyring
	cache *securecache.Cache
	asked *requests
	sets  int // the newest value of "name"
}

// requests counts the requests that are made of Vault.
type requests struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *requests) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

func newServed(t *testing.T, l keys.Layout) *served {
	t.Helper()
	r := newReal(t)
	e := securecachetest.Start(t, securecachetest.WithNamespace("shop"))
	s := &served{real: r, asked: &requests{RoundTripper: r.transport()}}
	login := vault.Token(vault.Value(r.Admin().Token()))
	client, err := vault.NewOver(t.Context(), vault.Config{Address: r.Address, Login: login}, s.asked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	wrapper, store := r.at(client)
	if err := keys.Create(t.Context(), "shop", store, wrapper, l); err != nil {
		t.Fatal(err)
	}
	s.ring = r.open(store, wrapper, nil)
	if s.cache, err = securecache.New(e.Client, s.ring, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cache.Close() })
	return s
}

// round stores a value and gets it back.
func (s *served) round(ctx context.Context) error {
	value := strconv.Itoa(s.sets + 1)
	if err := s.cache.Set(ctx, "name", []byte(value), time.Hour); err != nil {
		return err
	}
	s.sets++
	return s.holds(ctx)
}

// holds gets the value that was stored last.
func (s *served) holds(ctx context.Context) error {
	got, err := s.cache.Get(ctx, "name")
	if err == nil && string(got) != strconv.Itoa(s.sets) {
		return errors.New("the value is " + string(got) + ", not that of the last Set")
	}
	return err
}

// seal seals Vault behind rounds that go on, until one fails. It returns that
// round's error, and how many began after Vault was sealed and succeeded.
func (s *served) seal(ctx context.Context) (rounds int, err error) {
	var sealed atomic.Bool
	done := make(chan error, 1)
	go func() {
		err := s.Seal(ctx)
		sealed.Store(err == nil)
		done <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		after := sealed.Load()
		if err = s.round(ctx); err != nil {
			break
		}
		if after {
			rounds++
		}
	}
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
	return rounds, err
}

func TestRealSealedUnderACache(t *testing.T) {
	const offline = 4 * time.Second
	s := newServed(t, keys.Layout{Refresh: 100 * time.Millisecond, MaxOffline: offline})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	for range 2 { // the second began after the first, which may have been under way
		if err := s.ring.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
	}

	rounds, err := s.seal(ctx)
	if !errors.Is(err, keys.ErrStale) || rounds == 0 {
		t.Fatalf("after %d rounds while sealed: %v", rounds, err)
	}
	if d := time.Since(began); d < offline {
		t.Errorf("closed to use %s after a refresh, want %s", d, offline)
	}
	if status := s.ring.Status(); !status.Stale || !errors.Is(status.LastError, vault.ErrUnavailable) {
		t.Errorf("the keyring's status: %+v", status)
	}
	if err := s.cache.Set(ctx, "name", []byte("while closed"), time.Hour); !errors.Is(err, keys.ErrStale) {
		t.Errorf("set while closed: %v", err)
	}
	if got, err := s.cache.Get(ctx, "name"); !errors.Is(err, keys.ErrStale) || got != nil {
		t.Errorf("got while closed: %q, %v", got, err)
	}

	if err := s.Unseal(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, "serves again", func() bool { return !s.ring.Status().Stale })
	if err := errors.Join(s.holds(ctx), s.round(ctx)); err != nil {
		t.Errorf("after unsealing: %v", err)
	}
}

func TestRealCacheAsksVaultNothing(t *testing.T) {
	s := newServed(t, keys.Layout{Refresh: time.Hour})
	before := s.asked.n.Load()
	for range 500 {
		if err := s.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.cache.Get(t.Context(), "absent"); !errors.Is(err, securecache.ErrMiss) {
			t.Fatal(err)
		}
	}
	if n := s.asked.n.Load() - before; n != 0 {
		t.Errorf("%d requests to Vault", n)
	}
	if err := s.ring.Refresh(t.Context()); err != nil || s.asked.n.Load() == before {
		t.Errorf("a refresh was not counted, or failed: %v", err)
	}
}
