package audit_test

import (
	"crypto/rand"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/pki"
)

// packaged is what Debian's packages install, as far as the audit looks at it.
var packaged = []string{
	"bind 127.0.0.1 -::1", "protected-mode yes", "timeout 0", "tcp-keepalive 300", "databases 16",
	"replica-read-only yes", "acllog-max-len 128", "appendonly no", `notify-keyspace-events ""`,
	"client-output-buffer-limit normal 0 0 0", "client-output-buffer-limit replica 256mb 64mb 60", "client-output-buffer-limit pubsub 32mb 8mb 60",
}

// mend applies what a report proposes.
func mend(t *testing.T, rdb redis.UniversalClient, r *audit.Report) []audit.Applied {
	t.Helper()
	return must[[]audit.Applied](t)(audit.Apply(t.Context(), rdb, r.Changes()))
}

// restart runs the server anew with its own file.
func (b *bench) restart(t *testing.T) {
	t.Helper()
	b.stop()
	b.launch(t)
	if !b.answers(t) {
		log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
		t.Fatalf("it did not come back:\n%s", log)
	}
}

// held are the checks of the changes that are left alone.
func held(r *audit.Report) (checks []string) {
	for _, c := range r.Changes() {
		if c.Held != "" {
			checks = append(checks, c.Checks...)
		}
	}
	return checks
}

// severe are the checks that find something at high or above, but for the
// version's, which no setting mends.
func severe(r *audit.Report) (checks []string) {
	for _, one := range r.Found(audit.High) {
		if one.Check != "S5" && one.Check != "S6" {
			checks = append(checks, one.Check)
		}
	}
	slices.Sort(checks)
	return checks
}

// TestStockServerIsMended goes the whole way from what a package installs: as
// anybody, then as an administrator, then with the lines for the file.
func TestStockServerIsMended(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := stock(t, binary, packaged...)
		before := look(t, b.client(t, ""), audit.Options{})
		done := mend(t, b.client(t, ""), before)
		if len(done) != 1 || done[0].Refused != nil || !slices.Equal(done[0].Kept, []string{"configuration file"}) {
			t.Fatalf("%+v", done)
		}
		if got := held(before); !slices.Equal(got, []string{"A1", "A2"}) {
			t.Errorf("left alone: %v", got)
		}
		after := look(t, b.client(t, ""), audit.Options{})
		if got, want := severe(after), []string{"A1", "A2", "N1", "T1"}; !slices.Equal(got, want) {
			t.Errorf("left of %v: %v", severe(before), got)
		}
		b.becomeAdmin(t)
		mend(t, b.client(t, "admin"), b.audit(t, audit.Options{}))
		b.restart(t)
		if got := severe(b.audit(t, audit.Options{})); !slices.Equal(got, []string{"T1"}) {
			t.Errorf("after a restart: %v", got)
		}
		b.secure(t, of(after, "T1")[0].Remedy)
		last := b.audit(t, audit.Options{})
		if got := severe(last); got != nil {
			t.Errorf("in the end: %v", got)
		}
		mend(t, b.client(t, "admin"), last)
		b.restart(t)
		if r := b.audit(t, audit.Options{}); len(r.Changes()) != 0 || severe(r) != nil {
			t.Errorf("there is more to do: %+v", r.Changes())
		}
	})
}

// becomeAdmin makes the user that the report asks for.
func (b *bench) becomeAdmin(t *testing.T) {
	t.Helper()
	password := rand.Text()
	b.do(t, "ACL", "SETUSER", "admin", "on", ">"+password, "~*", "&*", "+@all")
	b.password = password
}

const inFile = "in the server's configuration file, then restart: "

// secure puts the report's lines into the file, with a port and certificates.
func (b *bench) secure(t *testing.T, remedy []string) {
	t.Helper()
	pair := must[pki.Pair](t)(authority.Issue(longLived(pki.Server())))
	client := must[pki.Pair](t)(authority.Issue(longLived(pki.Client("admin"))))
	files := map[string][]byte{"tls-cert-file": pair.Cert, "tls-key-file": pair.Key, "tls-ca-cert-file": authority.PEM()}
	text := must[[]byte](t)(os.ReadFile(b.conf()))
	b.port = freePort(t)
	for _, l := range remedy {
		l, is := strings.CutPrefix(l, inFile)
		if !is {
			t.Fatalf("not a line: %q", l)
		}
		name, value, _ := strings.Cut(l, " ")
		switch {
		case value == "PATH":
			value = write(t, filepath.Join(b.dir, name), files[name])
		case name == "tls-port":
			value = strconv.Itoa(b.port)
		}
		text = append(text, name+" "+value+"\n"...)
	}
	write(t, b.conf(), text)
	b.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authority.Pool(), Certificates: []tls.Certificate{must[tls.Certificate](t)(client.TLS())}}
	b.restart(t)
}

