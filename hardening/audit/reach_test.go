package audit_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/hardening/audit"
)

// serve answers each connection by f, until the test ends.
func serve(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	conns, done := make(chan net.Conn, 100), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns <- conn
			go f(conn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		close(conns)
		for conn := range conns {
			_ = conn.Close()
		}
	})
	return l.Addr().String()
}

// TestNoServer: whatever is there, the answer is an error, in time.
func TestNoServer(t *testing.T) {
	silent := func(net.Conn) {}
	web := func(conn net.Conn) {
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_ = conn.Close()
	}
	for name, addr := range map[string]string{
		"half open": serve(t, silent), "not Redis": serve(t, web), "nobody": "127.0.0.1:1",
		"closes at once": serve(t, func(conn net.Conn) { _ = conn.Close() }),
	} {
		t.Run(name, func(t *testing.T) {
			// Options as a careless caller has them: no deadlines kept, retries.
			rdb := redis.NewClient(&redis.Options{Addr: addr, ReadTimeout: -1, MaxRetries: 10})
			defer rdb.Close()
			begun := time.Now()
			_, err := audit.Run(t.Context(), rdb, &audit.Options{Timeout: 500 * time.Millisecond})
			if !errors.Is(err, audit.ErrUnreachable) {
				t.Errorf("%v", err)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestStoppedServer(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := stock(t, binary)
		rdb := b.client(t, "")
		if err := b.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Run(t.Context(), rdb, &audit.Options{Timeout: 500 * time.Millisecond}); !errors.Is(err, audit.ErrUnreachable) {
			t.Errorf("%v", err)
		}
	})
}

// TestUnprivileged: who may see little learns little, and which grants are
// missing; nothing passes unseen.
func TestUnprivileged(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, nil)
		b.do(t, "ACL", "SETUSER", "eye", "on", hashed(b.password), "-@all", "+ping", "+hello", "+auth", "+info")
		r := look(t, b.client(t, "eye"), audit.Options{})
		needs := map[string]string{}
		for _, one := range r.Of(audit.Unknown) {
			needs[one.Check] = one.Needs
		}
		for check, grant := range map[string]string{
			"M1": "+config|get", "A1": "+acl|list", "A3": "+acl|list +config|get", "S4": "+module|list", "S7": "+eval", "S9": "+function|list",
			"S11": "+client|list", "A12": "+acl|log", "A14": "+command", "P1": "+scan +pttl +getrange +hrandfield", "N3": "+config|get",
		} {
			if needs[check] != grant {
				t.Errorf("%s needs %q", check, needs[check])
			}
		}
		// What connections of one's own and INFO show is seen all the same.
		for _, one := range r.Of(audit.Passed) {
			if !strings.Contains(" N1 A13 M5 T1 T2 T3 T4 T5 T6 T7 T8 S5 S6 ", " "+one.Check+" ") {
				t.Errorf("passed unseen: %+v", one)
			}
		}
	})
}

// TestMonitorLearnsNothingFalse audits as the user that watches a server. What
// passes for it passes for the administrator too, on a good server and on bad
// ones; and with the grants that the report names nothing stays unknown.
func TestMonitorLearnsNothingFalse(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		for name, b := range map[string]*bench{
			"good": hardened(t, binary, nil),
			"bad": hardened(t, binary, []string{"timeout 0", "maxmemory 0", "protected-mode no", "bind 0.0.0.0", "sanitize-dump-payload no",
				"acl-pubsub-default allchannels", "notify-keyspace-events Ex", "replica-read-only no", "maxmemory-clients 0", "enable-debug-command yes",
				"client-output-buffer-limit normal 0 0 0", "tls-auth-clients optional", "save 60 1", "rename-command SHUTDOWN hidden"},
				"bob reset on nopass ~* &* +@all"),
		} {
			admin := b.client(t, "admin")
			b.do(t, monitor(t, b)...)
			r, all := look(t, b.client(t, "monitor"), audit.Options{}), b.audit(t, audit.Options{Admins: []string{"monitor"}})
			for _, one := range r.Of(audit.Passed) {
				if failed := of(all, one.Check); len(failed) != 0 {
					t.Errorf("%s: passed for the monitor: %+v", name, failed)
				}
			}
			words := []any{"ACL", "SETUSER", "monitor", "~*"} // what the sample reads
			for _, one := range r.Of(audit.Unknown) {
				if one.Needs == "" && one.Evidence == "" {
					t.Errorf("%s: it does not say what it needs: %+v", name, one)
				}
				for w := range strings.FieldsSeq(one.Needs) {
					words = append(words, w)
				}
			}
			for _, id := range []string{"S8", "T13"} { // which were not asked for
				if slices.ContainsFunc(r.Of(audit.Unknown), func(one audit.Result) bool { return one.Check == id }) {
					t.Errorf("%s: %s is unknown", name, id)
				}
			}
			if len(words) < 10 {
				t.Errorf("%s: the monitor sees too much: %+v", name, r.Results)
			}
			if err := admin.Do(t.Context(), words...).Err(); err != nil {
				t.Fatal(err)
			}
			known := look(t, b.client(t, "monitor"), audit.Options{Admins: []string{"admin", "monitor"}})
			for _, one := range known.Of(audit.Unknown) {
				if !slices.ContainsFunc(all.Of(audit.Unknown), func(a audit.Result) bool { return a.Check == one.Check }) {
					t.Errorf("%s: still unknown: %+v", name, one)
				}
			}
		}
	})
}

