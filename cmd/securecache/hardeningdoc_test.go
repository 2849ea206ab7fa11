package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

// shellBlock is a block of commands in the guide.
var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// packagedConf is what Debian installs, on a port and in a directory of the test.
const packagedConf = `bind 127.0.0.1 -::1
protected-mode yes
port PORT
timeout 0
tcp-keepalive 300
daemonize yes
pidfile DIR/server.pid
logfile DIR/server.log
dir DIR
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
`

// prelude stands in for what a test cannot have: the superuser, systemd, and
// somebody to answer. It notes the exit status of each call of the command.
const prelude = `set -eu
sudo() { "$@"; }
install() { shift 6; cp "$@"; }
systemctl() {
  kill "$(cat DIR/server.pid)"
  while [ -e DIR/server.pid ]; do sleep 0.05; done
  start
}
start() {
  rm -f DIR/server.log
  BINARY DIR/server.conf
  until grep -q 'Ready to accept connections' DIR/server.log; do sleep 0.05; done
}
securecache() {
  case "$*" in *--fix*) set -- "$@" --yes ;; esac
  status=0
  command securecache "$@" || status=$?
  echo "$1 $status" >>calls
}
start
`

// postlude is what the guide's reader may do any day.
const postlude = `
sudo systemctl restart redis-server
securecache scripts load
securecache audit --admin ops --waivers waivers.json
`

// TestHardeningGuide runs the commands of the guide as they stand.
func TestHardeningGuide(t *testing.T) {
	for _, tool := range []string{"sh", "openssl", "redis-cli", "sha256sum", "securecache"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "true" {
			t.Fatal(err)
		} else if err != nil {
			t.Skip(err)
		}
	}
	guide, err := os.ReadFile("../../docs/hardening.md")
	check(t, err)
	var script strings.Builder
	for _, block := range shellBlock.FindAllSubmatch(guide, -1) {
		script.Write(block[1])
	}
	servertest.Each(t, func(t *testing.T, binary string) {
		dir := t.TempDir()
		program, err := exec.LookPath(binary) // by its path, as systemd starts it
		check(t, err)
		plain, secure := freePort(t), freePort(t)
		fill := strings.NewReplacer("PORT", plain, "6379", plain, "6380", secure, "BINARY", program, "DIR", dir,
			"/etc/redis/redis.conf", dir+"/server.conf", "/etc/redis", dir+"/etc")
		check(t, os.Mkdir(filepath.Join(dir, "etc"), 0o700))
		check(t, os.WriteFile(filepath.Join(dir, "server.conf"), []byte(fill.Replace(packagedConf)), 0o600))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", fill.Replace(prelude+script.String()+postlude))
		cmd.Dir, cmd.Env = dir, guideEnv()
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		t.Cleanup(func() { endServer(t, filepath.Join(dir, "server.pid")) })
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
		calls, err := os.ReadFile(filepath.Join(dir, "calls"))
		check(t, err)
		// The first audit finds that there is no TLS yet; the others find nothing.
		if got, want := string(calls), "audit 3\ntls 0\nacl 0\nscripts 0\naudit 0\nscripts 0\naudit 0\n"; got != want {
			t.Errorf("exit statuses %q, want %q\n%s", got, want, &said)
		}
		playPackages(t, guideSite(t, dir, secure), dir)
	})
}

// guideSite is the server that the guide ends with, for its application.
func guideSite(t *testing.T, dir, port string) site {
	t.Helper()
	of := func(user string) (url string, config *tls.Config) {
		password, err := os.ReadFile(filepath.Join(dir, user+".password"))
		check(t, err)
		pair := filepath.Join(dir, user)
		config, err = hardening.ClientTLS(hardening.Files{CA: filepath.Join(dir, "ca.crt"), Cert: pair + ".crt", Key: pair + ".key"}, "")
		check(t, err)
		return fmt.Sprintf("rediss://%s:%s@127.0.0.1:%s", user, strings.TrimSpace(string(password)), port), config
	}
	url, config := of("ops")
	o, err := redis.ParseURL(url)
	check(t, err)
	o.TLSConfig = config
	admin := redis.NewClient(o)
	t.Cleanup(func() { check(t, admin.Close()) })
	url, config = of("app")
	return site{url, config, "shop", admin}
}

// guideEnv is an environment without settings of the command.
func guideEnv() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SECURECACHE_") && !strings.HasPrefix(v, "REDIS_URL=") {
			env = append(env, v)
		}
	}
	return env
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := server.FreePort()
	check(t, err)
	return fmt.Sprint(port)
}

// endServer ends the server that the script has left running.
func endServer(t *testing.T, pidfile string) {
	text, err := os.ReadFile(pidfile)
	if err != nil {
		return // it never ran
	}
	check(t, exec.Command("kill", "-9", strings.TrimSpace(string(text))).Run())
}
