package server_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

func TestEmbedded(t *testing.T) {
	s := servertest.Start(t, server.Options{Binary: server.Embedded})
	if s.Name() != "miniredis" || s.Version() == "" || len(s.Lacks()) == 0 || s.Log() != "" {
		t.Errorf("%s %s lacks %v, log %q", s.Name(), s.Version(), s.Lacks(), s.Log())
	}
	t.Run("every login", func(t *testing.T) {
		for _, o := range []*redis.Options{s.Options(), s.OperatorOptions(), s.AdminOptions()} {
			if err := dial(t, o).Set(t.Context(), key, "x", 0).Err(); err != nil {
				t.Errorf("%s: %v", o.Username, err)
			}
		}
	})
	t.Run("URL", func(t *testing.T) { urlsWork(t, s) })
	t.Run("strangers", func(t *testing.T) {
		tests := map[string]func(*redis.Options){
			"no certificate": func(o *redis.Options) { o.TLSConfig.Certificates = nil },
			"no TLS":         func(o *redis.Options) { o.TLSConfig = nil },
			"wrong password": func(o *redis.Options) { o.Password = "guess" },
			"no login":       func(o *redis.Options) { o.Username, o.Password = "", "" },
		}
		for name, change := range tests {
			o := s.Options()
			change(o)
			if err := dial(t, o).Get(t.Context(), key).Err(); err == nil || err == redis.Nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("faults", func(t *testing.T) { embeddedFaults(t, s) })
}

func embeddedFaults(t *testing.T, s *server.Server) {
	addr := s.Addr()
	if err := s.Pause(); !errors.Is(err, server.ErrLacking) {
		t.Errorf("Pause: %v", err)
	}
	for _, end := range []func() error{s.Kill, s.Kill, s.Stop} {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
	if err := dial(t, s.Options()).Ping(t.Context()).Err(); err == nil {
		t.Error("answers after Kill")
	}
	if err := s.Restart(t.Context()); err != nil || s.Addr() != addr {
		t.Fatalf("%v, %s", err, s.Addr())
	}
	if err := dial(t, s.Options()).Get(t.Context(), key).Err(); err != redis.Nil {
		t.Errorf("a restarted server is not empty: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

// TestEmbeddedClockRuns waits for a TTL to end by itself.
func TestEmbeddedClockRuns(t *testing.T) {
	s := servertest.Start(t, server.Options{Binary: server.Embedded})
	rdb := dial(t, s.Options())
	if err := rdb.Set(t.Context(), key, "x", 50*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if rdb.Get(t.Context(), key).Err() == redis.Nil {
			tick.Stop()
			return
		}
		select {
		case <-deadline:
			t.Fatal("the TTL did not end")
		case <-tick.C:
		}
	}
}

func TestEmbeddedScripts(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), "fips140=only") {
		t.Skip("miniredis computes SHA-1 for SCRIPT LOAD, which GODEBUG=fips140=only forbids")
	}
	s := servertest.Start(t, server.Options{Binary: server.Embedded})
	rdb := dial(t, s.Options())
	sha, err := rdb.ScriptLoad(t.Context(), "return redis.call('SET', KEYS[1], ARGV[1])").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.EvalSha(t.Context(), sha, []string{key}, "x").Err(); err != nil {
		t.Error(err)
	}
}

func TestNoEmbeddedCluster(t *testing.T) {
	o := server.Options{Binary: server.Embedded}
	if _, err := server.StartCluster(t.Context(), o); !errors.Is(err, server.ErrLacking) {
		t.Errorf("%v", err)
	}
	if _, err := server.StartSentinel(t.Context(), o); !errors.Is(err, server.ErrLacking) {
		t.Errorf("%v", err)
	}
}
