package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// workload is one side of a comparison. op is called from as many goroutines as
// it says, each with its own worker number and a count that goes up.
type workload struct {
	goroutines int
	op         func(worker, i int) error
	target     float64 // of its rate by the base's, 0 for none: it is measured until the ratio is clear
}

// What is held to a target is measured on until its ratio is clear: the median of
// 60 ratios of a base to itself came out between 0.97 and 1.05. It is clear where
// the target is apart by so many standard errors, or the error is less than fine.
const (
	apart = 4
	fine  = 0.005
)

// sample is what one short run of a workload did.
type sample struct {
	ops            int
	elapsed        time.Duration
	mallocs, bytes uint64 // of the whole process
}

func (s sample) rate() float64 { return float64(s.ops) / s.elapsed.Seconds() }

func (s sample) plus(o sample) sample {
	return sample{s.ops + o.ops, s.elapsed + o.elapsed, s.mallocs + o.mallocs, s.bytes + o.bytes}
}

// stretch runs w for a while.
func stretch(ctx context.Context, w workload, d time.Duration) (sample, error) {
	var (
		stop  atomic.Bool
		ops   atomic.Int64
		group sync.WaitGroup
		errs  = make(chan error, w.goroutines)
		was   runtime.MemStats
		is    runtime.MemStats
	)
	runtime.GC() // what the other side left behind
	runtime.ReadMemStats(&was)
	began := time.Now()
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	for worker := range w.goroutines {
		group.Go(func() {
			n, err := repeat(ctx, &stop, worker, w.op)
			ops.Add(int64(n))
			if err != nil {
				stop.Store(true)
				errs <- err
			}
		})
	}
	group.Wait()
	elapsed := time.Since(began)
	runtime.ReadMemStats(&is)
	select {
	case err := <-errs:
		return sample{}, err
	default:
		return sample{int(ops.Load()), elapsed, is.Mallocs - was.Mallocs, is.TotalAlloc - was.TotalAlloc}, ctx.Err()
	}
}

// glance is how many operations pass between two looks at the clock's flag: it
// must not weigh on operations of some nanoseconds.
const glance = 8

func repeat(ctx context.Context, stop *atomic.Bool, worker int, op func(worker, i int) error) (n int, err error) {
	for ctx.Err() == nil {
		for range glance {
			if err := op(worker, n); err != nil {
				return n, err
			}
			n++
			if stop.Load() {
				return n, nil
			}
		}
	}
	return n, nil
}

// cost is what an operation takes: the medians of the rounds.
type cost struct {
	rate           float64       // operations a second, of all goroutines together
	perOp          time.Duration // as one goroutine sees it
	bytes, mallocs float64
}

func costOf(samples []sample, goroutines int) cost {
	of := func(f func(sample) float64) float64 {
		all := make([]float64, len(samples))
		for i, s := range samples {
			all[i] = f(s)
		}
		return summary(all).median
	}
	rate := of(sample.rate)
	return cost{
		rate:    rate,
		perOp:   time.Duration(float64(goroutines) / rate * float64(time.Second)),
		bytes:   of(func(s sample) float64 { return float64(s.bytes) / float64(s.ops) }),
		mallocs: of(func(s sample) float64 { return float64(s.mallocs) / float64(s.ops) }),
	}
}

// spread is a median with what it lies between, and its standard error where it
// is known.
type spread struct{ median, least, most, err float64 }

func summary(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{median: (sorted[(n-1)/2] + sorted[n/2]) / 2, least: sorted[0], most: sorted[n-1]}
}

// errorOf estimates the standard error of the median of values as if they were
// normal but for outliers: 1.253 σ/√n, with σ from the median deviation, 1.483
// times that.
func errorOf(values []float64) float64 {
	median := summary(values).median
	deviations := make([]float64, len(values))
	for i, v := range values {
		deviations[i] = math.Abs(v - median)
	}
	return 1.253 * 1.483 * summary(deviations).median / math.Sqrt(float64(len(values)))
}

