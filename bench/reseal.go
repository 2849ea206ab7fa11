package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

const (
	resealSize = 200 // bytes of a value
	resealPage = 512 // records to a round trip
	// So many round trips are under way at once, on either side: as many as the
	// command has.
	resealAtOnce = 4
	resealTarget = 0.4
	// What a run over all records may take of memory, by one over the first tenth.
	flatTarget = 1.5
	tenths     = 10
)

// reseal measures the re-sealing of many records against a pipelined GET and
// SET of the same records: through the library, tenth by tenth in turn with the
// raw commands, and by the command, which also finds the records.
func (b *bench) reseal(ctx context.Context) error {
	what := fmt.Sprintf("Re-seal %d records of %d B", b.settings.reseal, resealSize)
	if b.settings.reseal < tenths*resealPage || !b.wants(what, "securecache") {
		return nil
	}
	b.say("%s", what)
	r, err := b.newResealing(ctx)
	if err != nil {
		return err
	}
	first, err := b.withCommand(ctx, r.records/tenths)
	if err != nil {
		return err
	}
	if err := r.library(ctx); err != nil {
		return err
	}
	if err := b.rotate(ctx); err != nil {
		return err
	}
	before, err := r.timed(ctx, 0, r.records, r.rawPage)
	if err != nil {
		return err
	}
	all, err := b.withCommand(ctx, r.records)
	if err != nil {
		return err
	}
	after, err := r.timed(ctx, 0, r.records, r.rawPage)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, r.rows(what)...)
	b.rows = append(b.rows, commandRows(what, all, first, (before.rate()+after.rate())/2)...)
	return nil
}

// resealing is one measurement.
type resealing struct {
	cache           *securecache.Cache
	rdb             *redis.Client
	records         int
	rotate          func(context.Context) error
	ours, raw       sample
	ratios          []float64
	firstPeak, peak uint64 // of the heap, while ours ran
}

// newResealing empties the server, stores the first tenth of the records and
// makes another key the primary.
func (b *bench) newResealing(ctx context.Context) (*resealing, error) {
	admin := redis.NewClient(b.server.AdminOptions())
	defer admin.Close()
	if err := admin.FlushAll(ctx).Err(); err != nil {
		return nil, err
	}
	cache, err := b.cache(nil)
	if err != nil {
		return nil, err
	}
	r := &resealing{cache: cache, rdb: b.client(), records: b.settings.reseal, rotate: b.rotate}
	if err := r.fill(ctx, 0, r.records/tenths); err != nil {
		return nil, err
	}
	return r, b.rotate(ctx)
}

// fill stores the records from one to another.
func (r *resealing) fill(ctx context.Context, from, to int) error {
	entries := make([]securecache.Entry, 0, resealPage)
	for i := from; i < to; i++ {
		entries = append(entries, securecache.Entry{Name: nameOf("reseal", i), Value: valueOf(resealSize)})
		if len(entries) < resealPage && i < to-1 {
			continue
		}
		for _, err := range r.cache.SetMany(ctx, entries, ttl) {
			if err != nil {
				return err
			}
		}
		entries = entries[:0]
	}
	return nil
}

// rotate makes a new key the primary at once. A rotation is announced well
// ahead, so it is made here by a process whose clock is slow: then the new key
// comes right behind the last.
func (b *bench) rotate(ctx context.Context) error {
	store, wrapper := b.store()
	slow := func() time.Time { return time.Now().Add(-time.Hour) }
	k, err := keys.Open(ctx, namespace, store, wrapper, &keys.Options{Now: slow})
	if err != nil {
		return err
	}
	defer k.Close()
	if _, err := k.Rotate(ctx); err != nil {
		return err
	}
	return b.keyring.Refresh(ctx)
}

