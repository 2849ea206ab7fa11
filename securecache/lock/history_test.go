package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/faults"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestHistories has clients take locks and write under them while the server is
// killed, paused, emptied and cut off, and checks what they saw against the
// model of model_test.go. A history ends when its faults are over and enough has
// happened, however long that takes on a busy machine.
func TestHistories(t *testing.T) {
	t.Parallel()
	troubles := 6
	if servertest.Long() {
		troubles = 8
	}
	faults.EachSeed(t, 1, 20, func(t *testing.T, seed uint64) {
		t.Parallel()
		record(t, seed, troubles).check(t)
	})
}

const (
	clients   = 16
	lockNames = 3
	enough    = 4 * clients            // locks held
	valueLife = 500 * time.Millisecond // a value's part in the history
)

// history is what the clients saw, in spans of the time since it began.
type history struct {
	began   time.Time
	flushed []faults.Span

	mu     sync.Mutex
	rich   chan struct{} // closed when enough locks were held
	holds  []hold
	writes []write
	reads  []read
}

// hold is one lock that somebody had: asked for and obtained in the span call,
// relied on from its end to until.
type hold struct {
	client int
	name   string
	fence  int64
	call   faults.Span
	until  time.Duration
}

// result is what a client knows of a write.
type result int

const (
	written result = iota
	fenced
	unknown
)

// write is one guarded set.
type write struct {
	client        int
	name, value   string
	fence, number int64
	call          faults.Span
	result        result
}

// read is one look at a value, "" where there is none.
type read struct {
	client      int
	name, value string
	call        faults.Span
}

func (h *history) now() time.Duration { return time.Since(h.began) }

func record(t *testing.T, seed uint64, troubles int) *history {
	env := securecachetest.Start(t, securecachetest.WithPersistence())
	servertest.Real(t, env.Server)
	h := &history{began: time.Now(), rich: make(chan struct{})}
	storm := &faults.Storm{
		Server: env.Server, Admin: env.Admin.Options(), Rand: faults.Rand(seed, clients), Began: h.began,
		Kinds: []faults.Kind{faults.Kill, faults.Pause, faults.Cut, faults.FlushScripts, faults.FlushAll, faults.Unsubscribe},
	}
	ok(t, storm.Open(4))
	t.Cleanup(storm.Close)
	var players []*player
	for i := range clients {
		c := through(t, env, storm.Addr(i))
		l := locker(t, c, &lock.Options{Fixed: i%2 == 1})
		players = append(players, &player{h: h, id: i, cache: c, locker: l, rand: faults.Rand(seed, uint64(i))})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range players {
		wg.Go(func() { p.run(ctx) })
	}
	err := storm.Bring(ctx, troubles)
	select {
	case <-h.rich:
	case <-ctx.Done():
	}
	cancel()
	wg.Wait()
	ok(t, err)
	h.flushed = storm.Flushed
	t.Logf("%d locks held, %d writes, %d reads in %v; %v", len(h.holds), len(h.writes), len(h.reads), h.now().Round(time.Millisecond), storm.Counts)
	return h
}

// through returns a cache of a client of its own that goes by way of addr.
func through(t *testing.T, env *securecachetest.Env, addr string) *securecache.Cache {
	t.Helper()
	o := *env.Client.Options()
	o.Addr = addr
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { ok(t, rdb.Close()) })
	c, err := securecache.New(rdb, env.Keyring, nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	return c
}

// player is one client.
type player struct {
	h      *history
	id     int
	cache  *securecache.Cache
	locker *lock.Locker
	rand   *rand.Rand
	past   *stale
	writes int
}

// stale is what a holder remembers of a lock that is no longer his.
type stale struct{ fence, number int64 }

func (p *player) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.lock(ctx)
		if p.rand.IntN(3) == 0 {
			p.readOne()
		}
		if p.past != nil && p.rand.IntN(2) == 0 {
			p.writeLate()
		}
	}
}

// deadline is how long a client waits for one answer: some outlast a pause.
func (p *player) deadline() time.Duration {
	return faults.Between(p.rand, 100*time.Millisecond, time.Second)
}

