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
	"github.com/redis/go-redis/v9/maintnotifications"

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

// TestLetInNoMore has a server that answers PING and closes, and then lets nobody
// in: what it did not say is unknown.
func TestLetInNoMore(t *testing.T) {
	var connections atomic.Int32
	addr := serve(t, func(conn net.Conn) {
		first, lines := connections.Add(1) == 1, bufio.NewScanner(conn)
		for lines.Scan() {
			var reply string
			switch word := strings.ToUpper(lines.Text()); {
			case word == "" || strings.ContainsAny(word[:1], "*$"):
				continue // of an array, or a length
			case word == "HELLO":
				reply = "-NOPROTO no\r\n"
			case word == "PING" && first:
				_, _ = io.WriteString(conn, "+PONG\r\n")
				_ = conn.Close()
				return
			case word == "AUTH" && first:
				reply = "+OK\r\n"
			case word == "AUTH":
				reply = "-WRONGPASS no\r\n"
			case word == "PING":
				reply = "-NOAUTH no\r\n"
			}
			_, _ = io.WriteString(conn, reply)
		}
	})
	rdb := redis.NewClient(&redis.Options{Addr: addr, Password: "secret", DisableIdentity: true, MaxRetries: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
	defer rdb.Close()
	report := look(t, rdb, audit.Options{Timeout: 5 * time.Second})
	for _, one := range report.Of(audit.Passed) {
		if one.Check != "N1" { // which has a connection of its own, refused as it should be
			t.Errorf("%s passed: %s", one.Check, one.Title)
		}
	}
	if unknown := len(report.Of(audit.Unknown)); unknown < 40 {
		t.Errorf("%d checks know nothing", unknown)
	}
}
