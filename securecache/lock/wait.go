package lock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/securecache"
)

// wait waits in line for the lock, and asks whenever it may be free: first when
// left is over, which the server said of the lock of now.
func (b bid) wait(ctx context.Context, left time.Duration) (*Lock, error) {
	w := b.locker.waits.join(b.key.String(), later(left))
	defer w.leave()
	for {
		rings, err := w.first(ctx, b.locker.ctx)
		if err != nil {
			return nil, err
		}
		held, left, err := b.ask(ctx, true)
		if err != nil && ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotObtained, ctx.Err()) // as at any other moment of the wait
		}
		if err != nil {
			return nil, err
		}
		if held != nil {
			w.note(later(b.ttl), rings)
			return held, nil
		}
		w.note(later(left), rings)
	}
}

// later is when to ask again: when the lock would end. Jitter keeps processes
// apart that wait for the same end.
func later(left time.Duration) time.Time {
	return time.Now().Add(left + time.Millisecond + rand.N(min(left/10, maxJitter)+1))
}

const maxJitter = 25 * time.Millisecond

// waits holds those of one process who wait for locks, and their one
// subscription, which lasts while somebody waits and a little longer.
type waits struct {
	ctx   context.Context
	cache *securecache.Cache

	mu      sync.Mutex
	lines   map[string]*line // by the lock's key, which is its channel too
	heard   map[string]bool  // the channels subscribed to
	changed chan struct{}    // of 1: lines has come or gone
	running bool             // a subscription
	closed  bool
	group   sync.WaitGroup
}

// idle is how long the subscription outlives the last who waits.
const idle = 30 * time.Second

func newWaits(ctx context.Context, c *securecache.Cache) *waits {
	return &waits{ctx: ctx, cache: c, lines: map[string]*line{}, heard: map[string]bool{}, changed: make(chan struct{}, 1)}
}

// line is the waiters for one lock. Only the first asks the server, when a
// release was announced or the lock would end: a message wakes one process'
// one waiter, not all.
type line struct {
	waiters []*waiter
	due     time.Time // when to ask; the zero time is now
	rings   int       // how many releases were announced
}

type waiter struct {
	waits   *waits
	channel string
	line    *line
	woken   chan struct{} // of 1: something about the line has changed
}

// any reports whether somebody waits already.
func (s *waits) any(channel string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[channel] != nil
}

// join puts a waiter at the end of the line. The first of a line asks again once
// the subscription stands, since a release may have come before it; where it
// stands already, at once; and when the lock is due at the latest.
func (s *waits) join(channel string, due time.Time) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[channel]
	if l == nil {
		if s.heard[channel] {
			due = time.Time{}
		}
		l = &line{due: due}
		s.lines[channel] = l
		s.change()
	}
	w := &waiter{waits: s, channel: channel, line: l, woken: make(chan struct{}, 1)}
	l.waiters = append(l.waiters, w)
	return w
}

// change has the subscription follow the lines. The caller holds the mutex.
func (s *waits) change() {
	signal(s.changed)
	if !s.running && !s.closed {
		s.running = true
		s.group.Go(s.listen)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// leave takes the waiter out of the line. Whoever is first now looks when to
// ask.
func (w *waiter) leave() {
	s, l := w.waits, w.line
	s.mu.Lock()
	defer s.mu.Unlock()
	l.waiters = slices.DeleteFunc(l.waiters, func(o *waiter) bool { return o == w })
	if len(l.waiters) > 0 {
		signal(l.waiters[0].woken)
		return
	}
	delete(s.lines, w.channel)
	s.change()
}

// first returns when the waiter is the first of the line and it is time to ask,
// with the number of releases announced so far.
func (w *waiter) first(ctx, locker context.Context) (rings int, err error) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.waits.mu.Lock()
		leads, due, rings := w.line.waiters[0] == w, w.line.due, w.line.rings
		w.waits.mu.Unlock()
		var clock <-chan time.Time
		if leads {
			left := time.Until(due)
			if left <= 0 {
				return rings, nil
			}
			timer.Reset(left)
			clock = timer.C
		}
		select {
		case <-w.woken:
		case <-clock:
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", ErrNotObtained, ctx.Err())
		case <-locker.Done():
			return 0, fmt.Errorf("%w: %w", ErrNotObtained, ErrClosed)
		}
	}
}

// note says when to ask next. A release that was announced since the question
// went out counts more than its answer.
func (w *waiter) note(due time.Time, rings int) {
	w.waits.mu.Lock()
	defer w.waits.mu.Unlock()
	if w.line.rings == rings {
		w.line.due = due
	}
}

// ring has the first waiter for a lock ask at once.
func (s *waits) ring(channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[channel]; l != nil {
		l.rings++
		l.due = time.Time{}
		signal(l.waiters[0].woken)
	}
}

// listen keeps the subscription, and ends where nobody has waited for a while.
func (s *waits) listen() {
	sub := s.cache.Subscribe(s.ctx)
	messages := sub.ChannelWithSubscriptions()
	defer func() {
		_ = sub.Close()
		for range messages { // until go-redis has ended too
		}
	}()
	rest := time.NewTimer(idle)
	defer rest.Stop()
	for {
		select {
		case <-s.changed:
			rest.Reset(idle)
			s.follow(sub)
		case m, open := <-messages:
			if !open { // the client was closed
				return
			}
			s.hear(m)
		case <-rest.C:
			if s.stop() {
				return
			}
			rest.Reset(idle)
		case <-s.ctx.Done():
			return
		}
	}
}

// hear rings for a release. That a subscription stands, or stands again after
// the connection was lost, is as good as one: nobody knows what was missed.
func (s *waits) hear(m any) {
	switch m := m.(type) {
	case *redis.Message:
		s.ring(m.Channel)
	case *redis.Subscription:
		if m.Kind == "subscribe" {
			s.ring(m.Channel)
		}
	}
}

// follow subscribes to the channels of new lines and leaves those of lines that
// are gone. Where that fails, go-redis connects again and subscribes to what it
// was told.
func (s *waits) follow(sub *redis.PubSub) {
	s.mu.Lock()
	var come, gone []string
	for channel := range s.lines {
		if !s.heard[channel] {
			come = append(come, channel)
			s.heard[channel] = true
		}
	}
	for channel := range s.heard {
		if s.lines[channel] == nil {
			gone = append(gone, channel)
			delete(s.heard, channel)
		}
	}
	s.mu.Unlock()
	if len(gone) > 0 {
		_ = sub.Unsubscribe(s.ctx, gone...)
	}
	if len(come) > 0 {
		_ = sub.Subscribe(s.ctx, come...)
	}
}

// stop ends the subscription unless somebody waits.
func (s *waits) stop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) > 0 {
		return false
	}
	s.running = false
	clear(s.heard)
	return true
}

// close returns once the subscription has ended, which it does with the locker.
func (s *waits) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.group.Wait()
}
