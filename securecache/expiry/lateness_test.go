package expiry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecachetest"
)

// traffic is a load of values that end.
type traffic struct {
	volatile  int // keys with a TTL that are there all the time
	scheduled int // values with a TTL that are there all the time
	rate      int // values that expire in a second
	lasts     time.Duration
	ttl       time.Duration // of each, and up to twice that
}

// lateness is what came of it.
type lateness struct {
	sent, heard, twice int
	late               []time.Duration // sorted
}

func (l lateness) percentile(p float64) time.Duration {
	if len(l.late) == 0 {
		return 0
	}
	return l.late[min(len(l.late)-1, int(p/100*float64(len(l.late))))]
}

func (l lateness) String() string {
	return fmt.Sprintf("%d of %d heard, %d twice; late by p50 %v, p99 %v, p99.9 %v, at most %v", l.heard, l.sent, l.twice,
		l.percentile(50).Round(100*time.Microsecond), l.percentile(99).Round(100*time.Microsecond),
		l.percentile(99.9).Round(100*time.Microsecond), l.percentile(100).Round(100*time.Microsecond))
}

// measure lets values expire at a steady rate, and compares when each was heard of with when it ended.
func measure(t testing.TB, w traffic) lateness {
	t.Helper()
	env := start(t, securecachetest.WithConfig("maxclients 1000"))
	servertest.Real(t, env.Server)
	fill(t, env, w)
	r := recorder{ends: make(map[string]time.Time), heard: make(map[string]time.Time), twice: make(map[string]int)}
	_, stop := listen(t, env.Cache, r.handle, &expiry.Options{Concurrency: 4, Batch: 256})
	r.send(t, env.Cache, w)
	servertest.Eventually(t, "all were heard", r.complete)
	stop()
	return r.result()
}

// fill puts keys on the server that are not going to expire meanwhile.
func fill(t testing.TB, env *securecachetest.Env, w traffic) {
	t.Helper()
	const portion = 10_000
	for from := 0; from < w.volatile; from += portion {
		pipe := env.Admin.Pipeline()
		for i := from; i < min(from+portion, w.volatile); i++ {
			pipe.Set(t.Context(), "filler:"+strconv.Itoa(i), "x", time.Hour+time.Duration(i)*time.Millisecond)
		}
		_, err := pipe.Exec(t.Context())
		ok(t, err)
	}
	for from := 0; from < w.scheduled; from += portion {
		entries := make([]securecache.Entry, min(portion, w.scheduled-from))
		for i := range entries {
			entries[i].Name = "filler/" + strconv.Itoa(from+i)
		}
		ok(t, errors.Join(env.Cache.SetMany(t.Context(), entries, time.Hour)...))
	}
}

// recorder notes when values end and when that is heard of, by their keys.
type recorder struct {
	mu    sync.Mutex
	ends  map[string]time.Time
	heard map[string]time.Time
	twice map[string]int
}

func (r *recorder) handle(_ context.Context, e expiry.Event) error {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	key := e.Key.String()
	if _, again := r.heard[key]; again {
		r.twice[key]++
		return nil
	}
	r.heard[key] = now
	return nil
}

// send stores values in portions, a hundred times a second.
func (r *recorder) send(t testing.TB, c *securecache.Cache, w traffic) {
	t.Helper()
	const portions = 100
	tick := time.NewTicker(time.Second / portions)
	defer tick.Stop()
	entries := make([]securecache.Entry, w.rate/portions)
	for n := range int(w.lasts.Seconds() * portions) {
		<-tick.C
		for i := range entries {
			entries[i] = securecache.Entry{Name: fmt.Sprintf("%d/%d", n, i), Value: []byte("a value that expires")}
		}
		ttl := w.ttl + time.Duration(n%portions)*w.ttl/portions
		before := time.Now()
		ok(t, errors.Join(c.SetMany(t.Context(), entries, ttl)...))
		r.mu.Lock()
		for _, e := range entries {
			key, err := c.Key(codec.KindValue, e.Name)
			ok(t, err)
			r.ends[key.String()] = before.Add(ttl)
		}
		r.mu.Unlock()
	}
}

func (r *recorder) complete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.ends {
		if _, heard := r.heard[key]; !heard {
			return false
		}
	}
	return true
}

func (r *recorder) result() lateness {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := lateness{sent: len(r.ends), twice: len(r.twice)}
	for key, end := range r.ends {
		if at, heard := r.heard[key]; heard {
			l.heard++
			l.late = append(l.late, at.Sub(end))
		}
	}
	slices.Sort(l.late)
	return l
}

// TestLateness is not parallel: it shows that nothing is lost, nor as late as
// what a sleeper finds whom nobody has woken. How late things are at all is
// measured in bench/.
func TestLateness(t *testing.T) {
	const limit = recheck / 3
	w := traffic{volatile: 50_000, scheduled: 5_000, rate: 2000, lasts: time.Second, ttl: 500 * time.Millisecond}
	if servertest.Long() {
		w = traffic{volatile: 180_000, scheduled: 20_000, rate: 2000, lasts: 10 * time.Second, ttl: 2 * time.Second}
	}
	l := measure(t, w)
	t.Log(l)
	if l.heard != l.sent || l.sent != w.rate*int(w.lasts.Seconds()) {
		t.Errorf("%d of %d were heard", l.heard, l.sent)
	}
	if late := l.percentile(99); late > limit {
		t.Errorf("p99 is %v", late)
	}
}

// recheck is how long a sleeper sleeps whom nobody wakes.
const recheck = 30 * time.Second

// TestIdle has a process of its own do nothing but listen, beside keys that end
// in an hour, and looks at its CPU time.
func TestIdle(t *testing.T) {
	t.Parallel()
	e := startEstate(t)
	servertest.Real(t, e.Server)
	setMany(t, e.cache, 0, 5000, time.Hour)
	idle, limit := 3*time.Second, 0.05 // with the start
	if servertest.Long() {
		idle, limit = 45*time.Second, 0.01 // with every re-check of every shard
	}
	lines, stop, wait := e.spawn(t, assignment{Idle: idle})
	defer stop()
	if !lines.Scan() {
		t.Fatal(wait())
	}
	took, err := strconv.ParseInt(lines.Text(), 10, 64)
	ok(t, errors.Join(err, wait()))
	share := float64(took) / float64(idle)
	t.Logf("%.2f %% of a core, the start included", 100*share)
	if share > limit {
		t.Errorf("%v in %v", time.Duration(took), idle)
	}
}
