package audit_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/securecache/securecache-go/hardening/audit"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// bench is a server under test with all of its configuration in the test's own
// hands: internal/server's is not meant to be bad.
type bench struct {
	dir, binary string
	port        int
	lines       []string
	tls         *tls.Config
	password    string
	args        []string // behind the file's name
	cmd         *exec.Cmd
}

// authority signs for all tests, for long enough that no check minds.
var authority = func() *pki.CA {
	ca, err := pki.New("audit test CA")
	if err != nil {
		panic(err)
	}
	return ca
}()

func longLived(r pki.Request) pki.Request {
	r.NotAfter = time.Now().AddDate(1, 0, 0)
	return r
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func write(t *testing.T, path string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// hashed is a password in the form of an ACL file.
func hashed(password string) string {
	sum := sha256.Sum256([]byte(password))
	return "#" + hex.EncodeToString(sum[:])
}

// hardened starts a server that every check passes, but for the lines given,
// which stand last and win, and the users, which are ACL lines without "user".
func hardened(t *testing.T, binary string, lines []string, users ...string) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), binary: binary, password: rand.Text()}
	users = append([]string{"app reset on " + hashed(rand.Text()) + " ~sc:ns:* resetchannels &sc:ns:* -@all +get +set +evalsha"}, users...)
	b.lines = slices.Concat(b.secured(t, users), []string{
		`save ""`, "timeout 300", "maxmemory 64mb", "maxmemory-clients 5%", "maxmemory-policy noeviction",
		`client-output-buffer-limit normal 64mb 16mb 60`, "sanitize-dump-payload yes", "acl-pubsub-default resetchannels",
	}, lines)
	b.start(t, "tls-port")
	return b
}

// secured returns the lines of a server that takes mutual TLS alone, from an
// administrator and these users.
func (b *bench) secured(t *testing.T, users []string) []string {
	t.Helper()
	server := must[pki.Pair](t)(authority.Issue(longLived(pki.Server())))
	client := must[pki.Pair](t)(authority.Issue(longLived(pki.Client("admin"))))
	b.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authority.Pool(), Certificates: []tls.Certificate{must[tls.Certificate](t)(client.TLS())}}
	base := []string{"user default reset off ~* &* +@all", "user admin reset on " + hashed(b.password) + " ~* &* +@all"}
	for _, u := range users {
		base = append(base, "user "+u)
	}
	return []string{
		"bind 127.0.0.1", "port 0", "tls-auth-clients yes", `tls-protocols "TLSv1.2 TLSv1.3"`, "tls-ciphers ECDHE+AESGCM:ECDHE+CHACHA20",
		"tls-cert-file " + write(t, filepath.Join(b.dir, "server.pem"), server.Cert), "tls-key-file " + write(t, filepath.Join(b.dir, "key.pem"), server.Key),
		"tls-ca-cert-file " + write(t, filepath.Join(b.dir, "ca.pem"), authority.PEM()), "tls-replication yes",
		"aclfile " + write(t, filepath.Join(b.dir, "users.acl"), []byte(strings.Join(base, "\n")+"\n")),
		"dir " + b.dir,
	}
}

// stock starts a server that has nothing but a port and the lines.
func stock(t *testing.T, binary string, lines ...string) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), binary: binary}
	b.lines = append([]string{"bind 127.0.0.1", "dir " + b.dir}, lines...)
	b.start(t, "port")
	return b
}

// start runs the server on a free port, and until it answers.
func (b *bench) start(t *testing.T, portLine string) {
	t.Helper()
	for range 5 {
		b.port = freePort(t)
		b.run(t, append(b.lines, fmt.Sprintf("%s %d", portLine, b.port)))
		if b.answers(t) {
			t.Cleanup(func() { b.stop() })
			return
		}
		b.stop()
	}
	log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
	t.Fatalf("%s did not start:\n%s", b.binary, log)
}

func (b *bench) run(t *testing.T, lines []string) {
	t.Helper()
	write(t, b.conf(), []byte(strings.Join(lines, "\n")+"\n"))
	b.launch(t)
}

func (b *bench) conf() string { return filepath.Join(b.dir, "server.conf") }

// launch runs the server with the file as it is.
func (b *bench) launch(t *testing.T) {
	t.Helper()
	log := must[*os.File](t)(os.Create(filepath.Join(b.dir, "log")))
	defer log.Close()
	program := must[string](t)(exec.LookPath(b.binary))
	b.cmd = exec.Command(program, append([]string{b.conf()}, b.args...)...)
	b.cmd.Dir, b.cmd.Stdout, b.cmd.Stderr = b.dir, log, log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}

func freePort(t *testing.T) int {
	t.Helper()
	return must[int](t)(server.FreePort())
}

// answers waits until the server speaks, false once it has ended or where
// another has taken its port.
func (b *bench) answers(t *testing.T) bool {
	t.Helper()
	rdb := redis.NewClient(b.options("admin"))
	defer rdb.Close()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		if rdb.Ping(t.Context()).Err() == nil {
			return strings.Contains(rdb.Info(t.Context(), "server").Val(), fmt.Sprintf("process_id:%d\r\n", b.cmd.Process.Pid))
		}
		if b.ended() {
			return false
		}
		<-tick.C
	}
	return false
}

// ended reports whether the process is a zombie by now.
func (b *bench) ended() bool {
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(b.cmd.Process.Pid, &status, syscall.WNOHANG, nil)
	return err != nil || pid != 0
}

func (b *bench) addr() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

// options are of a user with the admin's password; a stock server takes anybody.
func (b *bench) options(user string) *redis.Options {
	o := &redis.Options{
		Addr: b.addr(), TLSConfig: b.tls, ContextTimeoutEnabled: true, MaxRetries: -1,
		DialTimeout: 30 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if b.password != "" {
		o.Username, o.Password = user, b.password
	}
	return o
}

func (b *bench) client(t *testing.T, user string) *redis.Client {
	rdb := redis.NewClient(b.options(user))
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// do sends a command as the administrator.
func (b *bench) do(t *testing.T, words ...any) {
	t.Helper()
	if err := b.client(t, "admin").Do(t.Context(), words...).Err(); err != nil {
		t.Fatalf("%v: %v", words[0], err)
	}
}

// run audits as the administrator, whom the options name as one.
func (b *bench) audit(t *testing.T, o audit.Options) *audit.Report {
	t.Helper()
	o.Admins = append(o.Admins, "admin")
	return look(t, b.client(t, "admin"), o)
}

func look(t *testing.T, rdb redis.UniversalClient, o audit.Options) *audit.Report {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = time.Minute // a loaded machine
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return must[*audit.Report](t)(audit.Run(ctx, rdb, &o))
}

// of returns the failed results of a check.
func of(r *audit.Report, check string) (list []audit.Result) {
	for _, one := range r.Results {
		if one.Check == check && one.Status == audit.Failed {
			list = append(list, one)
		}
	}
	return list
}

func each(t *testing.T, f func(t *testing.T, binary string)) { servertest.Each(t, f) }
