package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

const (
	cartCount   = 64
	cartLife    = 2 * time.Hour
	cartWriters = 6
	cartReaders = 9
	cartWorkers = cartWriters + cartReaders
	backOff     = 10 * time.Millisecond
)

func cartName(i int) string { return fmt.Sprintf("cart/visitor-%04d", 4100+i) }

func cartValue(i, version int) []byte {
	return fmt.Appendf(nil, `{"visitor":%d,"cartRevision":%d,"articles":["hearing aid batteries","night light"],"voucher":"WELCOME-%06d"}`, 4100+i, version, 730000+i)
}

// demoTraffic is what the instances did during the rotation.
type demoTraffic struct {
	Reads  int64 `json:"reads"`
	Writes int64 `json:"writes"`
	Failed int64 `json:"failed"`
}

// traffic is reading and writing under way.
type traffic struct {
	reads, writes, failed atomic.Int64
	first                 atomic.Pointer[error] // of what failed
	workers               sync.WaitGroup
	stop                  context.CancelFunc
}

// startTraffic has the instances read and write carts until end is called.
func startTraffic(ctx context.Context, instances []*instance) *traffic {
	t := new(traffic)
	ctx, t.stop = context.WithCancel(ctx)
	for i := range cartWorkers {
		t.workers.Go(func() { t.work(ctx, instances[i%len(instances)].cache, i) })
	}
	return t
}

func (t *traffic) end() {
	t.stop()
	t.workers.Wait()
}

// work goes through all carts again and again, in an order of its own.
func (t *traffic) work(ctx context.Context, c *securecache.Cache, worker int) {
	for n := 0; ctx.Err() == nil; n++ {
		i := n * (2*worker + 1) % cartCount // an odd step misses none of a power of two
		done := &t.reads
		var err error
		if worker < cartWriters {
			done = &t.writes
			err = c.Set(ctx, cartName(i), cartValue(i, n), cartLife)
		} else {
			_, err = c.Get(ctx, cartName(i))
		}
		if ctx.Err() == nil {
			t.count(done, err)
		}
		if err != nil { // whoever fails at once must not take the machine from the others
			_ = until(ctx, time.Now().Add(backOff))
		}
	}
}

func (t *traffic) count(done *atomic.Int64, err error) {
	if err == nil {
		done.Add(1)
		return
	}
	t.failed.Add(1)
	t.first.CompareAndSwap(nil, &err)
}

func (t *traffic) counts() demoTraffic {
	return demoTraffic{t.reads.Load(), t.writes.Load(), t.failed.Load()}
}

// rotation is the change from one key to the next while traffic goes on.
type rotation struct {
	stage     *stage
	traffic   *traffic
	began     time.Time // by the clock that is right
	activates time.Time
	old, new  keys.ID
	known     int // instances that knew the new key before any used it
	early     int // carts that were under it then
	late      int // carts that were not in the end
	row       func(cells ...string)
}

// follow prints how the carts move over to the new key, and returns once all
// have.
func (r *rotation) follow(ctx context.Context) error {
	if _, err := r.look(ctx, "announced"); err != nil {
		return err
	}
	clock := r.stage.clock
	if err := clock.until(ctx, r.activates.Add(-skew-skew/4)); err != nil {
		return err
	}
	var err error
	if r.known, err = r.knowing(ctx); err != nil {
		return err
	}
	if r.early, err = r.look(ctx, "known to all, not used"); err != nil {
		return err
	}
	for _, step := range []struct {
		off   time.Duration
		event string
	}{{-skew / 2, "seals where clocks lead"}, {skew / 2, "seals where they are right"}} {
		if err := clock.until(ctx, r.activates.Add(step.off)); err != nil {
			return err
		}
		if _, err := r.look(ctx, step.event); err != nil {
			return err
		}
	}
	if err := clock.until(ctx, r.activates.Add(skew+skew/4)); err != nil {
		return err
	}
	clock.run()
	if err := r.awaitAll(ctx); err != nil {
		return err
	}
	moved, err := r.look(ctx, "seals everywhere")
	r.late = cartCount - moved
	return err
}

// look prints a row and returns how many carts are under the new key.
func (r *rotation) look(ctx context.Context, event string) (moved int, err error) {
	sealed, err := r.stage.carts(ctx)
	if err != nil {
		return 0, err
	}
	at := r.stage.clock.now().Sub(r.began)
	c := r.traffic.counts()
	r.row(fmt.Sprintf("%d:%02d", int(at.Minutes()), int(at.Seconds())%60), number(c.Reads), number(c.Writes), number(c.Failed),
		strconv.Itoa(sealed[r.old]), strconv.Itoa(sealed[r.new]), event)
	return sealed[r.new], nil
}

// number is n with a comma between thousands.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// knowing counts the instances whose keyring has the new key, once all have it
// that have any.
func (r *rotation) knowing(ctx context.Context) (known int, err error) {
	err = patiently(ctx, func() (bool, error) {
		known = 0
		without := 0
		for _, in := range r.stage.instances {
			switch ring, err := in.keyring.Ring(); {
			case err != nil: // and never will have
			case ring.Key(r.new) != nil:
				known++
			default:
				without++
			}
		}
		return without == 0, nil
	})
	return known, err
}

// awaitAll waits until every cart has been written under the new key.
func (r *rotation) awaitAll(ctx context.Context) error {
	return patiently(ctx, func() (bool, error) {
		sealed, err := r.stage.carts(ctx)
		return sealed[r.new] == cartCount, err
	})
}

// patiently asks again and again whether something is done, for ten seconds at most.
func patiently(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	bound := time.NewTimer(10 * time.Second)
	defer bound.Stop()
	for {
		if is, err := done(); is || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-bound.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// carts counts the carts that the server holds by the key that sealed them.
func (st *stage) carts(ctx context.Context) (map[keys.ID]int, error) {
	names := make([]string, cartCount)
	for i := range names {
		key, err := st.instances[0].cache.Key(codec.KindValue, cartName(i))
		if err != nil {
			return nil, err
		}
		names[i] = key.String()
	}
	records, err := st.admin.MGet(ctx, names...).Result()
	if err != nil {
		return nil, err
	}
	sealed := map[keys.ID]int{}
	for _, r := range records {
		text, _ := r.(string)
		header, err := codec.ParseHeader([]byte(text))
		if err != nil {
			return nil, err
		}
		sealed[header.KeyID]++
	}
	return sealed, nil
}
