package securecachetest_test

import (
	"bufio"
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// A test of code that keeps sessions in a cache: one call sets up the server,
// its certificates, the application's login and the keyring.
func ExampleStart() {
	_ = func(t *testing.T) { // func TestLogin(t *testing.T)
		env := securecachetest.Start(t)
		if err := env.Cache.Set(t.Context(), "alice", []byte("a session"), time.Minute); err != nil {
			t.Fatal(err)
		}
		_ = env.Server.Kill() // and see what the code under test makes of it
	}
}

func TestStart(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		e := securecachetest.Start(t, securecachetest.WithServer(binary))
		if !strings.HasPrefix(binary, e.Server.Name()) || e.Server.Version() == "" || e.Server.Lacks() != nil {
			t.Errorf("%s %s, lacks %v", e.Server.Name(), e.Server.Version(), e.Server.Lacks())
		}
		t.Run("cache", func(t *testing.T) { cacheWorks(t, e.Cache) })
		t.Run("keyring", func(t *testing.T) {
			if ring, err := e.Keyring.Ring(); err != nil || e.Keyring.Namespace() != "test" || e.Namespace != "test" || ring == nil {
				t.Errorf("%v, %v, %s", ring, err, e.Namespace)
			}
		})
		t.Run("least privilege", func(t *testing.T) {
			for _, err := range []error{e.Client.FlushAll(t.Context()).Err(), e.Client.Get(t.Context(), "sc:other:v:x").Err()} {
				if err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
					t.Errorf("%v, want NOPERM", err)
				}
			}
			if err := e.Admin.Get(t.Context(), "sc:other:v:x").Err(); err != redis.Nil {
				t.Errorf("the administrator: %v", err)
			}
		})
		t.Run("URL", func(t *testing.T) {
			c, err := securecache.Dial(t.Context(), e.Server.URL(), e.TLS, e.Keyring, nil)
			if err != nil {
				t.Fatal(err)
			}
			cacheWorks(t, c)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			operator, err := securecache.Connect(e.Server.OperatorURL(), e.TLS)
			if err != nil {
				t.Fatal(err)
			}
			defer operator.Close()
			if err := operator.Scan(t.Context(), 0, "*", 10).Err(); err != nil {
				t.Error(err)
			}
		})
		t.Run("monitor", func(t *testing.T) { monitorWorks(t, e) })
		if !strings.Contains(e.Server.Log(), "Ready to accept") {
			t.Errorf("log %q", e.Server.Log())
		}
	})
}

func cacheWorks(t *testing.T, c *securecache.Cache) {
	t.Helper()
	if err := c.Set(t.Context(), "alice", []byte("secret"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(t.Context(), "alice"); string(got) != "secret" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

func monitorWorks(t *testing.T, e *securecachetest.Env) {
	monitor, err := e.Server.Monitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	if err := e.Client.Publish(t.Context(), "sc:test:l:x", "now").Err(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(monitor); lines.Scan(); {
		if strings.Contains(lines.Text(), `"sc:test:l:x" "now"`) {
			return
		}
	}
	t.Error("MONITOR ended before it showed the command")
}

func TestOptions(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		e := securecachetest.Start(t,
			securecachetest.WithServer(binary),
			securecachetest.WithLayout(keys.Layout{Prefix: "shop", Plain: true}),
			securecachetest.WithNamespace("carts"),
			securecachetest.WithCommands("incrby"),
			securecachetest.WithConfig("maxmemory 64mb", "maxmemory-policy noeviction"),
			securecachetest.WithPersistence(),
		)
		cacheWorks(t, e.Cache)
		if err := e.Admin.Get(t.Context(), "shop:carts:v:{alice}").Err(); err != nil {
			t.Errorf("the layout: %v", err)
		}
		if err := e.Client.IncrBy(t.Context(), "shop:carts:r:x", 1).Err(); err != nil {
			t.Errorf("WithCommands: %v", err)
		}
		if got, err := e.Admin.ConfigGet(t.Context(), "maxmemory").Result(); err != nil || got["maxmemory"] != "67108864" {
			t.Errorf("WithConfig: %v, %v", got, err)
		}
		if err := e.Server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := e.Server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(e.Server.Dir(), "appendonlydir")); err != nil {
			t.Error(err)
		}
		recovers(t, e.Cache)
	})
}

// recovers waits until the cache has its value again: connections that died
// with the server may cost a call each.
func recovers(t *testing.T, c *securecache.Cache) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := c.Get(ctx, "alice")
		if err == nil && string(got) == "secret" {
			return
		}
		if errors.Is(err, securecache.ErrMiss) {
			t.Fatal("the value is gone")
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%v; last %v", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func TestFaults(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		e := securecachetest.Start(t, securecachetest.WithServer(binary), securecachetest.WithPersistence())
		cacheWorks(t, e.Cache)
		addr := e.Server.Addr()
		if err := e.Server.Pause(); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := e.Cache.Get(short, "alice"); err == nil {
			t.Error("a paused server answers")
		}
		if err := e.Server.Resume(); err != nil {
			t.Fatal(err)
		}
		recovers(t, e.Cache)
		for name, end := range map[string]func() error{"Stop": e.Server.Stop, "Kill": e.Server.Kill} {
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if err := e.Server.Restart(t.Context()); err != nil || e.Server.Addr() != addr {
				t.Fatalf("%s: %v, %s", name, err, e.Server.Addr())
			}
			recovers(t, e.Cache)
		}
	})
}

