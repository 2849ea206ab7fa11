package servertest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Real skips a test that the embedded server cannot show, and says what it lacks.
func Real(t testing.TB, s interface {
	Name() string
	Lacks() []string
},
) {
	t.Helper()
	if lacks := s.Lacks(); lacks != nil {
		t.Skipf("%s is no server that this can be shown on: %s", s.Name(), lacks[0])
	}
}

// Long reports whether the long runs are wanted.
func Long() bool { return os.Getenv("SECURECACHE_LONG") != "" }

// Until polls a condition of the server's, or of another process, until ctx ends.
func Until(ctx context.Context, what string, done func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Eventually is Until for a minute, within the test's own goroutine.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Until(ctx, what, done); err != nil {
		t.Fatal(err)
	}
}

// Late notes, on a timer of its own, when this process gets to run at a moment
// that something else is bounded by. What it returns says how long after that
// note, and never before the moment, the present is: the time that the machine
// kept both of them waiting is not counted. It is to be called when that
// something is over.
func Late(at time.Time) func() time.Duration {
	var noted atomic.Pointer[time.Time]
	timer := time.AfterFunc(time.Until(at), func() {
		now := time.Now()
		noted.Store(&now)
	})
	return func() time.Duration {
		now := time.Now()
		timer.Stop()
		switch n := noted.Load(); {
		case n != nil:
			return now.Sub(*n)
		default:
			return min(0, now.Sub(at))
		}
	}
}

// Clock is a wall clock that tests move. It is safe for concurrent use.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a clock that stands at a time.
func NewClock(at time.Time) *Clock { return &Clock{at: at} }

// Now returns where the clock stands.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock, back where d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
