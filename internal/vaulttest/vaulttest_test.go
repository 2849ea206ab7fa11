package vaulttest_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/securecache/securecache-go/internal/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	s := vaulttest.New(t)
	if !strings.Contains(s.Version, "1.") {
		t.Errorf("version %q", s.Version)
	}
	if _, err := s.Write(t.Context(), "kv/data/x", map[string]any{"data": map[string]any{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Admin().Logical().Read("kv/data/x"); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("sealed, and reading gives %v", err)
	}
	if err := s.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Admin().Logical().Read("kv/data/x"); err != nil || got == nil {
		t.Errorf("after unsealing: %v, %v", got, err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	binary := os.Getenv(vaulttest.Variable)
	if binary == "" {
		t.Skip("needs a real Vault: make test-vault")
	}
	t.Setenv("TMPDIR", t.TempDir())
	s, err := vaulttest.Start(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(s.Address, "https://")); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStartFails(t *testing.T) {
	odd := filepath.Join(t.TempDir(), "vault")
	if err := os.WriteFile(odd, []byte("#!/bin/sh\nif [ \"$1\" = version ]; then echo Vault v0; else echo no such flag >&2; exit 2; fi\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ binary, want string }{
		"absent":     {"/absent/vault", "version"},
		"fails":      {"false", "version"},
		"ends early": {odd, "no such flag"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			s, err := vaulttest.Start(t.Context(), tc.binary)
			if err == nil {
				s.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
			if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// Outside of tests, in a benchmark's main for instance, Start and Close are
// called by hand.
func ExampleStart() {
	s, err := vaulttest.Start(context.Background(), "vault")
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println(s.Address)
}
