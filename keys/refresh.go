package keys

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// flightTimeout bounds one refresh: a store that hangs must not keep the
	// next refresh from starting.
	flightTimeout = 30 * time.Second
	// lookupInterval is the least time between two refreshes that unknown ids
	// ask for, however many ids somebody plants.
	lookupInterval = time.Second
	// firstRetry doubles with each refresh that fails, up to Options.Refresh.
	firstRetry = time.Second
)

// flight is one refresh, which any number of callers await.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// Refresh reads the document now, or joins a refresh under way. It returns nil
// once the ring is as the store holds it. ctx bounds the caller's wait alone:
// others go on waiting for the same refresh.
func (k *Keyring) Refresh(ctx context.Context) error {
	k.mu.Lock()
	f := k.join()
	k.mu.Unlock()
	return f.wait(ctx)
}

// Lookup reports whether the namespace has, or has had, a key called id. It
// refreshes for an id that it does not know: one refresh for all who ask, and
// no more than one a second. The error says why it could not find out; the id
// is then neither known nor unknown.
func (k *Keyring) Lookup(ctx context.Context, id ID) (known bool, err error) {
	for !k.knows(id) {
		f, mine := k.lookup()
		if f == nil {
			return false, k.standing()
		}
		if err = f.wait(ctx); mine || ctx.Err() != nil {
			return k.knows(id), err
		}
		// The refresh joined may have read the document before the key was in it.
	}
	return true, nil
}

func (k *Keyring) knows(id ID) bool {
	ring, err := k.Ring()
	return err == nil && (ring.Key(id) != nil || ring.Destroyed(id))
}

// lookup returns the refresh under way, or one of the caller's own, or nil
// where the last look-up's is too recent.
func (k *Keyring) lookup() (f *flight, mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		return k.flight, false
	}
	if !k.lookedUp.IsZero() && time.Since(k.lookedUp) < lookupInterval {
		return nil, false
	}
	k.lookedUp = time.Now()
	return k.join(), true
}

// standing returns why the keyring may not know of its newest keys, nil where
// it should.
func (k *Keyring) standing() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	return k.lastErr
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join returns the refresh under way, or starts one. The caller holds mu.
func (k *Keyring) join() *flight {
	if k.flight != nil {
		return k.flight
	}
	f := &flight{done: make(chan struct{})}
	if k.closed {
		f.err = ErrClosed
		close(f.done)
		return f
	}
	k.flight = f
	k.running.Go(func() {
		f.err = k.reload()
		k.mu.Lock()
		k.flight = nil
		k.mu.Unlock()
		close(f.done)
	})
	return f
}

// reload is one refresh: load, verify, publish.
func (k *Keyring) reload() error {
	ctx, cancel := context.WithTimeout(k.ctx, flightTimeout)
	defer cancel()
	err := k.take(ctx)
	if err == nil {
		start := time.Now()
		var snap *snapshot
		if snap, err = k.source.load(ctx); err == nil {
			err = k.adopt(snap, start)
		}
		k.release()
	}
	switch {
	case err == nil:
		return nil
	case k.ctx.Err() != nil:
		return ErrClosed
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		// Not wrapped: it would pass for the deadline of whoever waits.
		err = fmt.Errorf("keys: the keyring was not read within %s: %v", flightTimeout, err)
	}
	k.fail(err)
	return err
}

// take waits for the turn to read or change the document.
func (k *Keyring) take(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Keyring) release() { <-k.turn }

// adopt puts a verified document into use. The caller has the turn; start is
// when the document began to be read.
func (k *Keyring) adopt(snap *snapshot, start time.Time) error {
	ring, err := k.source.adopt(snap)
	if err == nil {
		k.publish(ring, start)
	}
	return err
}

// publish counts a refresh that succeeded.
func (k *Keyring) publish(ring *Ring, start time.Time) {
	now := k.wallClock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.refreshed, k.refreshedW, k.revision = start, now, ring.revision
	k.lastErr, k.failures = nil, 0
	k.stale.Reset(k.options.MaxOffline - time.Since(start))
	k.view.Store(&view{ring: ring})
}

// fail counts a refresh that failed.
func (k *Keyring) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lastErr = err
	k.failures++
	if !k.closed && k.view.Load().err != nil {
		k.view.Store(&view{err: k.staleError()})
	}
}

// expire closes the keyring to use once MaxOffline has passed. A timer does it,
// so that Ring need not read a clock.
func (k *Keyring) expire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	// A refresh may have succeeded while this call waited for mu.
	if left := k.options.MaxOffline - time.Since(k.refreshed); left > 0 {
		k.stale.Reset(left)
		return
	}
	k.view.Store(&view{err: k.staleError()})
}

// staleError names the cause without wrapping it: a timeout of the source is
// not the caller's.
func (k *Keyring) staleError() error {
	if k.lastErr == nil {
		return ErrStale
	}
	return fmt.Errorf("%w: last refresh at %s, now failing: %v", ErrStale, k.refreshedW.UTC().Format(time.RFC3339), k.lastErr)
}

// refreshAlways is the background goroutine.
func (k *Keyring) refreshAlways() {
	timer := time.NewTimer(k.pause())
	defer timer.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-timer.C:
		}
		err := k.Refresh(k.ctx)
		if k.ctx.Err() != nil {
			return
		}
		if err != nil && k.options.OnError != nil {
			k.options.OnError(err)
		}
		timer.Reset(k.pause())
	}
}

// pause returns how long to wait before the next refresh: a little under the
// interval, so that a fleet started at once spreads out, and less after a
// failure.
func (k *Keyring) pause() time.Duration {
	k.mu.Lock()
	failures := k.failures
	k.mu.Unlock()
	d := k.options.Refresh
	if failures > 0 {
		d = min(d, firstRetry<<min(failures-1, 16))
	}
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}

// wallClock is Options.Now.
func (k *Keyring) wallClock() time.Time {
	if k.options.Now != nil {
		return k.options.Now()
	}
	return time.Now()
}
