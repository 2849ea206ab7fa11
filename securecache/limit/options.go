package limit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/securecache"
)

// Algorithm is how a [Limiter] counts.
type Algorithm int

const (
	// GCRA fills a bucket at an even rate.
	GCRA Algorithm = iota
	// FixedWindow counts in windows that begin with what is first taken.
	FixedWindow
	// SlidingWindow counts in a window that moves along, by two counters.
	SlidingWindow
)

// WhenAway is what a limiter does when the server gives no answer.
type WhenAway int

const (
	// FailClosed refuses.
	FailClosed WhenAway = iota
	// FailOpen lets everything through.
	FailOpen
	// Local counts in this process, against the rate divided by Options.Nodes: a
	// bucket whatever the algorithm, and of 1 at least. So all nodes together may
	// let through a burst of as much as one each where Burst is less than Nodes.
	Local
)

// Options tune a [Limiter] and [Leases]; nil and the zero value mean the
// defaults.
type Options struct {
	// Algorithm is how is counted; leases have none.
	Algorithm Algorithm

	// WhenAway is what is done when the server gives no answer.
	WhenAway WhenAway

	// Nodes is how many processes share the limit, which [Local] has to know.
	Nodes int

	// Timeout is how long an answer is waited for at most. Where it is 0, the
	// context and the client's own timeouts alone end the wait: some seconds, for
	// which every caller would stand still when the server does.
	Timeout time.Duration

	// OnError is told each time that the server gave no answer, on the caller's
	// goroutine, from many at once.
	OnError func(error)

	// Now is the clock of what is counted in this process, time.Now where it is
	// nil.
	Now func() time.Time
}

var (
	// ErrNoAnswer says that the server gave no answer, and that the [Result] is what
	// Options.WhenAway says.
	ErrNoAnswer = errors.New("limit: no answer from the server")

	// ErrRate says that a rate or a number of leases cannot be kept.
	ErrRate = errors.New("limit: no such rate can be kept")

	// ErrLost says that a lease had ended, or was given back.
	ErrLost = errors.New("limit: the lease has ended")

	// ErrOutcomeUnknown says that the server was asked and its reply was lost. It
	// comes with [ErrNoAnswer].
	ErrOutcomeUnknown = securecache.ErrOutcomeUnknown

	errReply = errors.New("limit: the server's reply cannot be")
)

// CostError says that as much can never be taken at once, or is nothing.
type CostError struct {
	// Cost is what was to be taken, Limit the most that can be.
	Cost, Limit int
}

// Error says what can be taken.
func (e *CostError) Error() string {
	return fmt.Sprintf("limit: from 1 to %d can be taken at once, not %d", e.Limit, e.Cost)
}

func (o *Options) orDefault() Options {
	var set Options
	if o != nil {
		set = *o
	}
	if set.Now == nil {
		set.Now = time.Now
	}
	return set
}

func (o Options) validate() error {
	switch {
	case o.Timeout < 0:
		return errors.New("limit: Options.Timeout is negative")
	case o.Algorithm < GCRA || o.Algorithm > SlidingWindow:
		return fmt.Errorf("limit: no algorithm is %d", o.Algorithm)
	case o.WhenAway < FailClosed || o.WhenAway > Local:
		return fmt.Errorf("limit: WhenAway cannot be %d", o.WhenAway)
	case o.WhenAway == Local && o.Nodes < 1:
		return errors.New("limit: Local needs Options.Nodes, among how many processes the limit is divided")
	}
	return nil
}

// bounded is ctx with the timeout, if there is one: a timer costs a tenth of a
// question.
func (o Options) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.Timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, o.Timeout)
}

// away turns an error into that of no answer, and reports it. The caller who
// has hung up gets his own back.
func (o Options) away(ctx context.Context, err error) (WhenAway, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return FailClosed, fmt.Errorf("limit: %w", err)
	}
	err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
	if o.OnError != nil {
		o.OnError(err)
	}
	return o.WhenAway, err
}
