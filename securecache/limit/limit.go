package limit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// Limiter limits how much of something happens. It is safe for concurrent use.
type Limiter struct {
	asker
	method method
	one    []any  // the arguments that take one
	local  *local // where the options say Local
}

// New returns a limiter of the rate in the cache's namespace. All processes that
// share a limit give the same rate and algorithm; where they differ, each judges
// what it finds by its own. The error matches [ErrRate] for a rate that cannot
// be kept. o may be nil.
func New(c *securecache.Cache, r Rate, o *Options) (*Limiter, error) {
	if c == nil {
		return nil, errors.New("limit: a cache is needed")
	}
	set := o.orDefault()
	if err := set.validate(); err != nil {
		return nil, err
	}
	m, err := r.method(set.Algorithm)
	if err != nil {
		return nil, err
	}
	l := &Limiter{asker: asker{c, set, string(m.form())}, method: m, one: m.args(1)}
	if set.WhenAway == Local {
		if l.local, err = newLocal(r, set); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Result says whether it is allowed, and how the limit stands afterwards. Where
// the server gave no answer, all but Allowed is zero, unless the options say
// [Local].
type Result struct {
	Allowed bool
	// Limit is the most that can be taken at once, Remaining what can be now.
	Limit, Remaining int
	// RetryAfter is how long to wait for what was refused, if nobody else takes
	// anything meanwhile; 0 for what is allowed.
	RetryAfter time.Duration
	// ResetAfter is when Remaining is Limit again, if nobody takes anything.
	ResetAfter time.Duration
}

// Allow takes one from what is left under name, if there is one.
func (l *Limiter) Allow(ctx context.Context, name string) (Result, error) {
	return l.AllowN(ctx, name, 1)
}

// AllowN takes n at once, all of them or none. The error is a [*CostError] for an
// n that can never be taken, and for one below 1; it matches
// securecache.ErrName for an empty name, and [ErrNoAnswer] where the server gave
// none: the Result is then what Options.WhenAway says.
func (l *Limiter) AllowN(ctx context.Context, name string, n int) (Result, error) {
	if n < 1 || n > l.method.size() {
		return Result{}, &CostError{Cost: n, Limit: l.method.size()}
	}
	args := l.one
	if n > 1 {
		args = l.method.args(n)
	}
	take, _ := l.method.scripts()
	reply, err := l.ask(ctx, take, name, args...)
	var res Result
	if err == nil {
		res, err = l.method.taken(reply, n)
	}
	if err != nil {
		res, _, err = l.withoutAnswer(ctx, err, func() Result { return l.local.take(name, n) })
	}
	return res, err
}

// Peek says what [Limiter.Allow] would, and takes nothing.
func (l *Limiter) Peek(ctx context.Context, name string) (Result, error) {
	_, look := l.method.scripts()
	reply, err := l.ask(ctx, look, name, l.method.args(0)...)
	var res Result
	if err == nil {
		res, err = l.method.looked(reply)
	}
	if err != nil {
		res, _, err = l.withoutAnswer(ctx, err, func() Result { return l.local.look(name) })
	}
	return res, err
}

// Reset forgets all that was taken under name, also in this process. An error
// says that the server may not have.
func (l *Limiter) Reset(ctx context.Context, name string) error {
	if l.local != nil {
		l.local.reset(name)
	}
	_, err := l.ask(ctx, lua.ResetLimit, name)
	if err != nil && !errors.Is(err, securecache.ErrName) {
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return err
}
