package session

import (
	"hash/maphash"
	"sync"
	"time"
)

// touched remembers which sessions this process has renewed of late, so that a
// read is a plain GET most of the time. It forgets after two intervals, and
// sooner where there are very many: then a session is renewed once too often.
type touched struct {
	interval time.Duration
	seed     maphash.Seed
	parts    [16]touchedPart
}

type touchedPart struct {
	mu       sync.Mutex
	began    int64
	now, was map[uint64]int64 // Unix nanoseconds, and nothing that the garbage collector follows
}

// touchedMost bounds one part's maps, two of some 20 bytes an entry.
const touchedMost = 1 << 16

func newTouched(interval time.Duration) *touched {
	return &touched{interval: interval, seed: maphash.MakeSeed()}
}

// due reports whether the session under key was not renewed for an interval,
// and takes it for renewed from now on.
func (t *touched) due(key string, now time.Time) bool {
	at, interval := now.UnixNano(), int64(t.interval)
	h := maphash.String(t.seed, key)
	p := &t.parts[h%uint64(len(t.parts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range [...]map[uint64]int64{p.now, p.was} {
		// A clock that was set back must not keep sessions from being renewed.
		if last, there := m[h]; there && at-last < interval && at >= last {
			return false
		}
	}
	if p.now == nil || at-p.began >= interval || at < p.began || len(p.now) >= touchedMost {
		p.was, p.now, p.began = p.now, make(map[uint64]int64), at
	}
	p.now[h] = at
	return true
}
