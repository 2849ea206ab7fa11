package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/securecache/securecache-go/internal/server"
)

// commandRig is a server with a keyring, made with these flags, and what starts
// the command on it, in a directory of its own.
func commandRig(t *testing.T, flags ...string) func(args ...string) *exec.Cmd {
	t.Helper()
	rig, dir := startRig(t, server.Options{}), t.TempDir()
	t.Cleanup(func() {
		if err := rig.server.Close(); err != nil {
			t.Error(err)
		}
	})
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "securecache", args...)
		cmd.Dir, cmd.Env = dir, append(bareEnvironment(), rig.environ(dir)...)
		return cmd
	}
	if out, err := command(append([]string{"keys", "create"}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return command
}

// TestLockRunOneAtATime has processes count in a file, which loses counts
// where two do so at once.
func TestLockRunOneAtATime(t *testing.T) {
	t.Parallel()
	command := commandRig(t)
	const processes = 12
	var wg sync.WaitGroup
	fences := make([]int, processes)
	for i := range processes {
		run := command("lock", "run", "count", "--wait", "1m", "--", "sh", "-c",
			`n=$(cat n 2>/dev/null || echo 0); sleep 0.02; echo $((n+1)) >n; echo $SECURECACHE_FENCE`)
		wg.Go(func() {
			var stderr bytes.Buffer
			run.Stderr = &stderr
			out, err := run.Output()
			if err != nil {
				t.Errorf("%v: %s", err, &stderr)
				return
			}
			fences[i], _ = strconv.Atoi(strings.TrimSpace(string(out)))
		})
	}
	wg.Wait()
	text, err := os.ReadFile(filepath.Join(command().Dir, "n"))
	if err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(processes) {
		t.Errorf("%d processes counted to %s, %v", processes, text, err)
	}
	seen := map[int]bool{}
	for _, f := range fences {
		if f == 0 || seen[f] {
			t.Errorf("fence %d twice", f)
		}
		seen[f] = true
	}
}

// TestLockRunKilled: a command does not outlive the process that holds its lock.
func TestLockRunKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child that its parent was killed")
	}
	t.Parallel()
	command := commandRig(t)
	run := command("lock", "run", "job", "--", "sh", "-c", `trap "echo told to end; exit" TERM; echo started; while :; do sleep 0.02; done`)
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "started\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := run.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines) // until the command has let go of it too
	if string(rest) != "told to end\n" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	_ = run.Wait()
}
