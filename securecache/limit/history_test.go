package limit_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/faults"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestHistories has clients take from limits and hold leases while the server is
// killed, paused, emptied and cut off, and checks what they were told against
// what the package's doc allows. A history ends when its faults are over and
// enough has happened, however long that takes on a busy machine.
func TestHistories(t *testing.T) {
	t.Parallel()
	troubles := 6
	if servertest.Long() {
		troubles = 8
	}
	faults.EachSeed(t, 2, 20, func(t *testing.T, seed uint64) {
		t.Parallel()
		record(t, seed, troubles).check(t)
	})
}

const (
	clients    = 16
	enough     = 200 // takes that were allowed, and leases that were held
	leaseCount = 3
)

// rates of the algorithms, so low that most of what is asked for is refused.
var rates = map[limit.Algorithm]limit.Rate{
	limit.GCRA:          {Count: 20, Period: time.Second, Burst: 12},
	limit.FixedWindow:   {Count: 15, Period: 700 * time.Millisecond},
	limit.SlidingWindow: {Count: 15, Period: 700 * time.Millisecond},
}

// history is what the clients were told, in spans of the time since it began.
type history struct {
	began   time.Time
	flushed []faults.Span

	mu    sync.Mutex
	rich  chan struct{} // closed when enough has happened
	count int
	takes map[limit.Algorithm][]taking
	holds []holding
}

// answer is what a client knows of a take.
type answer int

const (
	taken answer = iota
	refused
	unknown // it may have been counted
)

// taking is one question for n.
type taking struct {
	n      int
	call   faults.Span
	answer answer
}

// holding is one question for a lease. One that was given was relied on from the
// end of its call to until, and was given back, or had ended, before gone; so may
// one whose answer was lost.
type holding struct {
	call        faults.Span
	answer      answer
	until, gone time.Duration
}

func (h *history) now() time.Duration { return time.Since(h.began) }

func (h *history) add(counts bool, do func(*history)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(h)
	if !counts {
		return
	}
	if h.count++; h.count == enough {
		close(h.rich)
	}
}

func record(t *testing.T, seed uint64, troubles int) *history {
	env := securecachetest.Start(t, securecachetest.WithPersistence())
	servertest.Real(t, env.Server)
	h := &history{began: time.Now(), rich: make(chan struct{}), takes: map[limit.Algorithm][]taking{}}
	storm := &faults.Storm{
		Server: env.Server, Admin: env.Admin.Options(), Rand: faults.Rand(seed, clients), Began: h.began,
		Kinds: []faults.Kind{faults.Kill, faults.Pause, faults.Cut, faults.FlushScripts, faults.FlushAll},
	}
	ok(t, storm.Open(4))
	t.Cleanup(storm.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range clients {
		p := newPlayer(t, h, env, storm.Addr(i), faults.Rand(seed, uint64(i)), i%2 == 1)
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
	t.Logf("%d taken or held in %v; %v", h.count, h.now().Round(time.Millisecond), storm.Counts)
	return h
}

// player is one client.
type player struct {
	h        *history
	rand     *rand.Rand
	limiters map[limit.Algorithm]*limit.Limiter
	leases   *limit.Leases
}

func newPlayer(t *testing.T, h *history, env *securecachetest.Env, addr string, random *rand.Rand, batch bool) *player {
	t.Helper()
	o := *env.Client.Options()
	o.Addr = addr
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { ok(t, rdb.Close()) })
	c := cacheOn(t, env, rdb, &securecache.Options{Batch: batch})
	p := &player{h: h, rand: random, limiters: map[limit.Algorithm]*limit.Limiter{}, leases: leases(t, c, leaseCount, leaseTTL, nil)}
	for a, r := range rates {
		p.limiters[a] = limiter(t, c, r, &limit.Options{Algorithm: a})
	}
	return p
}

const leaseTTL = 400 * time.Millisecond

func (p *player) run(ctx context.Context) {
	for ctx.Err() == nil {
		if p.rand.IntN(4) == 0 {
			p.hold(ctx)
		} else {
			p.take(limit.Algorithm(p.rand.IntN(len(rates))))
		}
		faults.Wait(ctx, faults.Between(p.rand, 0, 10*time.Millisecond))
	}
}

// asking bounds one answer: some outlast a pause.
func (p *player) asking() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), faults.Between(p.rand, 100*time.Millisecond, time.Second))
}

func (p *player) take(a limit.Algorithm) {
	ctx, cancel := p.asking()
	defer cancel()
	one := taking{n: 1 + p.rand.IntN(3), call: faults.Span{From: p.h.now()}}
	res, err := p.limiters[a].AllowN(ctx, "name", one.n)
	one.call.To, one.answer = p.h.now(), answerOf(res, err)
	p.h.add(one.answer == taken, func(h *history) { h.takes[a] = append(h.takes[a], one) })
}

func answerOf(res limit.Result, err error) answer {
	switch {
	case err != nil:
		return unknown
	case res.Allowed:
		return taken
	}
	return refused
}

func (p *player) hold(ctx context.Context) {
	asking, cancel := p.asking()
	defer cancel()
	one := holding{call: faults.Span{From: p.h.now()}}
	lease, res, err := p.leases.Acquire(asking, "name")
	one.call.To, one.answer = p.h.now(), answerOf(res, err)
	one.gone = p.ends() + late
	if lease != nil {
		one.until, one.gone = p.work(ctx, lease)
	}
	p.h.add(one.answer == taken, func(h *history) { h.holds = append(h.holds, one) })
}

// ends is when a lease is over that was given or renewed by now.
func (p *player) ends() time.Duration { return p.h.now() + leaseTTL + tick }

// work relies on a lease for a while, longer than its TTL at times, and gives
// most of them back.
func (p *player) work(ctx context.Context, lease *limit.Lease) (until, gone time.Duration) {
	gone = p.ends()
	for range p.rand.IntN(3) {
		faults.Wait(ctx, faults.Between(p.rand, 0, leaseTTL))
		asking, cancel := p.asking()
		err := lease.Renew(asking)
		cancel()
		if errors.Is(err, limit.ErrLost) {
			break
		}
		if gone = max(gone, p.ends()); err != nil {
			gone += late
		}
	}
	until = min(p.h.now(), lease.Until().Sub(p.h.began))
	if p.rand.IntN(8) == 0 { // dies with it
		return until, gone
	}
	asking, cancel := p.asking()
	defer cancel()
	if lease.Release(asking) == nil {
		gone = min(gone, p.h.now())
	}
	return until, gone
}