func TestEmbedded(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), "fips140=only") {
		t.Skip("miniredis computes SHA-1 for SCRIPT LOAD, which GODEBUG=fips140=only forbids")
	}
	e := securecachetest.Start(t, securecachetest.Embedded())
	cacheWorks(t, e.Cache)
	if e.Server.Name() != "miniredis" || len(e.Server.Lacks()) == 0 {
		t.Errorf("%s lacks %v", e.Server.Name(), e.Server.Lacks())
	}
	if err := e.Server.Pause(); err == nil {
		t.Error("paused")
	}
}

// spy is a test that notes how it is ended.
type spy struct {
	testing.TB
	logged, skipped, failed string
	cleanups                []func()
}

func (s *spy) Helper()          {}
func (s *spy) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *spy) Log(args ...any) { s.logged += fmt.Sprintln(args...) }

func (s *spy) Skip(args ...any) {
	s.skipped = args[0].(error).Error()
	runtime.Goexit()
}

func (s *spy) Fatal(args ...any) {
	s.failed = args[0].(error).Error()
	runtime.Goexit()
}

// run calls f as a test of its own, and its cleanups.
func (s *spy) run(f func(testing.TB)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(s)
	}()
	<-done
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

// TestFallsBack: where none is installed, none is asked for and this is not CI.
func TestFallsBack(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("CI", "")
	t.Setenv(server.Env, "")
	s := &spy{TB: t}
	s.run(func(t testing.TB) {
		if e := securecachetest.Start(t); e.Server.Name() != "miniredis" {
			t.Errorf("it runs on %s", e.Server.Name())
		}
	})
	if fips140.Enforced() {
		if !strings.Contains(s.skipped, server.Install) {
			t.Errorf("skipped with %q", s.skipped)
		}
		return
	}
	if s.skipped+s.failed != "" || strings.Count(s.logged, "embedded server") != 1 || !strings.Contains(s.logged, "no ACL") {
		t.Errorf("skipped with %q, failed with %q, said %q", s.skipped, s.failed, s.logged)
	}
}

func TestWithoutServer(t *testing.T) {
	tests := map[string]struct {
		ci, chosen      string
		start           func(testing.TB)
		skipped, failed string
	}{
		"in CI":              {"true", "", func(t testing.TB) { securecachetest.Start(t) }, "", server.Install},
		"cluster at home":    {"", "", func(t testing.TB) { securecachetest.StartCluster(t) }, server.Install, ""},
		"sentinel in CI":     {"true", "", func(t testing.TB) { securecachetest.StartSentinel(t) }, "", server.Install},
		"embedded cluster":   {"true", server.Embedded, func(t testing.TB) { securecachetest.StartCluster(t) }, "embedded", ""},
		"embedded sentinel":  {"", server.Embedded, func(t testing.TB) { securecachetest.StartSentinel(t) }, "embedded", ""},
		"chosen and missing": {"", "no-such-server", func(t testing.TB) { securecachetest.Start(t) }, "", "no-such-server"},
		"bad namespace": {"", server.Embedded, func(t testing.TB) {
			securecachetest.Start(t, securecachetest.WithNamespace("a b"))
		}, "", "namespace"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			t.Setenv("CI", tt.ci)
			t.Setenv(server.Env, tt.chosen)
			s := &spy{TB: t}
			s.run(tt.start)
			if !strings.Contains(s.skipped, tt.skipped) || (s.skipped == "") != (tt.skipped == "") {
				t.Errorf("skipped with %q, want %q", s.skipped, tt.skipped)
			}
			if !strings.Contains(s.failed, tt.failed) || (s.failed == "") != (tt.failed == "") {
				t.Errorf("failed with %q, want %q", s.failed, tt.failed)
			}
		})
	}
}
