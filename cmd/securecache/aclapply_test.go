package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

// TestACLApplyKeeps applies a user to servers that keep users in their ACL
// file, in their configuration file, or nowhere, and restarts them.
func TestACLApplyKeeps(t *testing.T) {
	t.Run("ACL file", func(t *testing.T) {
		r := startRig(t, server.Options{})
		t.Cleanup(func() { check(t, r.server.Close()) })
		if r.server.Lacks() != nil {
			t.Skip("the embedded server has no ACL")
		}
		for _, v := range r.environ(t.TempDir()) {
			name, value, _ := strings.Cut(v, "=")
			t.Setenv(name, value)
		}
		t.Setenv(redisEnv, r.adminURL())
		said := apply(t)
		if !strings.Contains(said, "in the ACL file") {
			t.Errorf("said %q", said)
		}
		check(t, r.server.Restart(t.Context()))
		there(t, r.admin, true)
	})
	for name, kept := range map[string]bool{"configuration file": true, "until the server restarts": false} {
		t.Run(name, func(t *testing.T) {
			servertest.Each(t, func(t *testing.T, binary string) {
				plain := &plainServer{binary: binary, dir: t.TempDir(), file: kept}
				stop := plain.start(t)
				said := plain.apply(t)
				if !strings.Contains(said, name) {
					t.Errorf("said %q", said)
				}
				if next := "next: put the line above into"; strings.Contains(said, next) == kept {
					t.Errorf("said %q", said)
				}
				there(t, plain.client(t), true)
				stop()
				plain.start(t)
				there(t, plain.client(t), kept)
			})
		})
	}
}

// apply makes the user monitor and returns what the command says.
func apply(t *testing.T, more ...string) string {
	t.Helper()
	var said bytes.Buffer
	args := append([]string{"acl", "monitor", "--apply", "--yes"}, more...)
	if status := run(args, strings.NewReader(rolePassword), &said, &said); status != exitOK {
		t.Fatalf("exit status %d, %s", status, &said)
	}
	return said.String()
}

func there(t *testing.T, rdb *redis.Client, want bool) {
	t.Helper()
	users, err := rdb.Do(t.Context(), "acl", "users").StringSlice()
	check(t, err)
	if got := strings.Contains(strings.Join(users, " "), "monitor"); got != want {
		t.Errorf("the user is there: %t, want %t", got, want)
	}
}

// plainServer is a server as it comes, on a Unix socket alone.
type plainServer struct {
	binary, dir string
	file        bool // it has a configuration file
}

func (p *plainServer) socket() string { return filepath.Join(p.dir, "s") }

func (p *plainServer) apply(t *testing.T) string {
	return apply(t, "--redis", "unix://"+p.socket())
}

func (p *plainServer) client(t *testing.T) *redis.Client {
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: p.socket(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// start returns once the server answers, and what stops it.
func (p *plainServer) start(t *testing.T) (stop func()) {
	t.Helper()
	settings := []string{"--port", "0", "--unixsocket", p.socket(), "--save", "", "--dir", p.dir}
	if conf := filepath.Join(p.dir, "conf"); p.file {
		if _, err := os.Stat(conf); err != nil {
			check(t, os.WriteFile(conf, nil, 0o600))
		}
		settings = append([]string{conf}, settings...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, p.binary, settings...)
	check(t, cmd.Start())
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	rdb := p.client(t)
	await(t, "the server answers", func() bool { return rdb.Ping(t.Context()).Err() == nil })
	return stop
}
