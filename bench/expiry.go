package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
)

const (
	expiryShards  = 16
	expiryBatch   = 256
	expiryStep    = 10 * time.Millisecond // between portions
	expiryPortion = 20
	expiryRate    = int(time.Second / expiryStep * expiryPortion) // values that end in a second
	expiryTTL     = time.Second                                   // of one portion; of the next, twice that
	fillTTL       = time.Hour
	fillPage      = 1000

	latenessTarget = 250 // ms
	idleTarget     = 1   // percent of a core

	// What has not been heard of so long after the last end is not waited for.
	schedulePatience = time.Minute
	doorbellPatience = 10 * time.Second
)

// expiry measures how late the ends of values are heard of, beside keys whose
// ends are far ahead, and what a notifier takes that has nothing to do. A tenth
// of those keys stand on the schedule. The doorbell hears the same ends.
func (b *bench) expiry(ctx context.Context) error {
	what := fmt.Sprintf("%d ends a second, %d volatile keys", expiryRate, b.volatile)
	if b.volatile == 0 || !b.wants(what, "securecache/expiry") {
		return nil
	}
	b.say("%s", what)
	lasts := 10 * time.Duration(b.rounds) * b.slice
	e, err := b.newExpiring(ctx, lasts)
	if err != nil {
		return err
	}
	if err := e.fill(ctx, b.volatile); err != nil {
		return err
	}
	share, err := e.measure(ctx, lasts, func(err error) { b.say("%v", err) })
	if err != nil {
		return err
	}
	b.rows = append(b.rows, e.rows(what)...)
	b.rows = append(b.rows, row{what: what, who: "securecache/expiry, idle", figure: fmt.Sprintf("%.2f %% of a core", share),
		targets: []target{atMost(share, idleTarget, " % of a core")}})
	return nil
}

// expiring is one measurement, on a server of its own.
type expiring struct {
	admin           *redis.Client
	cache, bell     *securecache.Cache // bell logs in as admin, who may hear keyspace events
	scheduled, rung *hearing
	names           []string
	ends            []time.Time // by the place of the name
	place           map[securecache.Key]int
	timer           []time.Duration // by how much a timer was late meanwhile
}