// clear reports whether it is plain on which side of target s lies, or its
// median is known well enough.
func (s spread) clear(target float64) bool {
	return math.Abs(s.median-target) >= apart*s.err || s.err < fine
}

func (s spread) String() string {
	return fmt.Sprintf("%.2f× ±%.2f (%.2f–%.2f)", s.median, s.err, s.least, s.most)
}

// inverse turns a ratio of rates into one of times.
func (s spread) inverse() spread {
	return spread{1 / s.median, 1 / s.most, 1 / s.least, s.err / (s.median * s.median)}
}

// parted divides each round into so many short alternations. Their median leaves
// out what disturbs a few.
func (s settings) parted(by int) settings {
	s.parts, s.slice = by, s.slice/time.Duration(by)
	return s
}

// result is how a workload did: its own cost, and its rate by the base's.
type result struct {
	cost
	ratio spread
}

// compare measures base and others in turn: base, one, base, the next, base.
// Each ratio is that of a run to the mean of the two base runs around it, so
// that a slow change of the machine's speed cancels out.
func compare(ctx context.Context, s settings, base workload, others []workload) (result, []result, error) {
	c := comparison{settings: s, base: base, others: others, samples: make([][]sample, len(others)), ratios: make([][]float64, len(others))}
	for _, w := range append([]workload{base}, others...) {
		if _, err := stretch(ctx, w, s.slice/2); err != nil { // warms up
			return result{}, nil, err
		}
	}
	for round := range s.rounds * s.patience {
		if err := c.round(ctx, round); err != nil {
			return result{}, nil, err
		}
	}
	results := make([]result, len(others))
	for i, w := range others {
		results[i] = result{costOf(c.samples[i], w.goroutines), ofRounds(c.ratios[i], s.parts)}
	}
	return result{cost: costOf(c.bases, base.goroutines)}, results, nil
}

// ofRounds is the median of all ratios between the least and the most of the
// rounds' medians. A round has so many parts.
func ofRounds(ratios []float64, parts int) spread {
	var rounds []float64
	for round := range slices.Chunk(ratios, parts) {
		rounds = append(rounds, summary(round).median)
	}
	all := summary(rounds)
	all.median, all.err = summary(ratios).median, errorOf(ratios)
	return all
}

// comparison is a compare under way.
type comparison struct {
	settings
	base    workload
	others  []workload
	bases   []sample
	samples [][]sample
	ratios  [][]float64
}

// round runs those whose turn it is, in one order or the other, so that who comes
// behind whom changes.
func (c *comparison) round(ctx context.Context, n int) error {
	turns := c.turns(n)
	for part := 0; part < c.parts && (len(turns) > 0 || n < c.rounds); part++ {
		if err := c.alternate(ctx, turns); err != nil {
			return err
		}
		slices.Reverse(turns)
	}
	return nil
}

// turns returns who takes part in the n-th round: everybody at first, and then
// whose ratio is not clear.
func (c *comparison) turns(n int) []int {
	var turns []int
	for i, w := range c.others {
		if n < c.rounds || w.target > 0 && !ofRounds(c.ratios[i], c.parts).clear(w.target) {
			turns = append(turns, i)
		}
	}
	return turns
}

// alternate runs others, each between two runs of the base.
func (c *comparison) alternate(ctx context.Context, others []int) error {
	before, err := stretch(ctx, c.base, c.slice)
	if err != nil {
		return err
	}
	c.bases = append(c.bases, before)
	for _, i := range others {
		here, err := stretch(ctx, c.others[i], c.slice)
		if err != nil {
			return err
		}
		after, err := stretch(ctx, c.base, c.slice)
		if err != nil {
			return err
		}
		c.samples[i], c.bases = append(c.samples[i], here), append(c.bases, after)
		c.ratios[i] = append(c.ratios[i], here.rate()/((before.rate()+after.rate())/2))
		before = after
	}
	return nil
}
