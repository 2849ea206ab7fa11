package audit_test

import (
	"crypto/fips140"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
)

// fault is one way in which a server is bad, and the check that has to see it.
type fault struct {
	check, name string
	lines       []string
	make        func(t *testing.T, b *bench) // what is done to it once it runs
	options     audit.Options
	severity    audit.Severity
	want        string // in the evidence
}

// words sends commands as the administrator.
func words(commands ...string) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		for _, c := range commands {
			var args []any
			for _, w := range strings.Fields(c) {
				args = append(args, strings.ReplaceAll(w, "_", " "))
			}
			b.do(t, args...)
		}
	}
}

func later(d time.Duration) audit.Options {
	return audit.Options{Now: func() time.Time { return time.Now().Add(d) }}
}

const day = 24 * time.Hour

var faults = []fault{
	{check: "N3", lines: []string{"bind * -::*"}, severity: audit.High, want: "every interface"},
	{check: "N5", lines: []string{"unixsocket server.sock", "unixsocketperm 777"}, severity: audit.Medium, want: "777"},
	{check: "N6", name: "none", lines: []string{"timeout 0"}, severity: audit.Low, want: "timeout is 0"},
	{check: "N6", name: "short", lines: []string{"timeout 60"}, severity: audit.Medium, want: "60 s"},
	{check: "A1", make: words("ACL SETUSER default on nopass"), severity: audit.Critical, want: "no password"},
	{check: "N1", make: words("ACL SETUSER default on nopass"), severity: audit.Critical, want: "answered"},
	{check: "N2", lines: []string{"protected-mode no"}, make: words("ACL SETUSER default on nopass"), severity: audit.High, want: "protected-mode is no"},
	{check: "A2", make: words("ACL SETUSER default on >a-password-of-this-test"), severity: audit.High, want: "every command on every key"},
	{check: "A9", lines: []string{"sanitize-dump-payload no"}, severity: audit.High, want: "RESTORE is open to admin"},
	{check: "A10", lines: []string{"acl-pubsub-default allchannels"}, severity: audit.Medium, want: "allchannels"},
	{check: "A11", lines: []string{"requirepass a-password-of-this-test"}, severity: audit.Medium, want: "both are set"},
	{check: "A12", make: refuse, severity: audit.Info, want: "auth"},
	{check: "A14", lines: []string{`rename-command DEBUG ""`}, severity: audit.Info, want: "debug"},
	{check: "T2", name: "optional", lines: []string{"tls-auth-clients optional"}, severity: audit.High, want: "without a client certificate"},
	{check: "T2", name: "no", lines: []string{"tls-auth-clients no"}, severity: audit.High, want: "without a client certificate"},
	{check: "T3", lines: []string{`tls-protocols "TLSv1.1 TLSv1.2"`, "tls-ciphers ALL:@SECLEVEL=0"}, severity: audit.High, want: "TLS 1.1"},
	{check: "T4", lines: []string{"tls-ciphers DEFAULT"}, severity: audit.Medium, want: "CBC"},
	{check: "T5", name: "soon", options: later(350 * day), severity: audit.Medium, want: "ends on"},
	{check: "T5", name: "very soon", options: later(363 * day), severity: audit.Critical, want: "ends on"},
	{check: "T5", name: "over", options: later(500 * day), severity: audit.Critical, want: "ends on"},
	{check: "S1", lines: []string{"enable-debug-command local"}, severity: audit.High, want: "local"},
	{check: "S2", lines: []string{"enable-module-command yes"}, severity: audit.High, want: "yes"},
	{check: "S3", lines: []string{"enable-protected-configs local"}, severity: audit.High, want: "local"},
	{check: "S9", make: loadFunction, severity: audit.Medium, want: "library mylib"},
	{check: "S11", name: "monitor", make: listen, severity: audit.High, want: "MONITOR"},
	{check: "S12", lines: []string{"notify-keyspace-events Ex"}, severity: audit.Low, want: "notify-keyspace-events"},
	{check: "S13", name: "snapshots", lines: []string{"save 900 1"}, severity: audit.Info, want: "snapshots"},
	{check: "S13", name: "appends", lines: []string{"appendonly yes"}, severity: audit.Info, want: "append-only"},
	{check: "M1", lines: []string{"maxmemory 0"}, severity: audit.High, want: "maxmemory is 0"},
	{check: "M2", name: "tokens", lines: []string{"maxmemory-policy allkeys-lru"}, make: words("SET sc:ns:d:{x} 1"), severity: audit.High, want: "allkeys-lru"},
	{check: "M2", name: "volatile", lines: []string{"maxmemory-policy volatile-ttl"}, make: words("SET sc:ns:l:{x} 1"), severity: audit.High, want: "volatile-ttl"},
	{check: "M2", name: "values", make: words("SET sc:ns:v:{x} 1"), severity: audit.Low, want: "noeviction"},
	{check: "M3", lines: []string{"client-output-buffer-limit normal 0 0 0"}, severity: audit.Medium, want: "normal"},
	{check: "M4", lines: []string{"replica-read-only no"}, severity: audit.High, want: "replica-read-only is no"},
	{check: "M5", lines: []string{"enable-protected-configs local"}, make: failSave, severity: audit.Medium, want: "rdb_last_bgsave_status"},
	{check: "M6", lines: []string{"maxmemory-clients 0"}, severity: audit.Low, want: "maxmemory-clients"},
	{check: "P1", make: words("SET sc:ns:v:{x} plaintext"), severity: audit.Critical, want: "1 of kind v of 1"},
	{check: "P1", name: "hash", make: words("HSET sc:ns:h:{x} field plaintext"), severity: audit.Critical, want: "1 of kind h of 1"},
	{check: "P2", make: words("SET user:jane@example.com 1", "SET session:0123456789abcdef0123 1"), severity: audit.Medium, want: "1 look like a session or token, 1 look like an e-mail address"},
	{check: "P3", make: words("SET k 1"), severity: audit.Low, want: "1 of 1"},
}

