package securecache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/faults"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestReplaceHistories has clients read values and replace them while the server
// is killed, paused and cut off, and looks for an order in which a register with
// compare-and-set would have answered as the server did.
func TestReplaceHistories(t *testing.T) {
	troubles := 6
	if servertest.Long() {
		troubles = 8
	}
	faults.EachSeed(t, 1, 20, func(t *testing.T, seed uint64) {
		t.Parallel()
		for name, steps := range recordReplacing(t, seed, troubles) {
			if result := linearizable(steps); result != porcupine.Ok {
				t.Errorf("%s: %s: %+v", name, result, steps)
			}
		}
	})
}

const (
	replacers    = 16
	enough       = 8 * replacers // replacements of a history
	registers    = 300           // each in use for a while, so that its own history is short
	registerLife = 200 * time.Millisecond
)

// replacing is a history under way.
type replacing struct {
	t     *testing.T
	began time.Time

	mu    sync.Mutex
	steps map[string][]step // by the register's name
	done  int
	rich  chan struct{} // closed when enough was replaced
}

func recordReplacing(t *testing.T, seed uint64, troubles int) map[string][]step {
	t.Helper()
	env := securecachetest.Start(t, securecachetest.WithPersistence())
	servertest.Real(t, env.Server)
	for i := range registers {
		set(t, env.Cache, registerName(i), first, time.Hour)
	}
	h := &replacing{t: t, began: time.Now(), steps: map[string][]step{}, rich: make(chan struct{})}
	storm := &faults.Storm{
		Server: env.Server, Admin: env.Admin.Options(), Rand: faults.Rand(seed, replacers), Began: h.began,
		Kinds: []faults.Kind{faults.Kill, faults.Pause, faults.Cut, faults.FlushScripts},
	}
	ok(t, storm.Open(4))
	t.Cleanup(storm.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range replacers {
		r := &replacer{replacing: h, id: i, rand: faults.Rand(seed, uint64(i)), cache: replacerCache(t, env, storm.Addr(i), i%2 == 1)}
		wg.Go(func() { r.run(ctx) })
	}
	err := storm.Bring(ctx, troubles)
	select {
	case <-h.rich:
	case <-ctx.Done():
	}
	cancel()
	wg.Wait()
	ok(t, err)
	if h.done < enough {
		t.Errorf("%d values were replaced: too few to say anything", h.done)
	}
	t.Logf("%d replaced in %v; %v", h.done, time.Since(h.began).Round(time.Millisecond), storm.Counts)
	return h.steps
}

func registerName(i int) string { return fmt.Sprint("register ", i) }

// replacerCache returns a cache of a client of its own that goes by way of addr.
func replacerCache(t *testing.T, env *securecachetest.Env, addr string, batch bool) *securecache.Cache {
	t.Helper()
	o := *env.Client.Options()
	o.Addr = addr
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { ok(t, rdb.Close()) })
	c, err := securecache.New(rdb, env.Keyring, &securecache.Options{Batch: batch})
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	return c
}

func (h *replacing) add(name string, s step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps[name] = append(h.steps[name], s)
	if s.replaces && s.outcome == done {
		if h.done++; h.done == enough {
			close(h.rich)
		}
	}
}

// replacer is one client.
type replacer struct {
	*replacing
	id     int
	rand   *rand.Rand
	cache  *securecache.Cache
	writes int
	past   *found
}

// found is what a client has read, now or some time ago.
type found struct {
	name, value string
	etag        codec.ETag
}

func (r *replacer) run(ctx context.Context) {
	for faults.Wait(ctx, faults.Between(r.rand, 0, 10*time.Millisecond)) {
		f := r.read()
		if f == nil {
			continue
		}
		if r.past != nil && r.rand.IntN(4) == 0 {
			f, r.past = r.past, f
		}
		if r.rand.IntN(4) > 0 {
			r.replace(f)
		}
		if r.past == nil || r.rand.IntN(4) == 0 {
			r.past = f
		}
	}
}

// patience is how long a client waits for an answer: some outlast a pause.
func (r *replacer) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), faults.Between(r.rand, 100*time.Millisecond, time.Second))
}

func (r *replacer) now() time.Duration { return time.Since(r.began) }

func (r *replacer) read() *found {
	f := &found{name: registerName(min(int(r.now()/registerLife), registers-1))}
	ctx, cancel := r.patience()
	defer cancel()
	s := step{client: r.id, call: faults.Span{From: r.now()}}
	item, err := r.cache.Item(ctx, f.name)
	s.call.To = r.now()
	if err != nil {
		r.judge(err)
		return nil
	}
	f.value, f.etag = string(item.Value), item.ETag
	s.value = f.value
	r.add(f.name, s)
	return f
}

func (r *replacer) replace(f *found) {
	r.writes++
	s := step{client: r.id, replaces: true, old: f.value, value: fmt.Sprint(r.id, "/", r.writes), call: faults.Span{From: r.now()}}
	ctx, cancel := r.patience()
	defer cancel()
	err := r.cache.Replace(ctx, f.name, f.etag, []byte(s.value), time.Hour)
	s.call.To = r.now()
	switch {
	case err == nil:
		s.outcome = done
	case errors.Is(err, securecache.ErrConflict):
		s.outcome = conflict
	case errors.Is(err, securecache.ErrOutcomeUnknown):
		s.outcome = unknown
	default: // it says that nothing was done
		r.judge(err)
		return
	}
	r.add(f.name, s)
}

// judge finds answers that no fault explains.
func (r *replacer) judge(err error) {
	if _, refused := errors.AsType[*securecache.RefusedError](err); refused || errors.Is(err, securecache.ErrMiss) {
		r.t.Errorf("a wrong answer: %v", err)
	}
}
