// Package servertest runs a test on every server that is installed.
package servertest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/securecache/securecache-go/internal/server"
)

// Each runs f in a parallel subtest for each real server on the PATH, or for
// the one that the environment names. Where there is none the test is skipped
// with the reason; with CI=true that is a failure.
func Each(t *testing.T, f func(t *testing.T, binary string)) {
	t.Helper()
	for _, name := range installed(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, name)
		})
	}
}

func installed(t *testing.T) (names []string) {
	t.Helper()
	switch chosen := os.Getenv(server.Env); chosen {
	case server.Embedded:
		t.Skip("this needs a real server, and " + server.Env + " chooses the embedded one")
	case "":
	default:
		return []string{chosen}
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if _, err := exec.LookPath(name); err == nil {
			names = append(names, name)
		}
	}
	if names == nil && os.Getenv("CI") == "true" {
		t.Fatal(server.ErrNotInstalled)
	}
	if names == nil {
		t.Skip("this needs a real server, and none is installed (" + server.Install + ")")
	}
	return names
}

// Start starts a server and closes it when the test ends.
func Start(t *testing.T, o server.Options) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