// userFaults are users that are bad, all on one server, each under a name of its
// own, for which U stands.
var userFaults = []struct {
	check, rules string
	severity     audit.Severity
	want         string
}{
	{"A3", "on nopass ~sc:ns:* -@all +get", audit.Critical, "user U"},
	{"A4", "on " + hashed("1") + " ~* -@all +get", audit.High, "every key"},
	{"A4", "on " + hashed("1") + " %R~* -@all +get", audit.High, "every key"},
	{"A4", "on " + hashed("1") + " ~a &* -@all +get", audit.High, "every channel"},
	{"A4", "on " + hashed("1") + " ~a +@all", audit.High, "every command"},
	{"A4", "on " + hashed("1") + " ~a -@all +get (~* +set)", audit.High, "every key"},
	{"A5", "on " + hashed("1") + " ~a -@all +eval", audit.High, "may eval"},
	{"A5", "on " + hashed("1") + " ~a -@all +script|load +evalsha", audit.High, "may evalsha, script|load"},
	{"A5", "on " + hashed("1") + " ~a -@all +script|flush", audit.High, "script|flush"},
	{"A5", "on " + hashed("1") + " ~a -@all +function|load", audit.High, "function|load"},
	{"A5", "on " + hashed("1") + " ~a -@all +config|set", audit.High, "config|set"},
	{"A5", "on " + hashed("1") + " ~a -@all +restore", audit.High, "restore"},
	{"A5", "on " + hashed("1") + " ~a -@all +scan", audit.High, "scan"},
	{"A5", "on " + hashed("1") + " ~a -@all +monitor", audit.High, "monitor"},
	{"A5", "on " + hashed("1") + " ~a -@all +replicaof", audit.High, "replicaof"},
	{"A6", "on " + hashed("1") + " ~a +@all -@dangerous", audit.High, "-@dangerous"},
	{"A7", "on " + hashed("redis123") + " ~a -@all +get", audit.Critical, "user U"},
	{"A7", "on " + hashed("u17") + " ~a -@all +get", audit.Critical, "user U"},
	{"A7", "on " + hashed("Tr0ub4dor&3") + " ~a -@all +get", audit.Critical, "user U"},
	{"A8", "on " + hashed("1") + " " + hashed("2") + " ~a -@all +get", audit.Low, "2 passwords"},
}

func TestBadUsersAreFound(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		var users []string
		name := func(i int) string { return "u" + strconv.Itoa(i) }
		for i, f := range userFaults {
			users = append(users, name(i)+" "+f.rules)
		}
		r := hardened(t, binary, nil, users...).audit(t, audit.Options{Passwords: []string{"Tr0ub4dor&3"}})
		for i, f := range userFaults {
			found := slices.DeleteFunc(of(r, f.check), func(one audit.Result) bool { return one.Subject != name(i) })
			want := strings.ReplaceAll(f.want, "U", name(i))
			if len(found) != 1 || found[0].Severity != f.severity || !strings.Contains(found[0].Evidence, want) || len(found[0].Remedy) == 0 {
				t.Errorf("%s, %s: %+v", f.check, f.rules, found)
			}
		}
		for _, one := range r.Results {
			if one.Subject == "app" {
				t.Errorf("of the good user: %+v", one)
			}
		}
	})
}

