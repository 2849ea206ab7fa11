package expiry_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
)

const seedEnv = "SECURECACHE_SEED"

// deadline is what a write has set: the end lies between two times of the test's
// clock, since that is what a write takes.
type deadline struct {
	name          string
	least, most   time.Time
	withdrawn     bool // by a write that came well before it
	mayBe         bool // by a write that came about when it passed
	announcements int
}

// margin covers the milliseconds that are cut off: both clocks are this
// machine's.
const margin = 5 * time.Millisecond

// history is what one writer did to one name, one operation after another.
type history struct {
	name string
	all  []*deadline
	now  *deadline // the one that is ahead, or was
}

// overtaken says that a write between two times makes the deadline obsolete, if
// it came before it.
func (h *history) overtaken(began, ended time.Time) {
	switch d := h.now; {
	case d == nil:
	case ended.Before(d.least.Add(-margin)):
		d.withdrawn = true
	case began.After(d.most.Add(margin)): // too late: it is owed
	default:
		d.mayBe = true
	}
	h.now = nil
}

func (h *history) schedule(began, ended time.Time, ttl time.Duration) {
	// Milliseconds are cut off.
	h.now = &deadline{name: h.name, least: began.Add(ttl - 2*time.Millisecond), most: ended.Add(ttl)}
	h.all = append(h.all, h.now)
}

// step does something and notes what it has to lead to.
func (h *history) step(t *testing.T, c *securecache.Cache, r *rand.Rand) {
	t.Helper()
	ctx := t.Context()
	ttl := time.Duration(50+r.IntN(600)) * time.Millisecond
	began := time.Now()
	switch r.IntN(6) {
	case 0:
		_, err := c.Delete(ctx, h.name)
		ok(t, err)
		h.overtaken(began, time.Now())
	case 1, 2:
		got, err := c.Touch(ctx, h.name, ttl, securecache.Shorten())
		ended := time.Now()
		if errors.Is(err, securecache.ErrMiss) {
			return // it was gone, whose deadline is owed
		}
		ok(t, err)
		if got != ttl {
			t.Errorf("touched for %s, not %s", got, ttl)
		}
		h.overtaken(began, ended)
		h.schedule(began, ended, ttl)
	case 3:
		item, err := c.Item(ctx, h.name)
		if errors.Is(err, securecache.ErrMiss) {
			return
		}
		ok(t, err)
		began = time.Now()
		err = c.Replace(ctx, h.name, item.ETag, []byte("replaced"), ttl, securecache.MaxLife(time.Hour))
		if errors.Is(err, securecache.ErrMiss) {
			return
		}
		ok(t, err)
		ended := time.Now()
		h.overtaken(began, ended)
		h.schedule(began, ended, ttl)
	default:
		ok(t, c.Set(ctx, h.name, []byte("set"), ttl, securecache.MaxLife(time.Hour)))
		ended := time.Now()
		h.overtaken(began, ended)
		h.schedule(began, ended, ttl)
	}
}

// TestHistories compares what random writers should have announced with what
// was: every deadline that passed, at least once and as one event; none that was
// withdrawn.
func TestHistories(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		ok(t, err)
	}
	t.Logf("%s=%d replays the operations", seedEnv, seed)
	env := start(t)
	writers, steps := 24, 20
	if servertest.Long() {
		steps = 200
	}
	heardOf := newHeard()
	n, stop := listen(t, env.Cache, heardOf.handle, &expiry.Options{Visibility: 10 * time.Second})
	histories := make([]*history, writers)
	var wg sync.WaitGroup
	for i := range histories {
		h := &history{name: "name " + strconv.Itoa(i)}
		histories[i] = h
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			pause := time.NewTimer(0)
			defer pause.Stop()
			for range steps {
				<-pause.C
				h.step(t, env.Cache, r)
				pause.Reset(time.Duration(r.IntN(300)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	servertest.Eventually(t, "nothing is ahead", func() bool { return depth(t, n) == expiry.Depth{} })
	stop()

	ids := map[string]string{}
	announced := 0
	for _, e := range heardOf.all() {
		at := e.Name + e.Deadline.String()
		if id, again := ids[at]; again && id != e.ID {
			t.Errorf("one deadline, two events: %s and %s", id, e.ID)
		}
		ids[at] = e.ID
		var fits []*deadline
		for _, h := range histories {
			for _, d := range h.all {
				if d.name == e.Name && !e.Deadline.Before(d.least) && !e.Deadline.After(d.most) {
					fits = append(fits, d)
				}
			}
		}
		// Two deadlines may be as good as the same, and one of them withdrawn.
		if slices.ContainsFunc(fits, func(d *deadline) bool { return !d.withdrawn }) {
			fits = slices.DeleteFunc(fits, func(d *deadline) bool { return d.withdrawn })
		}
		for _, d := range fits {
			d.announcements++
		}
		if len(fits) == 0 {
			t.Errorf("%s at %s was never scheduled", e.Name, e.Deadline)
		}
		announced++
	}
	all, withdrawn, unclear := 0, 0, 0
	for _, h := range histories {
		for _, d := range h.all {
			all++
			switch {
			case d.mayBe:
				unclear++
			case d.withdrawn:
				withdrawn++
				if d.announcements > 0 {
					t.Errorf("%s: a deadline that was withdrawn was announced", d.name)
				}
			case d.announcements == 0:
				t.Errorf("%s: the deadline of %s was never announced", d.name, d.least)
			}
		}
	}
	t.Logf("%d deadlines, %d withdrawn, %d withdrawn or not, %d events", all, withdrawn, unclear, announced)
	if withdrawn == 0 || announced == 0 {
		t.Error("a history without events, or without withdrawals")
	}
}
