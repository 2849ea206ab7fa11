package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

func TestMain(m *testing.M) {
	if parent(os.Args) {
		return
	}
	servertest.Main(m)
}

const key = "sc:dev:v:{blind}"

func dial(t *testing.T, o *redis.Options) *redis.Client {
	t.Helper()
	o.MaxRetries, o.DialerRetries = -1, 1
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func TestStart(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := servertest.Start(t, server.Options{Binary: binary})
		app, admin := dial(t, s.Options()), dial(t, s.AdminOptions())
		if err := app.Set(t.Context(), key, "x", 0).Err(); err != nil {
			t.Error(err)
		}
		if s.Lacks() != nil {
			t.Errorf("lacks %v", s.Lacks())
		}
		text, err := admin.Info(t.Context(), "server").Result()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, s.Name()+"_version:"+s.Version()+"\r\n") {
			t.Errorf("%s %s is not what INFO says", s.Name(), s.Version())
		}
		if !strings.Contains(binary, s.Name()) {
			t.Errorf("%s runs where %s was asked for", s.Name(), binary)
		}
		if saved, err := admin.ConfigGet(t.Context(), "save").Result(); err != nil || saved["save"] != "" {
			t.Errorf("it saves: %v, %v", saved, err)
		}
		if !strings.Contains(s.Log(), "Ready to accept connections") {
			t.Errorf("log %q", s.Log())
		}
		t.Run("URL", func(t *testing.T) { urlsWork(t, s) })
		t.Run("files", func(t *testing.T) { filesArePrivate(t, s) })
		t.Run("strangers", func(t *testing.T) { strangersAreRefused(t, s) })
		t.Run("monitor", func(t *testing.T) { monitorSees(t, s) })
	})
}

func urlsWork(t *testing.T, s *server.Server) {
	for _, link := range []string{s.URL(), s.OperatorURL()} {
		o, err := redis.ParseURL(link)
		if err != nil {
			t.Fatal(err)
		}
		o.TLSConfig = s.TLS()
		if err := dial(t, o).Get(t.Context(), key).Err(); err != nil {
			t.Error(err)
		}
	}
}

func filesArePrivate(t *testing.T, s *server.Server) {
	if info, err := os.Stat(s.Dir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: want mode 0700", info, err)
	}
	for _, path := range []string{s.CAFile(), s.CertFile(), s.KeyFile(), filepath.Join(s.Dir(), "users.acl")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, want mode 0600", path, err)
		}
	}
	if _, err := tls.LoadX509KeyPair(s.CertFile(), s.KeyFile()); err != nil {
		t.Error(err)
	}
}

// strangersAreRefused tries who must not get in.
func strangersAreRefused(t *testing.T, s *server.Server) {
	tests := map[string]struct {
		change func(*redis.Options)
		want   string
	}{
		"no certificate": {func(o *redis.Options) { o.TLSConfig.Certificates = nil }, "certificate required"},
		"no TLS":         {func(o *redis.Options) { o.TLSConfig = nil }, ""},
		"no login":       {func(o *redis.Options) { o.Username, o.Password = "", "" }, "NOAUTH"},
		"default user":   {func(o *redis.Options) { o.Username = "default" }, "WRONGPASS"},
		"wrong password": {func(o *redis.Options) { o.Password = "guess" }, "WRONGPASS"},
		"TLS 1.1": {func(o *redis.Options) {
			o.TLSConfig.MinVersion, o.TLSConfig.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
		}, "version"},
		"other CA": {func(o *redis.Options) { o.TLSConfig.RootCAs = nil }, "unknown authority"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := s.Options()
			tt.change(o)
			err := dial(t, o).Ping(t.Context()).Err()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
		})
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		o := s.Options()
		o.TLSConfig.MinVersion, o.TLSConfig.MaxVersion = version, version
		if err := dial(t, o).Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// monitorSees reads a command of the application's from MONITOR.
func monitorSees(t *testing.T, s *server.Server) {
	monitor, err := s.Monitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(t, s.Options()).Exists(t.Context(), "sc:dev:v:seen").Err(); err != nil {
		t.Fatal(err)
	}
	seen := false
	for lines := bufio.NewScanner(monitor); !seen && lines.Scan(); {
		seen = strings.Contains(lines.Text(), `"exists" "sc:dev:v:seen"`)
	}
	if !seen {
		t.Error("MONITOR ended before it showed the command")
	}
	if err := monitor.Close(); err != nil {
		t.Error(err)
	}
}

func TestKillStopRestart(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		for name, persist := range map[string]bool{"persistent": true, "forgetful": false} {
			t.Run(name, func(t *testing.T) {
				s := servertest.Start(t, server.Options{Binary: binary, Persist: persist})
				rdb := dial(t, s.Options())
				addr := s.Addr()
				for way, end := range map[string]func() error{"kill": s.Kill, "stop": s.Stop} {
					if err := rdb.Set(t.Context(), key, way, 0).Err(); err != nil {
						t.Fatal(err)
					}
					for range 2 { // the second finds nothing to do
						if err := end(); err != nil {
							t.Fatal(err)
						}
					}
					if err := rdb.Ping(t.Context()).Err(); err == nil {
						t.Fatalf("answers after %s", way)
					}
					if err := s.Restart(t.Context()); err != nil {
						t.Fatal(err)
					}
					got, err := dial(t, s.Options()).Get(t.Context(), key).Result()
					if persist && (got != way || err != nil) || !persist && err != redis.Nil {
						t.Errorf("after %s: %q, %v", way, got, err)
					}
				}
				if err := s.Restart(t.Context()); err != nil || s.Addr() != addr {
					t.Errorf("a running server: %v, %s", err, s.Addr())
				}
			})
		}
	})
}

