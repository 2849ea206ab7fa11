package expiry_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) != "" {
		os.Exit(child())
	}
	servertest.Main(m)
}

const shards = 4

// start returns a server with a namespace that keeps a schedule.
func start(t testing.TB, opts ...securecachetest.Option) *securecachetest.Env {
	t.Helper()
	return securecachetest.Start(t, append([]securecachetest.Option{securecachetest.WithLayout(keys.Layout{Shards: shards})}, opts...)...)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func set(t testing.TB, c *securecache.Cache, name string, ttl time.Duration, opts ...securecache.SetOption) {
	t.Helper()
	ok(t, c.Set(t.Context(), name, []byte("value of "+name), ttl, opts...))
}

// heard collects events.
type heard struct {
	mu     sync.Mutex
	events []expiry.Event
	at     []time.Time
	come   chan struct{} // signalled for each, as far as somebody waits
}

func newHeard() *heard { return &heard{come: make(chan struct{}, 1)} }

func (h *heard) handle(_ context.Context, e expiry.Event) error {
	h.mu.Lock()
	h.events, h.at = append(h.events, e), append(h.at, time.Now())
	h.mu.Unlock()
	select {
	case h.come <- struct{}{}:
	default:
	}
	return nil
}

func (h *heard) all() []expiry.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]expiry.Event(nil), h.events...)
}

// await returns once done says so of what has been heard.
func (h *heard) await(t testing.TB, what string, done func([]expiry.Event) bool) []expiry.Event {
	t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		if all := h.all(); done(all) {
			return all
		}
		select {
		case <-h.come:
		case <-timeout.C:
			t.Fatalf("%s: %d events after a minute", what, len(h.all()))
		}
	}
}

func (h *heard) awaitCount(t testing.TB, n int) []expiry.Event {
	t.Helper()
	return h.await(t, fmt.Sprintf("%d events", n), func(all []expiry.Event) bool { return len(all) >= n })
}

// listen listens until the test ends, or until the function it returns is called.
func listen(t testing.TB, c *securecache.Cache, handle expiry.Handler, o *expiry.Options) (*expiry.Notifier, func()) {
	t.Helper()
	n, err := expiry.New(c, o)
	ok(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Listen(ctx, handle) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Listen returned %v", err)
		}
	})
	t.Cleanup(stop)
	return n, stop
}

func depth(t testing.TB, n *expiry.Notifier) expiry.Depth {
	t.Helper()
	d, err := n.Depth(t.Context())
	ok(t, err)
	return d
}
