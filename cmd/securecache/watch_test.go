package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// startWatch starts to watch, and returns what reads an event and what reads the
// rest.
func startWatch(t *testing.T, cmd *exec.Cmd) (next func() watched, rest func() string) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	next = func() (e watched) {
		t.Helper()
		line, err := lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return e
	}
	return next, func() string {
		t.Helper()
		text, err := io.ReadAll(lines)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// TestWatchEnds has watch print as it goes, end with status 0 when it is told
// to, and leave nothing claimed behind.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	command := commandRig(t, "--shards", "4")
	store := func(name string) {
		t.Helper()
		set := command("set", name, "--ttl", "500ms")
		set.Stdin = strings.NewReader("value")
		if out, err := set.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for i, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		cmd := command("watch", "-o", "json")
		next, rest := startWatch(t, cmd)
		for n := range 2 { // the second while it listens
			name := fmt.Sprintf("name %d of %d", n, i)
			store(name)
			if e := next(); e.Name != name || e.ID == "" || e.Attempt != 1 || e.Deadline == nil {
				t.Errorf("%+v", e)
			}
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if text := rest(); text != "" {
			t.Errorf("and then %q", text)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", signal, err)
		}
	}

	// Interrupted before there were as many as was asked for.
	cmd := command("watch", "--count", "2", "-o", "json")
	next, rest := startWatch(t, cmd)
	store("one of two")
	next()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = rest()
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != exitError {
		t.Errorf("interrupted: exit status %d", cmd.ProcessState.ExitCode())
	}

	// What it has taken and not printed is given back: nothing comes twice.
	const many = 3
	for i := range many {
		store(fmt.Sprint(i))
	}
	seen := map[string]bool{}
	for range many {
		out, err := command("watch", "--count", "1", "-o", "json").Output()
		var e watched
		if err == nil {
			err = json.Unmarshal(out, &e)
		}
		if err != nil || e.Attempt != 1 || seen[e.ID] {
			t.Errorf("%s, %v", out, err)
		}
		seen[e.ID] = true
	}
}
