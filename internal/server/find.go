package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// Env names the environment variable that chooses the server where
// [Options.Binary] does not: valkey-server, redis-server, a path, or embedded.
const Env = "SECURECACHE_SERVER"

// Embedded is the [Options.Binary] of the in-process fallback.
const Embedded = "embedded"

// Install is the line that puts a server on a Debian or Ubuntu machine.
const Install = "apt-get install --no-install-recommends redis-server"

// ErrNotInstalled is returned by [Start] where no server is on the PATH.
var ErrNotInstalled = errors.New("server: neither valkey-server nor redis-server is on the PATH; install one (" + Install + ") or set " + Env + "=" + Embedded)

// program is a server's binary.
type program struct{ path, name, version string }

var versionLine = regexp.MustCompile(`^(\w+) server v=(\d+\.\d+\.\d+)`)

// find looks a program up: by the name given, by the environment, or whichever
// is installed.
func find(ctx context.Context, name string) (program, error) {
	if name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return program{}, fmt.Errorf("server: %w; install it (%s) or choose another with %s", err, Install, Env)
		}
		return identify(ctx, path)
	}
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return identify(ctx, path)
		}
	}
	return program{}, ErrNotInstalled
}

// choice settles what [Options.Binary] left open.
func choice(binary string) string {
	if binary == "" {
		return os.Getenv(Env)
	}
	return binary
}

func identify(ctx context.Context, path string) (program, error) {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return program{}, fmt.Errorf("server: %s --version: %w", path, err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return program{}, fmt.Errorf("server: %s is not a server that is known here: its --version names none", path)
	}
	return program{path: path, name: strings.ToLower(string(m[1])), version: string(m[2])}, nil
}
