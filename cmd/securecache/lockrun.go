package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/securecache/securecache-go/securecache/lock"
)

// fenceVariable tells a command under a lock its fence.
const fenceVariable = "SECURECACHE_FENCE"

// lostGrace is what a command has to end in whose lock the server has given
// away.
const lostGrace = time.Second

// passed is the exit status of a command that was run for the user, who is told
// nothing else.
type passed int

func (p passed) Error() string { return "the command's exit status is " + strconv.Itoa(int(p)) }

// runUnder runs a command until it ends or the lock does.
func (a *app) runUnder(held *lock.Lock, ttl time.Duration, words []string) error {
	child := exec.Command(words[0], words[1:]...)
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d", fenceVariable, held.Fence()))
	child.Stdin, child.Stdout, child.Stderr = a.stdin, a.stdout, a.stderr
	u := &underLock{child: child, held: held, ttl: ttl, group: !isTerminal(a.stdin), ended: make(chan error, 1)}
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: u.group}
	tie(child.SysProcAttr)
	// Ours to pass on, also the second Ctrl-C, which would end this process.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := u.start(); err != nil {
		return notRunnable(err)
	}
	return u.watch(a, signals)
}

// underLock is a command that runs while its lock is held.
type underLock struct {
	child *exec.Cmd
	held  *lock.Lock
	ttl   time.Duration
	group bool // of its own
	ended chan error
}

// start starts the command and reaps it from one thread, to whose life Linux
// ties that of the child.
func (u *underLock) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := u.child.Start()
		started <- err
		if err == nil {
			u.ended <- u.child.Wait()
		}
	}()
	return <-started
}

func (u *underLock) send(s os.Signal) {
	number, ok := s.(syscall.Signal)
	if !ok {
		return
	}
	to := u.child.Process.Pid
	if u.group {
		to = -to
	}
	// Not reaped before watch has heard of it: the number is still the child's.
	_ = syscall.Kill(to, number)
}

// watch passes on signals, and ends the command when the lock ends, or is about
// to for want of an extension.
func (u *underLock) watch(a *app, signals <-chan os.Signal) error {
	lost, kill := u.held.Context().Done(), (<-chan time.Time)(nil)
	warned := false
	for {
		var danger <-chan time.Time
		if left := time.Until(u.held.Until()) - u.ttl/3; !warned && left > 0 {
			danger = time.After(left)
		} else if !warned {
			warned = true
			a.note("securecache: the lock cannot be extended; the command is asked to end")
			u.send(syscall.SIGTERM)
		}
		select {
		case err := <-u.ended:
			return u.status(err)
		case s := <-signals:
			u.send(s)
		case <-danger: // or the lock has been extended since
		case <-lost:
			lost = nil
			if warned {
				u.send(syscall.SIGKILL)
				continue
			}
			warned = true
			a.note("securecache: the lock is lost; the command is asked to end")
			u.send(syscall.SIGTERM)
			kill = time.After(lostGrace)
		case <-kill:
			u.send(syscall.SIGKILL)
		}
	}
}

// status is how the command ended, as a shell has it.
func (u *underLock) status(err error) error {
	var exit *exec.ExitError
	switch {
	case u.held.Context().Err() != nil:
		return &failure{code: exitError, err: errLockLost, next: "see that the server is there, and give more time with --ttl"}
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("the command: %w", err)
	}
	state, ok := exit.Sys().(syscall.WaitStatus)
	if ok && state.Signaled() {
		return passed(128 + int(state.Signal()))
	}
	return passed(exit.ExitCode())
}
