package audit_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
)

// watcher starts a Sentinel that watches nobody, and that every check passes but
// for the lines and users.
func watcher(t *testing.T, binary string, lines []string, users ...string) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), binary: binary, password: rand.Text(), args: []string{"--sentinel"}}
	users = append([]string{"app reset on " + hashed(rand.Text()) + " resetchannels &+switch-master -@all +ping +subscribe +sentinel|get-master-addr-by-name"}, users...)
	b.lines = append(b.secured(t, users), lines...)
	b.start(t, "tls-port")
	return b
}

// untold are the settings' checks: a Sentinel answers no CONFIG GET.
var untold = []string{"N5", "N6", "A10", "A11", "T9", "T10"}

// tellsAddresses: INFO has them from Redis 7.2 and Valkey on.
func tellsAddresses(r *audit.Report) bool {
	return r.Nodes[0].Server == "valkey" || strings.Compare(r.Nodes[0].Version, "7.2") >= 0
}

func TestHardenedSentinelIsSilent(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		r := watcher(t, binary, nil).audit(t, audit.Options{})
		if len(r.Nodes) != 1 || r.Nodes[0].Role != "sentinel" {
			t.Fatalf("%+v", r.Nodes)
		}
		unknown := slices.Clone(untold)
		if !tellsAddresses(r) {
			unknown = append(unknown, "N3")
		}
		for _, one := range r.Results {
			if slices.Contains(always, one.Check) || one.Check == "T3" { // which FIPS mode cannot offer
				continue
			}
			switch want := slices.Contains(unknown, one.Check); {
			case one.Status == audit.Failed, want != (one.Status == audit.Unknown):
				t.Errorf("%+v", one)
			case strings.Contains("MP", one.Check[:1]) && one.Status != audit.Skipped:
				t.Errorf("without data: %+v", one)
			}
		}
	})
}

// sentinelFaults are ways in which a Sentinel is bad, and of the evidence of
// each check a part.
var sentinelFaults = []struct {
	name   string
	lines  []string
	make   func(t *testing.T, b *bench)
	checks map[string]string
}{
	{name: "open", make: words("ACL SETUSER default on nopass"), checks: map[string]string{
		"A1": "no password", "A2": "every command", "N1": "answered without a password"}},
	{name: "default", make: words("ACL SETUSER default on >a-password-of-this-test"), checks: map[string]string{"A2": "every command"}},
	{name: "TLS", lines: []string{"tls-auth-clients optional", "tls-ciphers DEFAULT"}, checks: map[string]string{
		"T2": "without a client certificate", "T4": "CBC"}},
}

func TestBadSentinelsAreFound(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		for _, f := range sentinelFaults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				b := watcher(t, binary, f.lines)
				if f.make != nil {
					f.make(t, b)
				}
				r := b.audit(t, audit.Options{})
				for check, want := range f.checks {
					if found := of(r, check); len(found) != 1 || !strings.Contains(found[0].Evidence, want) {
						t.Errorf("%s: %+v", check, found)
					}
				}
				byHand(t, b, r)
			})
		}
	})
}

// sentinelUsers are bad ones, each under a name of its own, for which U stands.
var sentinelUsers = []struct{ check, rules, want string }{
	{"A3", "on nopass -@all +ping", "user U"},
	{"A4", "on " + hashed("1") + " &* -@all +subscribe", "U has &* (every channel)"},
	{"A4", "on " + hashed("1") + " ~* +@all", "U has +@all (every command)"}, // keys there are none
	{"A5", "on " + hashed("1") + " resetchannels +@all", "may sentinel|set"},
	{"A5", "on " + hashed("1") + " resetchannels -@all +sentinel",
		"may sentinel|set, sentinel|monitor, sentinel|remove, sentinel|reset, sentinel|failover, sentinel|config"},
	{"A5", "on " + hashed("1") + " resetchannels &__sentinel__:hello -@all +publish", "may publish"},
	{"A7", "on " + hashed("redis123") + " -@all +ping", "user U"},
	{"A8", "on " + hashed("1") + " " + hashed("2") + " -@all +ping", "2 passwords"},
}

func TestBadUsersOfASentinelAreFound(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		var users []string
		name := func(i int) string { return "u" + strconv.Itoa(i) }
		for i, f := range sentinelUsers {
			users = append(users, name(i)+" "+f.rules)
		}
		b := watcher(t, binary, nil, users...)
		r := b.audit(t, audit.Options{})
		for i, f := range sentinelUsers {
			found := slices.DeleteFunc(of(r, f.check), func(one audit.Result) bool { return one.Subject != name(i) })
			if want := strings.ReplaceAll(f.want, "U", name(i)); len(found) != 1 || !strings.Contains(found[0].Evidence, want) {
				t.Errorf("%s, %s: %+v", f.check, f.rules, found)
			}
		}
		for _, one := range r.Found(audit.Info) {
			if one.Subject == "app" {
				t.Errorf("of the good user: %+v", one)
			}
		}
		byHand(t, b, r)
	})
}

