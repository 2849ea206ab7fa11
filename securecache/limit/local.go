package limit

import (
	"fmt"
	"sync"
	"time"
)

// local counts in this process, by the same arithmetic as the server: a bucket
// for each name, kept as the time at which it will be full.
type local struct {
	bucket
	now   func() time.Time
	epoch time.Time

	mu   sync.Mutex
	full table[int64] // µs from epoch
}

// newLocal returns the share of one of so many nodes.
func newLocal(r Rate, o Options) (*local, error) {
	if o.Algorithm != GCRA {
		r.Burst = r.Count
	}
	b, err := newBucket(r)
	if err != nil {
		return nil, err
	}
	nodes := int64(o.Nodes)
	if b.interval > maxSpan.Microseconds()/nodes {
		return nil, fmt.Errorf("%w: divided by the nodes, one in ten years", ErrRate)
	}
	b.interval *= nodes
	b.burst = min(max(b.burst/nodes, 1), maxSpan.Microseconds()/b.interval)
	b.most = b.interval * b.burst
	return &local{bucket: b, now: o.Now, epoch: o.Now()}, nil
}

// ahead is how far a name's bucket is from being full, in µs.
func (l *local) ahead(name string, now time.Time) int64 {
	full, known := l.full.of[name]
	if !known {
		return 0
	}
	return min(max(full-l.since(now), 0), l.most)
}

func (l *local) since(now time.Time) int64 { return now.Sub(l.epoch).Microseconds() }

func (l *local) take(name string, n int) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	ahead := l.ahead(name, now)
	if int64(n) > l.burst { // the share is too small, and no waiting will help
		return Result{Limit: int(l.burst), Remaining: l.result(ahead, 0).Remaining, ResetAfter: micros(ahead)}
	}
	res := l.result(ahead, n)
	if !res.Allowed {
		return res
	}
	if !l.full.room(name, now, func(full int64) bool { return full <= l.since(now) }) {
		return Result{Limit: int(l.burst), RetryAfter: time.Second}
	}
	ahead += int64(n) * l.interval
	l.full.of[name] = l.since(now) + ahead
	return l.result(ahead, 0)
}

func (l *local) look(name string) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result(l.ahead(name, l.now()), 1)
}

func (l *local) reset(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.full.of, name)
}

// maxNames is how many names are counted in this process at a time. Whoever makes
// names up while the server is away shall not fill the memory; names beyond
// that are refused.
const maxNames = 1 << 18

// table holds what is known of names, for as long as that says anything.
type table[V any] struct {
	of    map[string]V
	sweep int       // at so many, look for what is over
	again time.Time // not before then: looking at all of them takes a while
}

// room reports whether name has a place in the table, or can be given one.
func (t *table[V]) room(name string, now time.Time, over func(V) bool) bool {
	if t.of == nil {
		t.of, t.sweep = make(map[string]V), 1024
	}
	if _, known := t.of[name]; known || len(t.of) < t.sweep {
		return true
	}
	if now.Before(t.again) {
		return false
	}
	for name, v := range t.of {
		if over(v) {
			delete(t.of, name)
		}
	}
	t.sweep = min(max(2*len(t.of), 1024), maxNames)
	if len(t.of) < t.sweep {
		return true
	}
	t.again = now.Add(time.Second)
	return false
}