func (b *bench) newExpiring(ctx context.Context, lasts time.Duration) (*expiring, error) {
	s, err := server.Start(ctx, server.Options{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	b.onClose(s.Close)
	_, wrapper := b.store()
	store := keys.NewFile(b.keyringFile() + ".expiry")
	if err := keys.Create(ctx, namespace, store, wrapper, keys.Layout{Shards: expiryShards}); err != nil {
		return nil, err
	}
	keyring, err := keys.Open(ctx, namespace, store, wrapper, nil)
	if err != nil {
		return nil, err
	}
	b.onClose(keyring.Close)
	app := redis.NewClient(s.Options())
	b.onClose(app.Close)
	e := &expiring{admin: redis.NewClient(s.AdminOptions())}
	b.onClose(e.admin.Close)
	if e.cache, err = securecache.New(app, keyring, nil); err != nil {
		return nil, err
	}
	b.onClose(e.cache.Close)
	if e.bell, err = securecache.New(e.admin, keyring, nil); err != nil {
		return nil, err
	}
	b.onClose(e.bell.Close)
	return e, e.choose(int(lasts/expiryStep) * expiryPortion)
}

// choose names the values that are to end.
func (e *expiring) choose(count int) error {
	e.names, e.ends, e.place = make([]string, count), make([]time.Time, count), make(map[securecache.Key]int, count)
	for i := range e.names {
		e.names[i] = nameOf("ends", i)
		key, err := e.cache.Key(codec.KindValue, e.names[i])
		if err != nil {
			return err
		}
		e.place[key] = i
	}
	e.scheduled, e.rung = newHearing(count), newHearing(count)
	return nil
}

// fill puts keys on the server that end later than the measurement.
func (e *expiring) fill(ctx context.Context, volatile int) error {
	for from := 0; from < volatile; from += fillPage {
		to := min(from+fillPage, volatile)
		err := e.fillRaw(ctx, from, to)
		if from/fillPage%10 == 0 {
			err = e.fillScheduled(ctx, from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *expiring) fillScheduled(ctx context.Context, from, to int) error {
	entries := make([]securecache.Entry, to-from)
	for i := range entries {
		entries[i] = securecache.Entry{Name: nameOf("stays", from+i), Value: valueOf(tokenSize)}
	}
	return errors.Join(e.cache.SetMany(ctx, entries, fillTTL)...)
}

func (e *expiring) fillRaw(ctx context.Context, from, to int) error {
	_, err := e.admin.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := from; i < to; i++ {
			p.Set(ctx, "stays:"+strconv.Itoa(i), "x", fillTTL+time.Duration(i)*time.Millisecond)
		}
		return nil
	})
	return err
}

// measure returns what share of a core a listener takes that has nothing to do,
// in percent, and then has values end before it and a doorbell.
func (e *expiring) measure(ctx context.Context, lasts time.Duration, trouble func(error)) (share float64, err error) {
	ctx, stop := context.WithCancel(ctx)
	group, listening := errgroup.WithContext(ctx)
	defer func() {
		stop()
		if ended := group.Wait(); !errors.Is(ended, context.Canceled) {
			err = errors.Join(ended, err)
		}
	}()
	schedule, err := expiry.New(e.cache, &expiry.Options{Batch: expiryBatch, OnError: trouble})
	if err != nil {
		return 0, err
	}
	group.Go(func() error { return schedule.Listen(listening, e.into(e.scheduled)) })
	if share, err = idle(listening, lasts); err != nil {
		return 0, err
	}
	bell, err := expiry.New(e.bell, &expiry.Options{Doorbell: true, EnableNotifications: true, OnError: trouble})
	if err != nil {
		return 0, err
	}
	group.Go(func() error { return bell.Listen(listening, e.into(e.rung)) })
	if err := e.hung(listening, bell); err != nil {
		return 0, err
	}
	stopTimer := e.timeItself(listening)
	defer stopTimer()
	return share, e.run(listening)
}

// timeItself notes, until it is stopped, how late a goroutine is that only
// sleeps: the least that can be asked for on this machine.
func (e *expiring) timeItself(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var timing sync.WaitGroup
	timing.Go(func() {
		for due := time.Now().Add(expiryStep); pause(ctx, time.Until(due)) == nil; due = time.Now().Add(expiryStep) {
			e.timer = append(e.timer, time.Since(due))
		}
	})
	return func() { cancel(); timing.Wait() }
}

// into notes when values were heard of.
func (e *expiring) into(h *hearing) expiry.Handler {
	return func(_ context.Context, event expiry.Event) error {
		if i, known := e.place[event.Key]; known {
			h.hear(i)
		}
		return nil
	}
}

// idle returns what this process takes of a core, in percent, while it does
// nothing but listen.
func idle(ctx context.Context, lasts time.Duration) (float64, error) {
	if err := pause(ctx, time.Second); err != nil { // it has looked at each shard
		return 0, err
	}
	began, before := time.Now(), cpu()
	err := pause(ctx, lasts)
	return 100 * float64(cpu()-before) / float64(time.Since(began)), err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cpu is the time that this process has taken of all cores.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for a bad pointer only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// hung waits until the doorbell has heard something.
func (e *expiring) hung(ctx context.Context, bell *expiry.Notifier) error {
	const name, lives = "bell", 50 * time.Millisecond
	for bell.Stats().Claimed == 0 {
		if err := e.cache.Set(ctx, name, nil, lives); err != nil {
			return err
		}
		if err := pause(ctx, 2*lives); err != nil {
			return err
		}
		if _, err := e.cache.Exists(ctx, name); err != nil { // whoever looks has it deleted
			return err
		}
	}
	return nil
}

// run lets the values end at a steady rate, though not in the order in which
// they are stored, and waits until that is heard.
func (e *expiring) run(ctx context.Context) error {
	tick := time.NewTicker(expiryStep)
	defer tick.Stop()
	entries := make([]securecache.Entry, expiryPortion)
	for from := 0; from < len(e.names); from += expiryPortion {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		lives := expiryTTL
		if from/expiryPortion%2 == 1 {
			lives *= 2
		}
		ends := time.Now().Add(lives)
		for i := range entries {
			entries[i] = securecache.Entry{Name: e.names[from+i], Value: valueOf(tokenSize)}
			e.ends[from+i] = ends
		}
		if err := errors.Join(e.cache.SetMany(ctx, entries, lives)...); err != nil {
			return err
		}
	}
	last := time.Now().Add(2 * expiryTTL)
	return errors.Join(e.scheduled.await(ctx, last.Add(schedulePatience)), e.rung.await(ctx, last.Add(doorbellPatience)))
}

func (e *expiring) rows(what string) []row {
	late, twice := e.scheduled.late(e.ends)
	p99 := percentile(late, 99)
	of := fmt.Sprintf("%d of %d", len(late), len(e.ends))
	rung, _ := e.rung.late(e.ends)
	slices.Sort(e.timer)
	return []row{
		{what: what, who: "a timer, meanwhile", figure: "late by " + percentiles(e.timer)},
		{what: what, who: "securecache/expiry", figure: fmt.Sprintf("%s, %d twice, late by %s", of, twice, percentiles(late)),
			targets: []target{
				atMost(float64(p99.Microseconds())/1000, latenessTarget, " ms late (p99)"),
				{"all of them", len(late) == len(e.ends)},
			}},
		{what: what, who: "securecache/expiry, doorbell",
			figure: fmt.Sprintf("%d of %d within %s, late by %s", len(rung), len(e.ends), doorbellPatience, percentiles(rung))},
	}
}

// percentiles are those of sorted times.
func percentiles(sorted []time.Duration) string {
	return fmt.Sprintf("%s (p50), %s (p99), %s at most", inMilliseconds(percentile(sorted, 50)),
		inMilliseconds(percentile(sorted, 99)), inMilliseconds(percentile(sorted, 100)))
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func inMilliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// hearing is when values were heard of, by their places.
type hearing struct {
	at    []atomic.Int64 // Unix nanoseconds, 0: not yet
	left  atomic.Int64
	twice atomic.Int64
	all   chan struct{} // closed when none is left
}

func newHearing(count int) *hearing {
	h := &hearing{at: make([]atomic.Int64, count), all: make(chan struct{})}
	h.left.Store(int64(count))
	return h
}

func (h *hearing) hear(i int) {
	switch {
	case !h.at[i].CompareAndSwap(0, time.Now().UnixNano()):
		h.twice.Add(1)
	case h.left.Add(-1) == 0:
		close(h.all)
	}
}

// await waits for all, but not beyond a time.
func (h *hearing) await(ctx context.Context, until time.Time) error {
	select {
	case <-h.all:
	case <-time.After(time.Until(until)):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// late is how late each was heard of that was, sorted, and how many were heard
// of again.
func (h *hearing) late(ends []time.Time) (sorted []time.Duration, twice int64) {
	for i := range h.at {
		if at := h.at[i].Load(); at > 0 {
			sorted = append(sorted, time.Unix(0, at).Sub(ends[i]))
		}
	}
	slices.Sort(sorted)
	return sorted, h.twice.Load()
}