func refuse(t *testing.T, b *bench) {
	o := b.options("app") // whose password is another
	rdb := redis.NewClient(o)
	defer rdb.Close()
	if rdb.Ping(t.Context()).Err() == nil {
		t.Fatal("logged in")
	}
}

func loadFunction(t *testing.T, b *bench) {
	b.do(t, "FUNCTION", "LOAD", "#!lua name=mylib\nredis.register_function('f', function() return 1 end)")
}

func listen(t *testing.T, b *bench) {
	conn := b.client(t, "admin").Conn()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Do(t.Context(), "MONITOR").Err(); err != nil {
		t.Fatal(err)
	}
}

// failSave takes the server's directory away from under it.
func failSave(t *testing.T, b *bench) {
	gone := filepath.Join(b.dir, "gone")
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	b.do(t, "CONFIG", "SET", "dir", gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	rdb := b.client(t, "admin")
	b.do(t, "BGSAVE")
	await(t, func() bool {
		return strings.Contains(rdb.Info(t.Context(), "persistence").Val(), "rdb_last_bgsave_status:err")
	})
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

func TestFaultsAreFound(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		for _, f := range faults {
			t.Run(strings.TrimSuffix(f.check+" "+f.name, " "), func(t *testing.T) { f.test(t, binary) })
		}
	})
}

func (f fault) test(t *testing.T, binary string) {
	t.Parallel()
	if f.check == "T3" && fips140.Enforced() {
		t.Skip("a FIPS-only process cannot offer old versions, and says that it does not know")
	}
	b := hardened(t, binary, f.lines)
	if f.make != nil {
		f.make(t, b)
	}
	f.options.Checks = []string{f.check}
	r := b.audit(t, f.options)
	found := of(r, f.check)
	if len(found) == 0 {
		t.Fatalf("not found: %+v", r.Results)
	}
	one := found[0]
	if one.Severity != f.severity || !strings.Contains(one.Evidence, f.want) {
		t.Errorf("%s, %q", one.Severity, one.Evidence)
	}
	if len(one.Remedy) == 0 && f.check != "S13" {
		t.Error("it does not say what to do")
	}
}

func TestPlaintextPortBesideTLS(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, []string{"port " + strconv.Itoa(freePort(t))})
		if len(of(b.audit(t, audit.Options{Checks: []string{"N4"}}), "N4")) != 1 {
			t.Error("N4 is silent")
		}
	})
}

// TestStockServer is what a package installs, or nearly.
func TestStockServer(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		r := look(t, stock(t, binary).client(t, ""), audit.Options{})
		for _, id := range []string{"N1", "A1", "A2", "T1", "A9", "M1", "M3", "M6", "N6", "S13"} {
			if len(of(r, id)) != 1 {
				t.Errorf("%s: %+v", id, of(r, id))
			}
		}
		for _, one := range r.Results {
			if strings.HasPrefix(one.Check, "T") && one.Check != "T1" && one.Status != audit.Skipped {
				t.Errorf("without TLS: %+v", one)
			}
		}
	})
}

func TestReplica(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		master := stock(t, binary, "repl-diskless-sync-delay 0")
		replica := stock(t, binary, "replicaof 127.0.0.1 "+strconv.Itoa(master.port))
		rdb := replica.client(t, "")
		await(t, func() bool {
			return strings.Contains(rdb.Info(t.Context(), "replication").Val(), "master_link_status:up")
		})
		if found := of(look(t, rdb, audit.Options{}), "A15"); len(found) != 1 || !strings.Contains(found[0].Evidence, "masterauth") {
			t.Errorf("%+v", found)
		}
		at := master.client(t, "")
		if found := of(look(t, at, audit.Options{}), "S11"); len(found) != 1 || !strings.Contains(found[0].Evidence, "replica") {
			t.Errorf("%+v", found)
		}
		if found := of(look(t, at, audit.Options{Expected: []string{"127.0.0.1"}}), "S11"); len(found) != 0 {
			t.Errorf("expected and found: %+v", found)
		}
		tls := hardened(t, binary, []string{"replicaof 127.0.0.1 " + strconv.Itoa(master.port), "tls-replication no"})
		if found := of(tls.audit(t, audit.Options{}), "T10"); len(found) != 1 {
			t.Errorf("%+v", found)
		}
	})
}

func TestPublicAuthority(t *testing.T) {
	if _, err := os.Stat("/etc/ssl/certs/ca-certificates.crt"); err != nil {
		t.Skip("this system keeps no authorities there")
	}
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, []string{"tls-ca-cert-dir /etc/ssl/certs"})
		if len(of(b.audit(t, audit.Options{}), "T9")) != 1 {
			t.Error("T9 is silent")
		}
	})
}
