package lock

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// Lock is a lock that was obtained. It is safe for concurrent use.
type Lock struct {
	bid
	number int64 // the fence
	ctx    context.Context
	cancel context.CancelCauseFunc
	writes atomic.Int64

	turn chan struct{} // taken while the server is asked: one at a time

	mu       sync.Mutex
	until    time.Time   // when the lock may be another's
	timer    *time.Timer // for until, or to extend the lock before
	renewing bool
	over     bool // lost, or about to be released: never extended again

	settled bool // the server has answered the release with result; guarded by the turn
	result  error
}

type lockKey struct{}

// FromContext returns the lock that ctx was derived from, as [Locker.Do] and
// [Locker.Middleware] give it; false where there is none.
func FromContext(ctx context.Context) (*Lock, bool) {
	held, ok := ctx.Value(lockKey{}).(*Lock)
	return held, ok
}

func newLock(ctx context.Context, b bid, fence int64, start time.Time) *Lock {
	l := &Lock{bid: b, number: fence, turn: make(chan struct{}, 1), until: start.Add(b.ttl - drift(b.ttl))}
	l.ctx, l.cancel = context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), lockKey{}, l))
	l.mu.Lock() // the timer may be due at once
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(l.next(start), l.tick)
	return l
}

// Key returns the Redis key of the lock, blinded.
func (l *Lock) Key() securecache.Key { return l.key }

// Fence returns a number greater than that of every earlier holder of the lock,
// for the store that the lock guards.
func (l *Lock) Fence() int64 { return l.number }

// Context returns a context that ends when the lock may be another's, with
// [ErrLost] as its cause, or when it is released. It has the values of the
// context that the lock was obtained with, and not its end.
func (l *Lock) Context() context.Context { return l.ctx }

// Until returns when the lock's context will end unless it is extended first, by
// the process' monotonic clock.
func (l *Lock) Until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// Extend lets the lock run for ttl at least from now on, and has it extended to
// that by itself, where it is. It never shortens. The error is [ErrLost] where
// the lock is another's or was released. After any other, the lock runs as
// before, or longer.
func (l *Lock) Extend(ctx context.Context, ttl time.Duration) error {
	if err := validTTL(ttl); err != nil {
		return err
	}
	return l.extend(ctx, ttl)
}

func (l *Lock) extend(ctx context.Context, ttl time.Duration) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.yield()
	if l.ctx.Err() != nil {
		return ErrLost
	}
	start := time.Now()
	reply, err := l.run(ctx, lua.ExtendLock, l.owner, ttl.Milliseconds())
	if err != nil {
		return fmt.Errorf("lock: not extended: %w", err)
	}
	switch code, err := reply.Int(); {
	case err != nil:
		return err
	case code == 0 || !l.extended(start, ttl):
		l.finish(ErrLost)
		return ErrLost
	}
	return nil
}

// extended notes that the server gave ttl after start, and reports whether that
// was in time: a context that has ended does not come back.
func (l *Lock) extended(start time.Time, ttl time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || !time.Now().Before(l.until) { // the timer may be late
		return false
	}
	l.ttl = ttl
	if until := start.Add(ttl - drift(ttl)); until.After(l.until) {
		l.until = until
	}
	l.timer.Reset(l.next(start))
	return true
}

// next is how long there is nothing to do for a lock that had its TTL at start.
func (l *Lock) next(start time.Time) time.Duration {
	if l.locker.options.Fixed {
		return time.Until(l.until)
	}
	return time.Until(start.Add(l.ttl / 3))
}

// tick ends the lock when its time has come, and extends it before. An attempt
// that hangs leaves time for another: a third of the TTL each, and a twentieth
// between them.
func (l *Lock) tick() {
	l.mu.Lock()
	left, ttl := time.Until(l.until), l.ttl
	if l.over || left <= 0 {
		l.mu.Unlock()
		l.finish(ErrLost)
		return
	}
	l.timer.Reset(left)
	renew := !l.locker.options.Fixed && !l.renewing && l.locker.ctx.Err() == nil
	l.renewing = l.renewing || renew
	l.mu.Unlock()
	if renew {
		l.renew(ttl)
	}
}

func (l *Lock) renew(ttl time.Duration) {
	ctx, cancel := context.WithTimeout(l.ctx, ttl/3)
	defer cancel()
	err := l.extend(ctx, ttl)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewing = false
	if err != nil && !l.over {
		l.timer.Reset(min(ttl/20, time.Until(l.until)))
	}
}

// Release ends the lock's context and gives the lock back. Extending has stopped
// by then. The error is [ErrLost] where somebody else has had the lock
// meanwhile, or may have; a lock that had run out and was given to nobody since
// is none. Where the server does not answer, Release may be called again, and
// the lock ends with its TTL. After an answer, further calls give that again.
func (l *Lock) Release(ctx context.Context) error {
	l.finish(nil)
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.yield()
	if l.settled {
		return l.result
	}
	reply, err := l.run(ctx, lua.ReleaseLock, l.owner)
	if err != nil {
		return fmt.Errorf("lock: not released: %w", err)
	}
	code, err := reply.Int()
	if err != nil {
		return err
	}
	l.settled = true
	switch {
	case code != 0:
	case reply.Resent:
		// Ours may have been the first answer, and another's the lock since.
		l.result = fmt.Errorf("lock: released or lost: %w", ErrOutcomeUnknown)
	default:
		l.result = ErrLost
	}
	return l.result
}

// finish ends the context and all extending.
func (l *Lock) finish(cause error) {
	l.mu.Lock()
	l.over = true
	l.timer.Stop()
	l.mu.Unlock()
	l.cancel(cause)
}

// take waits for the turn to ask the server.
func (l *Lock) take(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lock: %w", ctx.Err())
	}
}

func (l *Lock) yield() { <-l.turn }

// join returns a context that has the end of ctx and of the lock.
func (l *Lock) join(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(context.WithValue(ctx, lockKey{}, l))
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	return both, func() {
		stop()
		cancel(nil)
	}
}