// library stores the other records and re-seals all with Cache.Reseal, tenth by
// tenth behind the raw commands.
func (r *resealing) library(ctx context.Context) error {
	if err := r.fill(ctx, r.records/tenths, r.records); err != nil {
		return err
	}
	if err := r.rotate(ctx); err != nil {
		return err
	}
	stop, peaks := make(chan struct{}), make(chan uint64)
	go watchHeap(stop, peaks)
	defer close(stop)
	for tenth := range tenths {
		from, to := r.records*tenth/tenths, r.records*(tenth+1)/tenths
		raw, err := r.timed(ctx, from, to, r.rawPage)
		if err != nil {
			return err
		}
		<-peaks // forgets what raw took
		ours, err := r.timed(ctx, from, to, r.ourPage)
		if err != nil {
			return err
		}
		r.peak = max(r.peak, <-peaks)
		if tenth == 0 {
			r.firstPeak = r.peak
		}
		r.raw, r.ours = r.raw.plus(raw), r.ours.plus(ours)
		r.ratios = append(r.ratios, ours.rate()/raw.rate())
	}
	return nil
}

// watchHeap hands out the highest use of the heap since it was last asked.
func watchHeap(stop <-chan struct{}, peaks chan<- uint64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for peak := uint64(0); ; {
		metrics.Read(heap)
		peak = max(peak, heap[0].Value.Uint64())
		select {
		case peaks <- peak:
			peak = 0
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

func (r *resealing) rows(what string) []row {
	ratio := summary(r.ratios)
	raw, ours := costOf([]sample{r.raw}, 1), costOf([]sample{r.ours}, 1)
	growth := float64(r.peak) / float64(r.firstPeak)
	return []row{
		{what: what, who: "go-redis, raw, GET and SET pipelined", figure: "1× the rate", cost: &raw},
		{what: what, who: "securecache, Cache.Reseal", figure: ratio.String() + " the rate", cost: &ours,
			targets: []target{atLeast(ratio.median, resealTarget, "×")}},
		{what: what, who: "securecache, Cache.Reseal, heap", targets: []target{atMost(growth, flatTarget, "× the first tenth's")},
			figure: fmt.Sprintf("%.1f MiB at most, %.1f MiB over the first tenth", mebi(r.peak), mebi(r.firstPeak))},
	}
}

func mebi(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

// timed runs page over the records from one to another, several pages at once.
func (r *resealing) timed(ctx context.Context, from, to int, page func(context.Context, []securecache.Key) error) (sample, error) {
	var was, is runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&was)
	began := time.Now()
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range resealAtOnce {
		group.Go(func() error {
			for {
				begin := from + int(next.Add(1)-1)*resealPage
				if begin >= to {
					return nil
				}
				found, err := r.keys(begin, min(begin+resealPage, to))
				if err != nil {
					return err
				}
				if err := page(ctx, found); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return sample{}, err
	}
	elapsed := time.Since(began)
	runtime.ReadMemStats(&is)
	return sample{to - from, elapsed, is.Mallocs - was.Mallocs, is.TotalAlloc - was.TotalAlloc}, nil
}

func (r *resealing) keys(from, to int) ([]securecache.Key, error) {
	found := make([]securecache.Key, 0, to-from)
	for i := from; i < to; i++ {
		key, err := r.cache.Key(codec.KindValue, nameOf("reseal", i))
		if err != nil {
			return nil, err
		}
		found = append(found, key)
	}
	return found, nil
}

func (r *resealing) ourPage(ctx context.Context, found []securecache.Key) error {
	done, err := r.cache.Reseal(ctx, found)
	if err == nil && done.Sealed != len(found) {
		err = fmt.Errorf("%d of %d records were sealed anew: %+v", done.Sealed, len(found), done)
	}
	return err
}

// rawPage reads records and stores them as they are.
func (r *resealing) rawPage(ctx context.Context, found []securecache.Key) error {
	gets, err := r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range found {
			p.Get(ctx, k.String())
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = r.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, k := range found {
			record, err := gets[i].(*redis.StringCmd).Bytes()
			if err != nil {
				return err
			}
			p.Set(ctx, k.String(), record, redis.KeepTTL)
		}
		return nil
	})
	return err
}
