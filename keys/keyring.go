package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options set how a process uses a keyring. A nil *Options is all defaults.
type Options struct {
	// Refresh is the longest interval between background refreshes; 0 is the
	// layout's, or half of a MaxOffline that is shorter than two of those. More
	// than the layout's is an error.
	Refresh time.Duration
	// MaxOffline is how long the keyring serves after its last refresh; 0 is
	// the layout's, more than the layout's or less than Refresh is an error.
	MaxOffline time.Duration
	// Now is the wall clock that key times are made from and judged by; nil is
	// time.Now. Staleness does not depend on it: it is measured on the
	// monotonic clock.
	Now func() time.Time
	// OnError, where set, is told of each background refresh that failed. It
	// delays the next one while it runs, and must not call Close.
	OnError func(error)
}

// resolve returns the options in force in a namespace of the given layout.
func (o *Options) resolve(l Layout) (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	if r.Refresh == 0 {
		r.Refresh = refreshWithin(l.Refresh, r.MaxOffline)
	}
	if r.MaxOffline == 0 {
		r.MaxOffline = l.MaxOffline
	}
	return r, r.validate(l)
}

func (o *Options) validate(l Layout) error {
	if o.Refresh < time.Millisecond || o.Refresh > l.Refresh {
		return fmt.Errorf("keys: Options.Refresh must be from 1ms to the layout's refresh interval, %s", l.Refresh)
	}
	if o.MaxOffline < o.Refresh || o.MaxOffline > l.MaxOffline {
		return fmt.Errorf("keys: Options.MaxOffline must be from the refresh interval, %s, to the layout's offline time, %s", o.Refresh, l.MaxOffline)
	}
	return nil
}

// Keyring is a namespace's keys, kept fresh in the background until Close. It
// serves from memory while its source is away, for MaxOffline after the last
// refresh that succeeded; then it is closed to use until one succeeds again.
// Safe for concurrent use. It shows its namespace alone under every fmt verb.
type Keyring struct {
	namespace string
	options   Options
	layout    Layout

	// view is what Ring returns; stores to it are made under mu.
	view atomic.Pointer[view]

	// turn is held by whoever reads or changes the document, and guards source.
	turn   chan struct{}
	source *source

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // the background goroutine, and a flight

	mu         sync.Mutex
	closed     bool
	flight     *flight
	revision   uint64
	lookedUp   time.Time // start of the last refresh that a look-up asked for
	refreshed  time.Time // start of the last refresh that succeeded, monotonic
	refreshedW time.Time // its end by Options.Now
	lastErr    error
	failures   int
	stale      *time.Timer
}

// view is a ring, or the error that stands in its place.
type view struct {
	ring *Ring
	err  error
}

// Open loads the keyring of a namespace and keeps it fresh. It never creates
// one: errors wrap [ErrNotFound], [ErrDocument], [ErrScheme], or what store and
// wrapper return. A nil o is all defaults. ctx bounds Open alone.
func Open(ctx context.Context, namespace string, s Store, w Wrapper, o *Options) (*Keyring, error) {
	if err := checkNamespace(namespace); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if s == nil || w == nil {
		return nil, errors.New("keys: Open needs a store and a wrapper")
	}
	start := time.Now()
	src := &source{namespace: namespace, store: s, wrapper: w}
	snap, err := src.load(ctx)
	if err != nil {
		return nil, err
	}
	ring, err := src.adopt(snap)
	if err != nil {
		return nil, err
	}
	k := &Keyring{namespace: namespace, layout: ring.layout, source: src, turn: make(chan struct{}, 1)}
	if k.options, err = o.resolve(ring.layout); err != nil {
		return nil, err
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.stale = time.AfterFunc(longest, k.expire) // publish sets it
	k.publish(ring, start)
	k.running.Go(k.refreshAlways)
	return k, nil
}

// Namespace returns the namespace whose keys these are.
func (k *Keyring) Namespace() string { return k.namespace }

// Ring returns the keys as they were read last. It is as cheap as an atomic
// load: take it anew for each use. The error wraps [ErrStale] or is [ErrClosed].
func (k *Keyring) Ring() (*Ring, error) {
	v := k.view.Load()
	return v.ring, v.err
}

// Status is a keyring's state, for monitoring.
type Status struct {
	Revision  uint64    `json:"revision"`  // of the document in use
	Refreshed time.Time `json:"refreshed"` // end of the last refresh that succeeded
	Stale     bool      `json:"stale"`     // past MaxOffline: Ring fails
	Failures  int       `json:"failures"`  // refreshes failed since then
	LastError error     `json:"-"`         // of the last of those, else nil
}

// Status reports how fresh the keyring is. Alert on Failures, before Stale.
func (k *Keyring) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Revision: k.revision, Refreshed: k.refreshedW, Failures: k.failures, LastError: k.lastErr}
	s.Stale = errors.Is(k.view.Load().err, ErrStale)
	return s
}

// Close stops the refreshing and waits until it has stopped. Ring and every
// other call fail with [ErrClosed] from then on; rings taken before stay
// usable. It returns nil, and may be called again.
func (k *Keyring) Close() error {
	k.mu.Lock()
	if !k.closed {
		k.closed = true
		k.stale.Stop()
		k.view.Store(&view{err: ErrClosed})
	}
	k.mu.Unlock()
	k.cancel()
	k.running.Wait()
	return nil
}

// Format prints the namespace under every verb.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keyring "+k.namespace) }

// LogValue logs the namespace.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue("keyring " + k.namespace) }
