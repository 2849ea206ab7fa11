package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// grace is what a child gets to end by itself after a SIGTERM.
const grace = 5 * time.Second

var errNotRunning = errors.New("server: not running")

// child is a running process. Signals go through its os.Process, which never
// reaches a stranger that has come by the same number.
type child struct {
	process *os.Process
	done    chan struct{} // closed once the process is gone and reaped
}

// spawn starts path with args; its output is appended to the file log. The
// child dies when this process does, however that comes about.
func spawn(dir, log, path string, args ...string) (*child, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	// A terminal's Ctrl-C is for the parent, which then stops its children in
	// order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	started := make(chan error)
	c := &child{done: make(chan struct{})}
	go c.run(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("server: start %s: %w", path, err)
	}
	return c, nil
}

// run starts cmd and reaps it. It holds one thread for as long as the child
// lives: Linux ties the death signal to the thread that forked, not to the
// process, and would kill the child when the runtime let that thread go.
func (c *child) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)
	untie, err := startTied(cmd)
	if err != nil {
		started <- err
		return
	}
	c.process = cmd.Process
	started <- nil
	_ = cmd.Wait() // how it ended stands in its log
	untie()
}

// alive reports whether the process still runs.
func (c *child) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

func (c *child) signal(s syscall.Signal) error {
	err := c.process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return errNotRunning
	}
	return err
}

// kill ends the process at once.
func (c *child) kill() {
	_ = c.signal(syscall.SIGKILL)
	<-c.done
}

// stop asks the process to end, and ends it where it does not. A paused
// process cannot hear, so it is woken first.
func (c *child) stop() {
	_ = c.signal(syscall.SIGCONT)
	_ = c.signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.kill()
	}
}

// tail returns the last part of a log file, for an error.
func tail(path string) string {
	const length = 2048
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > length {
		_, _ = f.Seek(-length, io.SeekEnd)
	} else {
		_, _ = f.Seek(0, io.SeekStart)
	}
	text, _ := io.ReadAll(f)
	return string(text)
}
