package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// grace is what a command has to end in once it was told to.
const grace = 10 * time.Second

// runWith runs a command with the setup's environment added to ours, and takes
// on its exit status.
func (a *app) runWith(ctx context.Context, s *setup, words []string) error {
	child := exec.CommandContext(ctx, words[0], words[1:]...)
	child.Env = os.Environ()
	for _, v := range s.environment() {
		child.Env = append(child.Env, v.name+"="+v.value)
	}
	child.Stdin, child.Stdout, child.Stderr = a.stdin, a.stdout, a.stderr
	child.Cancel = func() error { return child.Process.Signal(os.Interrupt) }
	child.WaitDelay = grace
	err := child.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ended) && ended.Exited():
		return &failure{code: ended.ExitCode(), err: fmt.Errorf("%s: %w", words[0], err)}
	default:
		return fmt.Errorf("running %s: %w", words[0], err)
	}
}