func (p *player) lock(ctx context.Context) {
	name := fmt.Sprint("lock ", p.rand.IntN(lockNames))
	ttl := faults.Between(p.rand, 300*time.Millisecond, 900*time.Millisecond)
	asking, cancel := context.WithTimeout(ctx, p.deadline())
	defer cancel()
	ask := p.locker.Obtain
	if p.rand.IntN(4) == 0 {
		ask = p.locker.Try
	}
	from := p.h.now()
	held, err := ask(asking, name, ttl)
	if err != nil {
		faults.Wait(ctx, faults.Between(p.rand, time.Millisecond, 20*time.Millisecond))
		return
	}
	call := faults.Span{From: from, To: p.h.now()}
	number := p.work(ctx, held)
	// What a holder may rely on ends with his lock, or where he gives it up.
	until := min(p.h.now(), held.Until().Sub(p.h.began))
	p.h.add(func(h *history) {
		h.holds = append(h.holds, hold{p.id, name, held.Fence(), call, until})
		if len(h.holds) == enough {
			close(h.rich)
		}
	})
	p.past = &stale{held.Fence(), number}
	p.giveBack(held)
}

// work writes under the lock and holds it for a while, and returns how many
// writes it has numbered.
func (p *player) work(ctx context.Context, held *lock.Lock) (numbered int64) {
	for range p.rand.IntN(3) {
		answer, cancel := context.WithTimeout(ctx, p.deadline())
		w := p.newWrite(held.Fence(), numbered+1)
		err := held.GuardedSet(answer, w.name, []byte(w.value), time.Minute)
		cancel()
		if errors.Is(err, lock.ErrLost) { // before it was numbered
			break
		}
		numbered++
		p.note(w, err)
	}
	hold := faults.Between(p.rand, 0, 30*time.Millisecond)
	if p.rand.IntN(16) == 0 {
		hold = time.Second // and more: beyond a fixed lock's end
	}
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(held.Context(), cancel)()
	faults.Wait(both, hold)
	return numbered
}

// giveBack releases the lock, unless the holder is to die with it.
func (p *player) giveBack(held *lock.Lock) {
	answer, cancel := context.WithTimeout(context.Background(), p.deadline())
	defer cancel()
	if p.rand.IntN(8) == 0 {
		cancel() // nothing is sent: the lock stays until its TTL is up
	}
	_ = held.Release(answer)
}

func (p *player) newWrite(fence, number int64) write {
	p.writes++
	return write{
		client: p.id, name: p.valueName(), value: fmt.Sprint(p.id, "/", p.writes),
		fence: fence, number: number, call: faults.Span{From: p.h.now()},
	}
}

// valueName changes with time, so that each value has a short history.
func (p *player) valueName() string {
	return fmt.Sprintf("value %d of %d", p.rand.IntN(2), p.h.now()/valueLife)
}

// note records a write and what became of it; one that was not sent is none.
func (p *player) note(w write, err error) {
	w.call.To = p.h.now()
	switch {
	case err == nil:
		w.result = written
	case errors.Is(err, lock.ErrFenced):
		w.result = fenced
	case errors.Is(err, lock.ErrOutcomeUnknown):
		w.result = unknown
	default:
		return
	}
	p.h.add(func(h *history) { h.writes = append(h.writes, w) })
}

// writeLate writes under a lock that has gone, as a process does that was
// stopped between its last look at the lock and its write.
func (p *player) writeLate() {
	p.past.number++
	w := p.newWrite(p.past.fence, p.past.number)
	answer, cancel := context.WithTimeout(context.Background(), p.deadline())
	defer cancel()
	key, err := p.cache.Key(codec.KindValue, w.name)
	if err != nil {
		return
	}
	record, err := p.cache.Seal(key, time.Now().Add(time.Minute), []byte(w.value))
	if err != nil {
		return
	}
	reply, err := p.cache.Run(answer, lua.GuardedSet, []securecache.Key{key, key.Part("fence")}, w.fence, w.number, record, 60_000)
	if err == nil && reply.Value == int64(0) {
		err = lock.ErrFenced
		if reply.Resent {
			err = lock.ErrOutcomeUnknown
		}
	}
	p.note(w, err)
}

func (p *player) readOne() {
	r := read{client: p.id, name: p.valueName(), call: faults.Span{From: p.h.now()}}
	answer, cancel := context.WithTimeout(context.Background(), p.deadline())
	defer cancel()
	value, err := p.cache.Get(answer, r.name)
	if err != nil && !errors.Is(err, securecache.ErrMiss) {
		return
	}
	r.value, r.call.To = string(value), p.h.now()
	p.h.add(func(h *history) { h.reads = append(h.reads, r) })
}

func (h *history) add(do func(*history)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(h)
}