// TestFixesOfUsersAreKept is of a server with an ACL file.
func TestFixesOfUsersAreKept(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, []string{"timeout 0"}, "bob reset on nopass ~sc:ns:* -@all +get +scan")
		b.do(t, "ACL", "SETUSER", "default", "on", "nopass")
		done := mend(t, b.client(t, "admin"), b.audit(t, audit.Options{}))
		if len(done) != 1 || done[0].Refused != nil || !slices.Equal(done[0].Kept, []string{"ACL file", "configuration file"}) {
			t.Fatalf("%+v", done)
		}
		b.restart(t)
		r := b.audit(t, audit.Options{})
		for _, id := range []string{"N1", "N6", "A1", "A2", "A3", "A5"} {
			if found := of(r, id); len(found) != 0 {
				t.Errorf("%+v", found)
			}
		}
	})
}

// TestLinesInPlaceOfAFile is of a server without one: the lines, put into one,
// have the same effect.
func TestLinesInPlaceOfAFile(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := stock(t, binary, packaged...)
		mend(t, b.client(t, ""), look(t, b.client(t, ""), audit.Options{}))
		b.becomeAdmin(t)
		b.do(t, "CONFIG", "SET", "notify-keyspace-events", "Ex", "timeout", "0", "client-output-buffer-limit", "normal 0 0 0 pubsub 0 0 0")
		// The file is there and cannot be written.
		if err := os.Rename(b.conf(), b.conf()+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(b.conf(), 0o700); err != nil {
			t.Fatal(err)
		}
		done := mend(t, b.client(t, "admin"), b.audit(t, audit.Options{}))
		if len(done) != 1 || done[0].Kept != nil || done[0].Why == "" {
			t.Fatalf("%+v", done)
		}
		for _, l := range []string{"timeout 300", `notify-keyspace-events ""`, "client-output-buffer-limit normal 256mb 64mb 60",
			"client-output-buffer-limit pubsub 256mb 64mb 60", "user default off resetpass ~* &* +@all"} {
			if !slices.Contains(done[0].Lines, l) {
				t.Errorf("%q is missing in %q", l, done[0].Lines)
			}
		}
		if err := os.Remove(b.conf()); err != nil {
			t.Fatal(err)
		}
		lines := append([]string{"bind 127.0.0.1", "port " + strconv.Itoa(b.port), "user admin on " + hashed(b.password) + " ~* &* +@all"}, done[0].Lines...)
		write(t, b.conf(), []byte(strings.Join(lines, "\n")+"\n"))
		b.restart(t)
		r := b.audit(t, audit.Options{})
		for _, id := range []string{"N6", "A1", "A2", "M3", "S12"} {
			if found := of(r, id); len(found) != 0 {
				t.Errorf("%+v", found)
			}
		}
	})
}

// TestNothingCutsOffItsOwnBranch has every kind of change that would.
func TestNothingCutsOffItsOwnBranch(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		plain := freePort(t)
		b := hardened(t, binary, []string{"port " + strconv.Itoa(plain), "tls-auth-clients optional"})
		b.do(t, "ACL", "SETUSER", "default", "on", "nopass")
		by := func(change func(*redis.Options)) *redis.Client {
			o := b.options("admin")
			change(o)
			rdb := redis.NewClient(o)
			t.Cleanup(func() { _ = rdb.Close() })
			return rdb
		}
		for check, rdb := range map[string]*redis.Client{
			"N4": by(func(o *redis.Options) { o.Addr, o.TLSConfig = "127.0.0.1:"+strconv.Itoa(plain), nil }),
			"T2": by(func(o *redis.Options) { o.TLSConfig = o.TLSConfig.Clone(); o.TLSConfig.Certificates = nil }),
			"A1": by(func(o *redis.Options) { o.Username, o.Password = "", "" }),
			"A5": by(func(*redis.Options) {}),
		} {
			r := look(t, rdb, audit.Options{Checks: []string{check}})
			if got := held(r); !slices.Equal(got, []string{check}) {
				t.Errorf("%s: left alone: %v of %+v", check, got, r.Results)
			}
			if done := mend(t, rdb, r); done != nil {
				t.Errorf("%s: %+v", check, done)
			}
		}
		// By TLS, with a certificate, as an administrator, all but its own rights go.
		mend(t, b.client(t, "admin"), b.audit(t, audit.Options{}))
		if r := b.audit(t, audit.Options{}); len(of(r, "N4"))+len(of(r, "T2"))+len(of(r, "A1")) != 0 {
			t.Errorf("%v", severe(r))
		}
	})
}

