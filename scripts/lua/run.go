package lua

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"
)

var (
	// ErrOutcomeUnknown says that a script was sent and its reply never came: it
	// ran once or not at all. The caller has to look before it asks again.
	ErrOutcomeUnknown = errors.New("lua: outcome unknown: the reply was lost")

	// ErrNotLoaded says that a server has no such script and that loading it
	// there did not help; where the user may not load scripts, an operator must.
	ErrNotLoaded = errors.New("lua: script not loaded")
)

const (
	attempts   = 4 // as many as go-redis gives a plain command
	minBackoff = 8 * time.Millisecond
)

// Runner runs scripts on one client. It is safe for concurrent use.
type Runner struct {
	rdb     redis.UniversalClient
	process func(context.Context, redis.Cmder) error
	again   bool // whether a command is nobody else's once it has been answered
	loads   singleflight.Group
}

// NewRunner returns a runner on rdb. A process other than nil sends the
// commands in the place of rdb.Process; it must give up when its context ends.
// With nil and a *redis.Client, commands are used again once they have been
// answered.
func NewRunner(rdb redis.UniversalClient, process func(context.Context, redis.Cmder) error) *Runner {
	r := &Runner{rdb: rdb, process: process}
	if process == nil {
		r.process = rdb.Process
		_, r.again = rdb.(*redis.Client)
	}
	return r
}

// Reply is what a script answered.
type Reply struct {
	Value any // int64, string, []any or nil, as go-redis decodes them
	// Resent says that an earlier reply was lost, so that an answer of "another
	// is there" may come after the script's own success.
	Resent bool
}

// Int returns the reply as a number, an error where it is none.
func (r Reply) Int() (int64, error) {
	n, ok := r.Value.(int64)
	if !ok {
		return 0, fmt.Errorf("lua: the reply is a %T, not a number", r.Value)
	}
	return n, nil
}

// Run calls s with EVALSHA, loading it where the server does not know it. All
// keys must share a slot. go-redis' own retries are off; a command that cannot
// have run is sent again a few times, one that may have only where s is
// [Repeatable], and both only while ctx lasts. Where the last try may have run,
// the error matches [ErrOutcomeUnknown].
func (r *Runner) Run(ctx context.Context, s *Script, keys []string, args ...any) (Reply, error) {
	resent, loaded := false, false
	var loadErr error
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return Reply{}, failure(s, err, nil, resent)
		}
		c := newCall(s, keys, args, r.again)
		err := r.process(ctx, c)
		if err == nil || err == redis.Nil {
			reply := Reply{Value: c.Val(), Resent: resent}
			if r.again {
				c.done()
			}
			return reply, nil
		}
		if redis.HasErrorPrefix(err, "NOSCRIPT") && !loaded {
			// What counts is whether the script runs now: on a cluster a dead
			// replica fails the load although every live master has the script.
			loadErr, loaded = r.load(ctx, s), true
			continue
		}
		lost := mayHaveRun(err)
		resent = resent || lost
		again := transient(err) || notSent(err) || lost && s.repeatable
		if !again || attempt >= attempts || !pause(ctx, attempt) {
			return Reply{}, failure(s, err, loadErr, resent)
		}
	}
}

// Load loads scripts on every master, all of the package's where none is
// named. It is best effort: scripts load where they can, and the first error
// is returned.
func (r *Runner) Load(ctx context.Context, scripts ...*Script) error {
	if len(scripts) == 0 {
		scripts = All()
	}
	var first error
	for _, s := range scripts {
		if err := r.load(ctx, s); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// load loads s on every master, once for all callers that ask meanwhile.
func (r *Runner) load(ctx context.Context, s *Script) error {
	done := r.loads.DoChan(s.sha, func() (any, error) {
		return nil, loadOn(context.WithoutCancel(ctx), r.rdb, s)
	})
	select {
	case res := <-done:
		return res.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func loadOn(ctx context.Context, rdb redis.UniversalClient, s *Script) error {
	one := func(ctx context.Context, c redis.Cmdable) error {
		sha, err := c.ScriptLoad(ctx, s.source).Result()
		if err == nil && sha != s.sha {
			err = errors.New("the server's digest is another")
		}
		return err
	}
	var err error
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return one(ctx, c) })
	} else {
		err = one(ctx, rdb)
	}
	if err != nil {
		return fmt.Errorf("lua: loading %s: %w", s.name, err)
	}
	return nil
}

// failure says how a run ended that gave no reply.
func failure(s *Script, err, loadErr error, resent bool) error {
	err, loadErr = Unquoted(err), Unquoted(loadErr)
	switch {
	case redis.HasErrorPrefix(err, "NOSCRIPT") && loadErr != nil:
		err = fmt.Errorf("%w: %w", ErrNotLoaded, loadErr)
	case redis.HasErrorPrefix(err, "NOSCRIPT"):
		err = fmt.Errorf("%w: %s is gone again after a load", ErrNotLoaded, s.name)
	default:
		err = fmt.Errorf("lua: %s: %w", s.name, err)
	}
	if resent {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return err
}

// transient reports whether the server said that it did nothing, for now.
func transient(err error) bool {
	return redis.IsLoadingError(err) || redis.IsReadOnlyError(err) || redis.IsClusterDownError(err) ||
		redis.IsTryAgainError(err) || redis.IsMasterDownError(err) || redis.IsMaxClientsError(err)
}

// notSent reports whether the command cannot have left the process.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted)
}

// mayHaveRun reports whether the command may have reached the server without
// its reply reaching us. An error that the server sent is a reply.
func mayHaveRun(err error) bool {
	var reply redis.Error
	return !errors.As(err, &reply) && !notSent(err) && !errors.Is(err, redis.ErrClosed)
}

// pause waits before the next attempt, and reports whether ctx lasted.
func pause(ctx context.Context, attempt int) bool {
	d := minBackoff << attempt
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
