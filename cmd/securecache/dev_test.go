package main

import (
	"bufio"
	"bytes"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/securecache/securecache-go/internal/server"
)

// process is the command, running on its own with a directory of its own for
// temporary files.
type process struct {
	*exec.Cmd
	tmp    string
	stdout io.Reader
	stderr bytes.Buffer
}

// start starts the command with the given server.
func start(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), "securecache", args...), tmp: t.TempDir()}
	p.Env = append(bareEnvironment(), "TMPDIR="+p.tmp, server.Env+"="+binary)
	p.Stderr = &p.stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// bareEnvironment has nothing in it that configures the command.
func bareEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "SECURECACHE_") || strings.HasPrefix(v, redisEnv+"=")
	})
}

// end sends a signal and wants the exit status, and that no file is left.
func (p *process) end(t *testing.T, s syscall.Signal, status int) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	p.ended(t, status)
}

func (p *process) ended(t *testing.T, status int) {
	t.Helper()
	var failed *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if got := p.ProcessState.ExitCode(); got != status {
		t.Errorf("exit status %d, want %d; it said:\n%s", got, status, &p.stderr)
	}
	left, err := os.ReadDir(p.tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// readEnvironment reads what a shell would.
func readEnvironment(t *testing.T, text []byte) []string {
	t.Helper()
	var environment []string
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !ok || !strings.HasPrefix(line, "export ") {
			t.Fatalf("not for a shell: %q", line)
		}
		environment = append(environment, name+"="+strings.Trim(value, "'"))
	}
	return environment
}

// use runs a verb in an environment and returns what it prints.
func use(t *testing.T, environment []string, input string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "securecache", args...)
	cmd.Env = append(bareEnvironment(), environment...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("securecache %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// devServers are those that dev is tried on: what the machine has, and none.
func devServers(t *testing.T) []string {
	if fips140.Enforced() {
		t.Log("without the embedded server: its SCRIPT LOAD needs SHA-1, which FIPS 140-only mode forbids")
		return []string{"redis-server"}
	}
	return []string{"redis-server", server.Embedded}
}

func TestDevEnvironmentWorks(t *testing.T) {
	for _, binary := range devServers(t) {
		t.Run(binary, func(t *testing.T) {
			if binary != server.Embedded {
				needServer(t, binary)
			}
			t.Parallel()
			p := start(t, binary, "dev")
			// It closes its output once that is complete.
			text, err := io.ReadAll(p.stdout)
			if err != nil {
				t.Fatal(err)
			}
			environment := readEnvironment(t, text)
			const value = "hello, dev\n"
			use(t, environment, value, "set", "greeting", "--ttl", "10m")
			if got := use(t, environment, "", "get", "greeting"); got != value {
				t.Errorf("get = %q", got)
			}
			checkPrivate(t, p.tmp)
			address := addressOf(t, environment)
			p.end(t, syscall.SIGTERM, exitOK)
			if conn, err := net.Dial("tcp", address); err == nil {
				_ = conn.Close()
				t.Errorf("the server at %s is still there", address)
			}
			if said := p.stderr.String(); (binary == server.Embedded) != strings.Contains(said, "no ACL") {
				t.Errorf("it said\n%s", said)
			}
		})
	}
}

// checkPrivate checks that only their owner may enter or read anything.
func checkPrivate(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && filepath.Dir(path) == dir {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}

func addressOf(t *testing.T, environment []string) string {
	t.Helper()
	for _, v := range environment {
		if raw, ok := strings.CutPrefix(v, redisEnv+"="); ok {
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			return u.Host
		}
	}
	t.Fatalf("no %s in %q", redisEnv, environment)
	return ""
}

// anyServer is the embedded one unless it does not exist in this mode.
func anyServer(t *testing.T) string {
	servers := devServers(t)
	if servers[len(servers)-1] != server.Embedded {
		needServer(t, servers[0])
	}
	return servers[len(servers)-1]
}

func TestDevTellsPrograms(t *testing.T) {
	t.Parallel()
	p := start(t, anyServer(t), "dev", "-o", "json", "--namespace", "tried")
	var report devReport
	if err := json.NewDecoder(p.stdout).Decode(&report); err != nil {
		t.Fatal(err)
	}
	var environment []string
	for name, value := range report.Environment {
		environment = append(environment, name+"="+value)
	}
	if report.PID != p.Process.Pid || report.Server == "" || report.Embedded != (len(report.Lacks) > 0) || report.Environment["SECURECACHE_NAMESPACE"] != "tried" {
		t.Errorf("report %+v", report)
	}
	use(t, environment, "x", "set", "greeting", "--ttl", "10m")
	p.end(t, syscall.SIGINT, exitOK)
}

func TestDevWritesAnEnvironmentFile(t *testing.T) {
	t.Parallel()
	binary, path := anyServer(t), filepath.Join(t.TempDir(), "dev.env")
	p := start(t, binary, "dev", "--env-file", path)
	if text, err := io.ReadAll(p.stdout); err != nil || len(text) > 0 {
		t.Errorf("it printed %q, %v", text, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	use(t, readEnvironment(t, text), "x", "set", "greeting", "--ttl", "10m")

	second := start(t, binary, "dev", "--env-file", path)
	second.ended(t, exitError)
	if said := second.stderr.String(); !strings.Contains(said, "exists already") {
		t.Errorf("the second said %q", said)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, text) {
		t.Errorf("the second changed the file: %v", err)
	}
	p.end(t, syscall.SIGHUP, exitOK)
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestExportsAreForAShell(t *testing.T) {
	const odd = `it's $HOME "quoted" \ and ` + "`more`"
	script := exports([]variable{{"ODD", odd}}) + `printf %s "$ODD"`
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", script).Output()
	if err != nil || string(out) != odd {
		t.Errorf("the shell reads %q, %v", out, err)
	}
}

func TestDemoCleansUp(t *testing.T) {
	for name, interrupt := range map[string]func(*testing.T, *process){
		"interrupted": func(t *testing.T, p *process) { p.end(t, syscall.SIGINT, exitError) },
		"its reader goes away": func(t *testing.T, p *process) {
			if err := p.stdout.(io.Closer).Close(); err != nil {
				t.Fatal(err)
			}
			p.ended(t, exitError)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, anyServer(t), "demo")
			if line, err := bufio.NewReader(p.stdout).ReadString('\n'); err != nil || line == "" {
				t.Fatalf("%q, %v", line, err)
			}
			interrupt(t, p)
			if said := p.stderr.String(); !strings.Contains(said, "interrupted") {
				t.Errorf("it said %q", said)
			}
		})
	}
}

func TestDemoTellsPrograms(t *testing.T) {
	t.Parallel()
	p := start(t, anyServer(t), "demo", "-o", "json")
	var report demoReport
	if err := json.NewDecoder(p.stdout).Decode(&report); err != nil {
		t.Fatal(err)
	}
	if len(report.Checks) < 30 || report.Traffic == nil || len(report.Timings) == 0 {
		t.Errorf("report %+v", report)
	}
	for _, c := range report.Checks {
		if !c.OK {
			t.Errorf("%+v", c)
		}
	}
	p.ended(t, exitOK)
}

func TestWithoutAServerToRun(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"dev", "demo"} {
		p := start(t, "/no/such/server", verb)
		p.ended(t, exitError)
		if said := p.stderr.String(); !strings.Contains(said, "/no/such/server") || !strings.Contains(said, server.Env) {
			t.Errorf("%s said %q", verb, said)
		}
	}
}
