package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/internal/server"
)

// measured runs the benchmark, too short for its figures to mean anything.
func measured(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	err := run(t.Context(), append([]string{"-rounds", "1", "-patience", "1", "-seconds", "0.01"}, args...), &out, io.Discard)
	if errors.Is(err, server.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRunFillsEveryRow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "RESULTS.md")
	text := measured(t, "-reseal", "6000", "-volatile", "2000", "-o", path, "-only", "^(Seal|Open|Blind|Make|Set 100 B, 64|Get 16 KiB, 1 g|Find a session|Get a session|Obtain|Allow|Check|Memory|250 ms|Re-seal|2000 ends)")
	written, err := os.ReadFile(path)
	if err != nil || string(written) != text {
		t.Errorf("the file holds something else: %v", err)
	}
	for _, want := range []string{
		"Seal 1 KiB", "Open 1 KiB", "Blind a 40-byte name", "Memory of an 84-byte token", "250 ms deadline, server paused",
		"Set 100 B, 64 goroutines", "Get 16 KiB, 1 goroutine ", "securecache, Batch", "go-redis, raw, autopipeline", "rueidis, raw",
		"go-redis + HMAC and AES-GCM alone", "go-redis/cache + tink AEAD", "go-redis + fernet", "Vault transit + go-redis", "scs' goredisstore", "securecache, session.SCS", "scs with session.SCS, gob", "Cache.Reseal, heap", "with its SCAN, memory",
		"securecache/expiry, doorbell", "securecache/expiry, idle", "a timer, meanwhile",
		"Allow what is within a limit, 64 goroutines", "redis_rate", "bsm/redislock", "securecache, lock, Batch", "Check a token, 64 goroutines", "two GETs in a pipeline",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no row says %q", want)
		}
	}
	if host, err := os.Hostname(); err == nil && len(host) > 3 && strings.Contains(text, host) {
		t.Error("the results carry the host's name")
	}
}

func TestRunOnly(t *testing.T) {
	text := measured(t, "-only", "^Get 1 KiB, 1 goroutine, go-redis . fernet$")
	lines := strings.Split(text, "\n")
	var rows []string
	for _, line := range lines {
		if strings.HasPrefix(line, "| Get") {
			rows = append(rows, line)
		}
	}
	if len(rows) != 2 || !strings.Contains(rows[0], "go-redis, raw") || !strings.Contains(rows[1], "fernet") {
		t.Errorf("rows: %q", rows)
	}
}

func TestRunRefusesFlags(t *testing.T) {
	for name, args := range map[string][]string{
		"an argument":   {"x"},
		"no rounds":     {"-rounds", "0"},
		"no time":       {"-seconds", "0"},
		"a bad pattern": {"-only", "("},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
				t.Error("accepted")
			}
		})
	}
}
