package securecache_test

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// clock is a wall clock that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func contains(err error, secret string) bool {
	return strings.Contains(fmt.Sprintf("%v %+v %#v %q", err, err, err, err), secret)
}