// monitor is the command that makes the user which the package hardening renders.
func monitor(t testing.TB, b *bench) (words []any) {
	t.Helper()
	line, err := hardening.ACL(hardening.Profile{Role: hardening.Monitor, PasswordSHA256: strings.TrimPrefix(hashed(b.password), "#"), Version: "7.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	words = []any{"ACL", "SETUSER"}
	for w := range strings.FieldsSeq(strings.TrimPrefix(line, "user ")) {
		words = append(words, w)
	}
	return words
}

func TestOptionsAreChecked(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()
	for name, o := range map[string]audit.Options{
		"check": {Checks: []string{"X1"}}, "skip": {Skip: []string{"n1"}}, "waiver": {Waivers: []audit.Waiver{{Check: "N1"}}},
	} {
		if _, err := audit.Run(t.Context(), rdb, &o); err == nil || errors.Is(err, audit.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	if _, err := audit.Run(t.Context(), ring, nil); err == nil {
		t.Error("a ring is audited")
	}
}

// turnstile lets a command in, and nobody after it, as a server does whose
// password has changed.
type turnstile struct{ turns atomic.Int32 }

func (s *turnstile) Allow() error {
	if s.turns.Add(1) == 1 {
		return nil
	}
	return shut{}
}

func (*turnstile) ReportResult(error) {}

type shut struct{}

func (shut) Error() string { return "WRONGPASS no" }

func (shut) RedisError() {}

// TestLetInNoMore: what the server could not be asked is unknown.
func TestLetInNoMore(t *testing.T) {
	options := *fake{}.start(t, nil).Options()
	options.Limiter = new(turnstile)
	rdb := redis.NewClient(&options)
	defer rdb.Close()
	report := look(t, rdb, audit.Options{})
	for _, one := range report.Of(audit.Passed) {
		if one.Check != "N1" { // of a connection that is not the client's
			t.Errorf("%s passed: %s", one.Check, one.Title)
		}
	}
	told := 0
	for _, one := range report.Of(audit.Unknown) {
		if strings.Contains(one.Evidence, "not answered: WRONGPASS") {
			told++
		}
	}
	if told < 30 {
		t.Errorf("%d checks say what the server said", told)
	}
}

// TestSampleWithoutRights has a user who may list keys and nothing else.
func TestSampleWithoutRights(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := stock(t, binary)
		b.do(t, "SET", "sc:demo:v:{x}", "a value in the open")
		for rights, unknown := range map[string][]string{"": {"P1", "P3"}, "+pttl": {"P1"}, "+getrange": {"P3"}} {
			b.do(t, "ACL", "SETUSER", "looker", "reset", "on", ">looker", "~*", "+ping", "+scan", "+info", rights)
			rdb := redis.NewClient(&redis.Options{Addr: b.addr(), Username: "looker", Password: "looker"})
			report := look(t, rdb, audit.Options{})
			_ = rdb.Close()
			for _, one := range report.Results {
				if want := slices.Contains(unknown, one.Check); strings.HasPrefix(one.Check, "P") && want != (one.Status == audit.Unknown) {
					t.Errorf("with %q %s is %v: %s", rights, one.Check, one.Status, one.Evidence)
				}
			}
		}
	})
}