// TestScriptsSurvive holds what a script has written at once to a restart: the
// server replays it as its default user.
func TestScriptsSurvive(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := servertest.Start(t, server.Options{Binary: binary, Persist: true})
		rdb := dial(t, s.AdminOptions())
		const pair = "redis.call('SET', KEYS[1], 'v') redis.call('SET', KEYS[2], 'v')"
		if err := rdb.Eval(t.Context(), pair, []string{key, key + ":part"}).Err(); err != redis.Nil {
			t.Fatal(err)
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := dial(t, s.AdminOptions()).Exists(t.Context(), key, key+":part").Result(); n != 2 || err != nil {
			t.Errorf("%d of 2 keys are left, %v", n, err)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := servertest.Start(t, server.Options{Binary: binary})
		rdb := dial(t, s.Options())
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := rdb.Ping(short).Err(); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a paused server: %v", err)
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Error(err)
		}
		// A paused server cannot hear SIGTERM.
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		late := servertest.Late(time.Now().Add(3 * time.Second))
		if err := s.Stop(); err != nil || late() > time.Second {
			t.Errorf("stopping a paused server: %v, or it took more than 4 s", err)
		}
		if s.Pause() == nil || s.Resume() == nil {
			t.Error("a stopped server was paused")
		}
	})
}

func TestClose(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := servertest.Start(t, server.Options{Binary: binary, Persist: true})
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
			t.Errorf("the directory is still there: %v", err)
		}
		if _, err := net.DialTimeout("tcp", s.Addr(), time.Second); err == nil {
			t.Error("the port is still open")
		}
		if err := s.Restart(t.Context()); err == nil {
			t.Error("restarted after Close")
		}
	})
}

func TestStartFails(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
		tests := map[string]struct {
			o    server.Options
			want string
		}{
			"log in the error":  {server.Options{Config: []string{"nonsense 1"}}, "nonsense 1"},
			"port taken":        {server.Options{Config: []string{"tls-port " + port}}, "the port was taken"},
			"two lines in one":  {server.Options{Config: []string{"maxclients 10\nport 6379"}}, "one line"},
			"bad namespace":     {server.Options{Namespace: "a b"}, "namespace"},
			"forbidden command": {server.Options{Commands: []string{"eval"}}, "eval"},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				tt.o.Binary = binary
				s, err := server.Start(t.Context(), tt.o)
				if err == nil {
					_ = s.Close()
					t.Fatal("started")
				}
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q in it", err, tt.want)
				}
			})
		}
		t.Run("cancelled", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if s, err := server.Start(ctx, server.Options{Binary: binary}); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, %v", s, err)
			}
		})
	})
}

func TestWhichServer(t *testing.T) {
	t.Run("none installed", func(t *testing.T) {
		t.Setenv(server.Env, "")
		t.Setenv("PATH", t.TempDir())
		if _, err := server.Start(t.Context(), server.Options{}); !errors.Is(err, server.ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install") {
			t.Errorf("%v", err)
		}
		if _, err := server.StartCluster(t.Context(), server.Options{Fallback: true}); !errors.Is(err, server.ErrNotInstalled) {
			t.Errorf("cluster: %v", err)
		}
		s := servertest.Start(t, server.Options{Fallback: true})
		if s.Name() != "miniredis" {
			t.Errorf("fell back to %s", s.Name())
		}
	})
	t.Run("not there", func(t *testing.T) {
		t.Setenv(server.Env, "no-such-server")
		// A choice that cannot be kept is an error, not a reason to fall back.
		if _, err := server.Start(t.Context(), server.Options{Fallback: true}); err == nil || !strings.Contains(err.Error(), "no-such-server") {
			t.Errorf("%v", err)
		}
	})
	t.Run("not a server", func(t *testing.T) {
		if _, err := server.Start(t.Context(), server.Options{Binary: "true"}); err == nil || !strings.Contains(err.Error(), "not a server") {
			t.Errorf("%v", err)
		}
	})
	t.Run("embedded by the environment", func(t *testing.T) {
		t.Setenv(server.Env, server.Embedded)
		s := servertest.Start(t, server.Options{})
		if s.Name() != "miniredis" {
			t.Errorf("%s", s.Name())
		}
	})
}

// TestFreePort: nobody listens on any of them, and yet none comes twice.
func TestFreePort(t *testing.T) {
	seen := map[int]bool{}
	for range 1000 {
		port, err := server.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("%d was handed out twice", port)
		}
		seen[port] = true
	}
}
