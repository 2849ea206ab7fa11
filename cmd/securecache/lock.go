package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache/lock"
)

func newLockCmd(a *app) *cobra.Command {
	return group("lock", "Run a command on one machine at a time", newLockRunCmd(a))
}

const (
	lockTTL  = 30 * time.Second
	lockWait = 10 * time.Second
)

func newLockRunCmd(a *app) *cobra.Command {
	ttl := lifetime{Duration: lockTTL}
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "run NAME [flags] -- COMMAND...",
		Short: "Run a command under a lock: exit status 7 if that is not obtained",
		Long: `Run a command while holding the lock of that name, as flock does, on all machines
together. Its exit status is passed on, 128 and the signal's number where a
signal ended it. Where the lock is not obtained, the command is not run and the
exit status is 7; a command may of course end with 7 itself, and then nothing is
said on standard error.

The lock is extended for as long as the command runs. If that has failed for two
thirds of the TTL, the command is sent SIGTERM; when the TTL is up, and somebody
else may begin, SIGKILL. On Linux it also ends where this process is killed.
Where it has a group of its own, which it does unless standard input is a
terminal, its children are sent the same signals.

SECURECACHE_FENCE tells the command a number greater than that of every run
before. A store that refuses smaller ones than it has seen is safe from a run
that was stopped, overtaken and woken again.`,
		Example: `  securecache lock run nightly-report --wait 0 -- /usr/local/bin/report --all
  */5 * * * * securecache lock run sync --ttl 1m -- sync.sh`,
		Args: lockRunArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait < 0 {
				return usage("--wait must not be less than 0")
			}
			if _, err := exec.LookPath(args[1]); err != nil {
				return notRunnable(err)
			}
			return a.lockRun(cmd.Context(), args[0], ttl.Duration, wait, args[1:])
		},
	}
	cmd.Flags().Var(&ttl, "ttl", "how long the lock outlives a machine that dies, 10ms to 24h (default 30s)")
	cmd.Flags().DurationVar(&wait, "wait", lockWait, "how long to wait for the lock; 0 not to")
	return cmd
}

// lockRunArgs wants the command behind two dashes, so that its flags are not
// taken for ours.
func lockRunArgs(cmd *cobra.Command, args []string) error {
	switch dash := cmd.ArgsLenAtDash(); {
	case len(args) == 0 || dash == 0:
		return errors.New("NAME is missing")
	case dash != 1 || len(args) < 2:
		return errors.New("a command stands behind two dashes: securecache lock run NAME -- COMMAND")
	}
	return nil
}

func (a *app) lockRun(ctx context.Context, name string, ttl, wait time.Duration, words []string) (err error) {
	c, err := a.cache(ctx, nil)
	if err != nil {
		return err
	}
	locks, err := lock.New(c, nil)
	if err != nil {
		return err
	}
	a.atExit(locks.Close)
	held, err := a.obtain(ctx, locks, name, ttl, wait)
	if err != nil {
		return err
	}
	defer func() { err = a.giveBack(held, err) }()
	return a.runUnder(held, ttl, words)
}

// obtain asks once under --timeout, and then waits.
func (a *app) obtain(ctx context.Context, locks *lock.Locker, name string, ttl, wait time.Duration) (*lock.Lock, error) {
	first, cancel := a.within(ctx)
	defer cancel()
	held, err := locks.Try(first, name, ttl)
	if wait > 0 && errors.Is(err, lock.ErrNotObtained) {
		waiting, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		held, err = locks.Obtain(waiting, name, ttl)
	}
	switch {
	case errors.Is(err, lock.ErrTTL):
		return nil, &failure{code: exitUsage, err: err, next: "give --ttl as 30s or 5m"}
	case errors.Is(err, lock.ErrNotObtained) && ctx.Err() == nil:
		return nil, &failure{code: exitNotNow, err: lock.ErrNotObtained, next: "wait for it with --wait"}
	}
	return held, err
}

// giveBack releases the lock after the command. Whatever becomes of that, the
// command's end is what counts.
func (a *app) giveBack(held *lock.Lock, ended error) error {
	ctx, cancel := a.within(context.Background()) // also after Ctrl-C
	defer cancel()
	switch err := held.Release(ctx); {
	case err == nil || errors.Is(ended, errLockLost):
	case errors.Is(err, lock.ErrLost):
		a.note("securecache: the lock was another's before the command had ended")
	default:
		a.note("securecache: the lock was not released and ends by itself: %s", trimOrigin(err.Error()))
	}
	return ended
}

// errLockLost says that the command was ended for want of the lock.
var errLockLost = errors.New("the lock was lost and the command ended")

// notRunnable is a command that cannot be started, with the exit status that
// shells give it.
func notRunnable(err error) error {
	code := 126
	if errors.Is(err, exec.ErrNotFound) {
		code = 127
	}
	return &failure{code: code, err: fmt.Errorf("the command: %w", err)}
}
