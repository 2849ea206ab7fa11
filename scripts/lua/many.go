package lua

import (
	"cmp"
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Call is one run of a script among many: its keys, which share a slot, and its
// arguments.
type Call struct {
	Keys []string
	Args []any
}

// Outcome is what became of one call of many.
type Outcome struct {
	Reply
	Err error
}

// loadsInVain is how often in a row a load may help none of many calls.
const loadsInVain = 3

// RunMany calls s once for each of calls, in one round trip a node, more where a
// node has to load it first, and answers each in its place. go-redis sends a
// [Repeatable] script again as it does a plain command, out of sight, so that
// Resent is never set: its answers have to tell a repetition themselves. Any
// other is sent once, and where its reply is lost the error matches
// [ErrOutcomeUnknown]. A send other
// than nil takes the place of a pipeline on the runner's client; it returns each
// command's error, and gives up when its context ends.
func (r *Runner) RunMany(ctx context.Context, s *Script, calls []Call, send func(context.Context, []redis.Cmder) []error) []Outcome {
	if send == nil {
		send = func(ctx context.Context, cmds []redis.Cmder) []error { return Pipeline(ctx, r.rdb, cmds) }
	}
	outcomes := make([]Outcome, len(calls))
	missing := make([]int, len(calls))
	for i := range missing {
		missing[i] = i
	}
	var loadErr error
	for inVain := 0; len(missing) > 0; {
		asked := len(missing)
		missing = runThose(ctx, s, calls, missing, outcomes, send)
		// Somebody may flush the scripts at any time: a load that helped some is
		// worth another.
		if len(missing) < asked {
			inVain = 0
		} else if inVain++; inVain == loadsInVain {
			break
		}
		if len(missing) > 0 {
			loadErr = r.load(ctx, s)
		}
	}
	for _, i := range missing {
		outcomes[i].Err = failure(s, outcomes[i].Err, loadErr, false)
	}
	return outcomes
}

// runThose runs the calls that which names, and returns the ones whose server
// does not have the script. It writes over which.
func runThose(ctx context.Context, s *Script, calls []Call, which []int, outcomes []Outcome, send func(context.Context, []redis.Cmder) []error) []int {
	cmds := make([]redis.Cmder, len(which))
	for n, i := range which {
		c := newCall(s, calls[i].Keys, calls[i].Args, false)
		cmds[n] = c
		if s.repeatable {
			cmds[n] = c.Cmd
		}
	}
	missing := which[:0]
	for n, err := range send(ctx, cmds) {
		i := which[n]
		switch {
		case err == nil || err == redis.Nil:
			outcomes[i] = Outcome{Reply: Reply{Value: cmds[n].(interface{ Val() any }).Val()}}
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			outcomes[i].Err = err
			missing = append(missing, i)
		default:
			outcomes[i].Err = failure(s, err, nil, mayHaveRun(err) && !s.repeatable)
		}
	}
	return missing
}

// Pipeline sends commands in one round trip a node, and returns each one's
// error. Where no answer came that is never nil: go-redis leaves commands without
// an error when the server refused the connection, or a hook gave up.
func Pipeline(ctx context.Context, rdb redis.UniversalClient, cmds []redis.Cmder) []error {
	pipe := rdb.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // queues them
	_, all := pipe.Exec(ctx)
	errs := make([]error, len(cmds))
	var first error
	for i, cmd := range cmds {
		errs[i] = cmd.Err()
		first = cmp.Or(first, errs[i])
	}
	if all == nil || first != nil && errors.Is(all, first) {
		return errs
	}
	for i, err := range errs {
		if err == nil {
			errs[i] = all
		}
	}
	return errs
}
