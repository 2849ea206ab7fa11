package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// machine is one of those that have the job in their crontab.
type machine struct {
	command string
	env     []string
}

func (m machine) run(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), m.command, "-dir", dir)
	cmd.Env = m.env
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s", err, &said)
	}
	return said.String()
}

// setUp builds the job and the command, and returns a machine that runs them,
// and the locks that they are under.
func setUp(t *testing.T) (machine, *lock.Locker) {
	t.Helper()
	env := securecachetest.Start(t)
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", bin, ".", "../../cmd/securecache").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	path := filepath.Join(t.TempDir(), "keyring.json")
	store := keys.NewFile(path)
	if err := keys.Create(t.Context(), env.Namespace, store, keys.InsecurePlain(), keys.Layout{}); err != nil {
		t.Fatal(err)
	}
	keyring, err := keys.Open(t.Context(), env.Namespace, store, keys.InsecurePlain(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keyring.Close() })
	cache, err := securecache.New(env.Client, keyring, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close() })
	locks, err := lock.New(cache, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = locks.Close() })
	return machine{filepath.Join(bin, "cron"), append(os.Environ(),
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"REDIS_URL="+env.Server.URL(), "SECURECACHE_TLS_CA="+env.Files.CA,
		"SECURECACHE_TLS_CERT="+env.Files.Cert, "SECURECACHE_TLS_KEY="+env.Files.Key,
		"SECURECACHE_NAMESPACE="+env.Namespace, "SECURECACHE_KEYRING=file:"+path, "SECURECACHE_WRAP=insecure-plain",
	)}, locks
}

func TestOneMachineRunsIt(t *testing.T) {
	m, locks := setUp(t)
	dir := t.TempDir()
	err := locks.Do(t.Context(), lockName, time.Minute, func(context.Context) error { // another machine
		if said := m.run(t, dir); !strings.Contains(said, "held by somebody else") {
			t.Errorf("while another has the lock, it said %q", said)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if path, err := latest(dir); err == nil {
		t.Errorf("while another had the lock, it wrote %s", path)
	}
	var last string
	for range 2 { // two nights
		said := m.run(t, dir)
		path, err := latest(dir)
		if err != nil || said != "wrote "+path+"\n" || path <= last {
			t.Errorf("it said %q, the latest is %s after %s, %v", said, path, last, err)
		}
		last = path
	}
}

// TestOvertaken has a machine finish that was stopped while another did its work.
func TestOvertaken(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 7, 1, 3, 0, 0, 0, time.UTC)
	newer, err := report(dir, 1_780_000_000_000_001, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := report(dir, 1_780_000_000_000_000, now); err != nil {
		t.Fatal(err)
	}
	if path, err := latest(dir); path != newer || err != nil {
		t.Errorf("the latest is %s, %v", path, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "draft-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