// TestBindKeepsTheWayIn closes all addresses but those in use.
func TestBindKeepsTheWayIn(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, []string{"bind 0.0.0.0"})
		o := b.options("admin")
		o.Addr, o.TLSConfig = "127.0.0.2:"+strconv.Itoa(b.port), o.TLSConfig.Clone()
		o.TLSConfig.ServerName = "localhost"
		rdb := redis.NewClient(o)
		t.Cleanup(func() { _ = rdb.Close() })
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Skip("this system has one loopback address: ", err)
		}
		done := mend(t, rdb, look(t, rdb, audit.Options{Checks: []string{"N3"}}))
		if len(done) != 1 || len(done[0].Made) != 1 {
			t.Fatalf("%+v", done)
		}
		if bind := rdb.ConfigGet(t.Context(), "bind").Val()["bind"]; !strings.Contains(bind, "127.0.0.2") {
			t.Errorf("bind is %q", bind)
		}
	})
}

// TestWhatShutsOutIsTakenBack applies changes that no check proposes.
func TestWhatShutsOutIsTakenBack(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, nil)
		rdb := b.client(t, "admin")
		acl := must[[]string](t)(rdb.Do(t.Context(), "ACL", "LIST").StringSlice())
		for _, words := range [][]string{
			{"CONFIG", "SET", "bind", "127.0.0.3"}, {"CONFIG", "SET", "tls-port", "0"}, {"ACL", "SETUSER", "admin", "off"},
			{"ACL", "SETUSER", "admin", "resetpass"}, {"ACL", "SETUSER", "admin", "-ping"},
		} {
			done := must[[]audit.Applied](t)(audit.Apply(t.Context(), rdb, []audit.Change{{Node: b.addr(), Fix: audit.Fix{Command: words}}}))
			if len(done) != 1 || done[0].Made != nil || len(done[0].Refused) != 1 || !strings.Contains(done[0].Refused[0].Held, "taken back") {
				t.Errorf("%v: %+v", words, done)
			}
		}
		if got := must[[]string](t)(b.client(t, "admin").Do(t.Context(), "ACL", "LIST").StringSlice()); !slices.Equal(got, acl) {
			t.Error("the users are others now")
		}
		if bind := rdb.ConfigGet(t.Context(), "bind").Val()["bind"]; bind != "127.0.0.1" {
			t.Errorf("bind is %q", bind)
		}
		if done := must[[]audit.Applied](t)(audit.Apply(t.Context(), rdb, []audit.Change{{Node: b.addr(), Fix: audit.Fix{Command: []string{"CONFIG", "SET", "no-such-setting", "1"}}}})); len(done[0].Refused) != 1 {
			t.Errorf("%+v", done)
		}
		if _, err := audit.Apply(t.Context(), rdb, []audit.Change{{Node: "127.0.0.1:1"}}); err == nil || !strings.Contains(err.Error(), "no longer one of the nodes") {
			t.Errorf("%v", err)
		}
	})
}

// TestEveryNodeIsMended is of a cluster and of a group that Sentinel watches.
func TestEveryNodeIsMended(t *testing.T) {
	slow(t)
	mended := func(t *testing.T, rdb redis.UniversalClient, nodes []*server.Server, by *redis.FailoverOptions) {
		mend(t, rdb, look(t, rdb, audit.Options{Checks: []string{"M1"}, Sentinels: by}))
		if r := look(t, rdb, audit.Options{Checks: []string{"M1"}, Sentinels: by}); len(r.Of(audit.Passed)) != len(nodes) {
			t.Errorf("%+v %+v", r.Nodes, r.Results)
		}
	}
	each(t, func(t *testing.T, binary string) {
		c := must[*server.Cluster](t)(server.StartCluster(t.Context(), server.Options{Binary: binary}))
		t.Cleanup(func() { _ = c.Close() })
		for _, n := range c.Nodes() {
			knowsReplicas(t, n)
		}
		rdb := redis.NewClusterClient(c.AdminOptions())
		t.Cleanup(func() { _ = rdb.Close() })
		mended(t, rdb, c.Nodes(), nil)
	})
	each(t, func(t *testing.T, binary string) {
		s := must[*server.Sentinel](t)(server.StartSentinel(t.Context(), server.Options{Binary: binary}))
		t.Cleanup(func() { _ = s.Close() })
		rdb := redis.NewFailoverClient(s.AdminOptions())
		t.Cleanup(func() { _ = rdb.Close() })
		mended(t, rdb, s.Nodes(), s.AdminOptions())
	})
}