// byHand holds that nothing is changed on a Sentinel, and that it is told what
// to do: no command that it does not have.
func byHand(t *testing.T, b *bench, r *audit.Report) {
	t.Helper()
	for _, one := range r.Found(audit.Low) {
		if one.Remedy == nil || !slices.Contains(always, one.Check) && strings.Contains(strings.Join(one.Remedy, " "), "CONFIG SET") {
			t.Errorf("%s: %q", one.Check, one.Remedy)
		}
	}
	for _, c := range r.Changes() {
		if c.Command[0] != "ACL" || !strings.Contains(c.Held, "ACL SAVE") {
			t.Errorf("%+v", c)
		}
	}
	if done := mend(t, b.client(t, "admin"), r); done != nil {
		t.Errorf("changed: %+v", done)
	}
}

// TestPortsOfASentinel has those of a plaintext port, alone and beside TLS, and
// of every address.
func TestPortsOfASentinel(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		port := freePort(t)
		b := watcher(t, binary, []string{"bind 0.0.0.0", "port " + strconv.Itoa(port)})
		r := b.audit(t, audit.Options{Checks: []string{"N3", "N4"}})
		if found := of(r, "N4"); len(found) != 1 || !strings.Contains(found[0].Evidence, strconv.Itoa(port)) || !strings.Contains(found[0].Remedy[0], "configuration file, start it: port 0") {
			t.Errorf("%+v", found)
		}
		if tellsAddresses(r) != (len(of(r, "N3")) == 1) {
			t.Errorf("%+v", r.Results)
		}
		plain := b.options("admin")
		plain.Addr, plain.TLSConfig = "127.0.0.1:"+strconv.Itoa(port), nil
		// What came by plaintext finds the open port under one name or the other.
		rdb := redis.NewClient(plain)
		t.Cleanup(func() { _ = rdb.Close() })
		beside := look(t, rdb, audit.Options{Checks: []string{"N4", "T1"}})
		if len(of(beside, "N4"))+len(of(beside, "T1")) != 1 {
			t.Errorf("%+v", beside.Results)
		}

		alone := &bench{dir: t.TempDir(), binary: binary, args: []string{"--sentinel"}}
		alone.lines = []string{"bind 127.0.0.1", "dir " + alone.dir}
		alone.start(t, "port")
		r = look(t, alone.client(t, ""), audit.Options{})
		for _, id := range []string{"T1", "N1", "A1", "A2"} {
			if len(of(r, id)) != 1 {
				t.Errorf("%s: %+v", id, of(r, id))
			}
		}
		for _, one := range r.Results {
			if one.Check == "N2" && one.Status != audit.Unknown {
				t.Errorf("%+v", one)
			}
		}
		byHand(t, alone, r)
	})
}

// TestFileOfASentinel has the settings that it does not tell from its file.
func TestFileOfASentinel(t *testing.T) {
	onLinux(t)
	each(t, func(t *testing.T, binary string) {
		on := audit.Options{Host: true}
		b := watcher(t, binary, []string{"timeout 300"})
		// It has written its file anew, as its umask has it.
		if err := errors.Join(os.Chmod(b.dir, 0o700), os.Chmod(b.conf(), 0o600)); err != nil {
			t.Fatal(err)
		}
		r := b.audit(t, on)
		for _, one := range r.Results {
			switch {
			case slices.Contains(always, one.Check), one.Check == "T3", strings.Contains(one.Evidence, "as root"): // as tests may run
			case one.Status == audit.Failed, one.Status == audit.Unknown:
				t.Errorf("%+v", one)
			}
		}
		if err := os.Chmod(filepath.Join(b.dir, "key.pem"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := files(b.audit(t, on)); !slices.Equal(got, []string{"tls-key-file"}) {
			t.Errorf("%v", got)
		}
		b = watcher(t, binary, []string{"bind 0.0.0.0", "tls-replication no", "unixsocket s", "unixsocketperm 777", "requirepass a-password-of-this-test"})
		r = b.audit(t, on)
		for _, id := range []string{"N3", "N5", "N6", "T10", "A11"} {
			if found := of(r, id); len(found) != 1 || strings.Contains(strings.Join(found[0].Remedy, " "), "CONFIG SET") {
				t.Errorf("%s: %+v", id, found)
			}
		}
		if text := fmt.Sprintf("%+v", r); strings.Contains(text, "password-of-this-test") {
			t.Error("the report holds a password")
		}
	})
}

// TestSentinelUnprivileged: who may ask a Sentinel for nothing learns what a
// connection shows, and which grants are missing.
func TestSentinelUnprivileged(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := watcher(t, binary, nil)
		b.do(t, "ACL", "SETUSER", "eye", "on", hashed(b.password), "-@all", "+ping", "+hello", "+auth")
		r := look(t, b.client(t, "eye"), audit.Options{})
		if r.Nodes[0].Role != "sentinel" {
			t.Errorf("%+v", r.Nodes)
		}
		needs := map[string]string{}
		for _, one := range r.Of(audit.Unknown) {
			needs[one.Check] = one.Needs
		}
		for check, grant := range map[string]string{
			"A1": "+acl|list", "A3": "+acl|list", "T11": "+acl|list", "S11": "+client|list", "A12": "+acl|log", "N3": "+info", "N4": "+info", "A13": "+info", "T9": "",
		} {
			if got, unknown := needs[check]; !unknown || got != grant {
				t.Errorf("%s needs %q, %t", check, got, unknown)
			}
		}
		for _, one := range r.Of(audit.Passed) {
			if !strings.Contains(" N1 T1 T2 T3 T4 T5 T6 T7 T8 S5 S6 ", " "+one.Check+" ") {
				t.Errorf("passed unseen: %+v", one)
			}
		}
	})
}
