package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// open returns a cache as the shop has it, and a time for the test to end.
func open(t *testing.T) (context.Context, *securecache.Cache) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	env := securecachetest.Start(t, securecachetest.WithLayout(keys.Layout{Shards: 4}))
	cache, err := securecache.New(env.Client, env.Keyring, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	return ctx, cache
}

func put(ctx context.Context, t *testing.T, cache *securecache.Cache, buyer string, ttl time.Duration) {
	t.Helper()
	carts := securecache.For(cache, codec.JSON[cart]())
	if err := carts.Set(ctx, cartPrefix+buyer, cart{Buyer: buyer, Items: []string{"a book", "a pen"}}, ttl); err != nil {
		t.Fatal(err)
	}
}

// work listens until the test ends, or until what it returns is called.
func work(ctx context.Context, t *testing.T, w *worker, handle expiry.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.notifier.Listen(ctx, handle)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func (m *mail) count(to string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent[to]
}

func TestDay(t *testing.T) {
	t.Parallel()
	ctx, cache := open(t)
	var out bytes.Buffer
	m := newMail(&out)
	if err := day(ctx, cache, m, &out); err != nil {
		t.Fatal(err)
	}
	said := out.String()
	for _, want := range []string{"to ada@example.org: you have left a book behind\n", "to ben@", "1 dead letter to be tried again\nto dee@"} {
		if strings.Count(said, want) != 1 {
			t.Errorf("it does not say %q once:\n%s", want, said)
		}
	}
	if strings.Contains(said, "cy@") {
		t.Errorf("who has ordered was written to:\n%s", said)
	}
}

// TestOneMailAnEvent has workers die at the worst time: the mail is sent, and
// nobody has heard of it.
func TestOneMailAnEvent(t *testing.T) {
	t.Parallel()
	ctx, cache := open(t)
	m := newMail(io.Discard)
	first, err := newWorker(cache, m)
	if err != nil {
		t.Fatal(err)
	}
	put(ctx, t, cache, "ada", 100*time.Millisecond)
	sent, ids := make(chan struct{}), make(chan string, 10)
	stop := work(ctx, t, first, func(ctx context.Context, e expiry.Event) error {
		ids <- e.ID
		err := first.handle(ctx, e)
		close(sent)
		<-ctx.Done()
		return errors.Join(err, ctx.Err())
	})
	<-sent
	stop()
	second, err := newWorker(cache, m)
	if err != nil {
		t.Fatal(err)
	}
	work(ctx, t, second, func(ctx context.Context, e expiry.Event) error {
		ids <- e.ID
		return second.handle(ctx, e)
	})
	if err := second.await(ctx, func(d expiry.Depth) bool { return d == expiry.Depth{} }); err != nil {
		t.Fatal(err)
	}
	if a, b := <-ids, <-ids; a != b || a == "" {
		t.Errorf("the id was %q and then %q", a, b)
	}
	if n := m.count("ada"); n != 1 {
		t.Errorf("%d mails", n)
	}

	// Another end of the same cart is another event, and another mail.
	put(ctx, t, cache, "ada", 100*time.Millisecond)
	if err := second.await(ctx, func(d expiry.Depth) bool { return d == expiry.Depth{} }); err != nil {
		t.Fatal(err)
	}
	if n := m.count("ada"); n != 2 {
		t.Errorf("%d mails after two ends", n)
	}
}

func TestLettersAreTriedAgain(t *testing.T) {
	t.Parallel()
	ctx, cache := open(t)
	m := newMail(io.Discard)
	w, err := newWorker(cache, m)
	if err != nil {
		t.Fatal(err)
	}
	m.refuse("ada", true)
	m.refuse("ben", true)
	put(ctx, t, cache, "ada", 100*time.Millisecond)
	put(ctx, t, cache, "ben", 100*time.Millisecond)
	if err := cache.Set(ctx, "no cart", nil, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var tries atomic.Int64
	work(ctx, t, w, func(ctx context.Context, e expiry.Event) error {
		tries.Add(1)
		return w.handle(ctx, e)
	})
	if err := w.await(ctx, func(d expiry.Depth) bool { return d == expiry.Depth{Dead: 2} }); err != nil {
		t.Fatal(err)
	}
	if n := tries.Load(); n < 2*claims+1 { // at least once
		t.Errorf("%d tries", n)
	}
	m.refuse("ada", false)
	m.refuse("ben", false)
	if n, err := w.again(ctx); n != 2 || err != nil {
		t.Errorf("%d letters, %v", n, err)
	}
	if err := m.await(ctx, "ada", "ben"); err != nil {
		t.Fatal(err)
	}
	if err := w.await(ctx, func(d expiry.Depth) bool { return d == expiry.Depth{} }); err != nil {
		t.Fatal(err)
	}
}
