package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
)

func newLimitCmd(a *app) *cobra.Command {
	return group("limit", "Keep what many machines do within a limit", newLimitCheckCmd(a))
}

func newLimitCheckCmd(a *app) *cobra.Command {
	var rate rateFlag
	var burst int
	var algorithm algorithmFlag
	cmd := &cobra.Command{
		Use:   "check NAME --rate COUNT/PERIOD",
		Short: "Take one from what a rate allows: exit status 7 if none is left",
		Long: `Take one from what is left under a name, if there is one, and print what is left
then, and when to try again. The exit status is 0 where it was taken and 7 where
it was not; without an answer from the server it is 5 and nothing is allowed. All
that share a limit give the same rate and algorithm.

gcra is a bucket that holds --burst and fills evenly; fixed counts in windows
that begin with what is first taken; sliding counts in a window that moves along.`,
		Example: `  securecache limit check deploy --rate 10/1h && ./deploy.sh
  securecache limit check mail --rate 100/1m --burst 10 -o json`,
		Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if rate.Count == 0 {
				return usage("--rate is missing: how much in what time, as 10/1m")
			}
			if cmd.Flags().Changed("burst") && burst < 1 {
				return usage("--burst must be more than 0")
			}
			rate.Burst = burst
			return a.withCache(cmd, nil, func(ctx context.Context, c *securecache.Cache) error {
				return a.limitCheck(ctx, c, rate.Rate, algorithm.Algorithm, args[0])
			})
		},
	}
	cmd.Flags().Var(&rate, "rate", "how much in what time: 10/1m, 5/s")
	cmd.Flags().IntVar(&burst, "burst", 0, "how much at once, with gcra; as much as in the rate's time if not given")
	cmd.Flags().Var(&algorithm, "algorithm", "gcra, fixed or sliding")
	return cmd
}

func (a *app) limitCheck(ctx context.Context, c *securecache.Cache, r limit.Rate, algorithm limit.Algorithm, name string) error {
	l, err := limit.New(c, r, &limit.Options{Algorithm: algorithm})
	if errors.Is(err, limit.ErrRate) {
		return &failure{code: exitUsage, err: err, next: "change --rate, --burst or --algorithm"}
	}
	if err != nil {
		return err
	}
	res, err := l.Allow(ctx, name)
	if err != nil {
		return err
	}
	if err := a.showLimit(res); err != nil || res.Allowed {
		return err
	}
	return &failure{code: exitNotNow, err: errors.New("the limit is used up"), next: "try again in " + whole(res.RetryAfter)}
}

func (a *app) showLimit(res limit.Result) error {
	out := struct {
		Allowed    bool  `json:"allowed"`
		Limit      int   `json:"limit"`
		Remaining  int   `json:"remaining"`
		RetryAfter int64 `json:"retry_after_ms"`
		ResetAfter int64 `json:"reset_after_ms"`
	}{res.Allowed, res.Limit, res.Remaining, ceilMillis(res.RetryAfter), ceilMillis(res.ResetAfter)}
	return a.show(out, func(w io.Writer) error {
		text := fmt.Sprintf("allowed: %d of %d left, all of them in %s", res.Remaining, res.Limit, whole(res.ResetAfter))
		if !res.Allowed {
			text = fmt.Sprintf("refused: %d of %d left, try again in %s", res.Remaining, res.Limit, whole(res.RetryAfter))
		}
		_, err := fmt.Fprintln(w, text)
		return err
	})
}

// ceilMillis rounds up: who waits for as long shall not come too early.
func ceilMillis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

func whole(d time.Duration) string { return (time.Duration(ceilMillis(d)) * time.Millisecond).String() }

// rateFlag is the value of --rate.
type rateFlag struct{ limit.Rate }

func (r *rateFlag) Set(s string) (err error) {
	if r.Rate, err = limit.ParseRate(s); err != nil {
		return errors.New("it reads like 10/1m")
	}
	return nil
}

// String is empty until the flag was given.
func (r *rateFlag) String() string {
	if r.Count == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%s", r.Count, r.Period)
}

// Type is what --help calls the value.
func (*rateFlag) Type() string { return "rate" }

// algorithmFlag is the value of --algorithm.
type algorithmFlag struct{ limit.Algorithm }

var algorithmNames = [...]string{limit.GCRA: "gcra", limit.FixedWindow: "fixed", limit.SlidingWindow: "sliding"}

func (f *algorithmFlag) Set(s string) error {
	for algorithm, name := range algorithmNames {
		if s == name {
			f.Algorithm = limit.Algorithm(algorithm)
			return nil
		}
	}
	return errors.New("it must be gcra, fixed or sliding")
}

// String shows the algorithm, gcra where none was set.
func (f *algorithmFlag) String() string { return algorithmNames[f.Algorithm] }

// Type is what --help calls the value.
func (*algorithmFlag) Type() string { return "algorithm" }
