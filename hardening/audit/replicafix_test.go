package audit_test

import (
	"crypto/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
)

// linked waits until a replica has its master's data.
func linked(t *testing.T, replica *redis.Client) {
	t.Helper()
	await(t, func() bool {
		return strings.Contains(replica.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
}

// heldFor returns why the fixes of a check are left alone.
func heldFor(r *audit.Report, check string) (why []string) {
	for _, c := range r.Changes() {
		if slices.Contains(c.Checks, check) {
			why = append(why, c.Held)
		}
	}
	return why
}

// TestProtectedModeIsMended is of a server that anybody reaches.
func TestProtectedModeIsMended(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := stock(t, binary, "protected-mode no")
		rdb := b.client(t, "")
		r := look(t, rdb, audit.Options{Checks: []string{"N2"}})
		if found := of(r, "N2"); len(found) != 1 || found[0].Severity != audit.High {
			t.Fatalf("%+v", r.Results)
		}
		if done := mend(t, rdb, r); len(done) != 1 || len(done[0].Made) != 1 || !slices.Equal(done[0].Kept, []string{"configuration file"}) {
			t.Errorf("%+v", done)
		}
		b.restart(t)
		if r := look(t, b.client(t, ""), audit.Options{Checks: []string{"N2"}}); len(r.Of(audit.Passed)) != 1 {
			t.Errorf("after a restart: %+v", r.Results)
		}
	})
}

// TestProtectedModeFromAfar would shut its caller out.
func TestProtectedModeFromAfar(t *testing.T) {
	for from, want := range map[string]string{"127.0.0.1:4711": "", "192.0.2.7:4711": "another machine", "": "another machine"} {
		rdb := fake{config: map[string]string{"protected-mode": "no"}, users: []string{"user default on nopass ~* &* +@all"},
			self: "id=1 addr=" + from + " laddr=192.0.2.1:6379"}.start(t, nil)
		why := heldFor(look(t, rdb, audit.Options{Checks: []string{"N2"}}), "N2")
		if len(why) != 1 || (why[0] == "") != (want == "") || !strings.Contains(why[0], want) {
			t.Errorf("from %q: %q", from, why)
		}
	}
}

// TestReplicasOfTheDefaultUser keeps the user as which a replica comes, until
// the replica has a login of its own.
func TestReplicasOfTheDefaultUser(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		master := stock(t, binary, "repl-diskless-sync-delay 0")
		replica := stock(t, binary, "replicaof 127.0.0.1 "+strconv.Itoa(master.port))
		follower := replica.client(t, "")
		linked(t, follower)
		master.becomeAdmin(t)
		admin, replicated := master.client(t, "admin"), audit.Options{Admins: []string{"admin", "repl"}, Expected: []string{"127.0.0.1"}}
		for _, id := range []string{"A1", "A2"} {
			why := heldFor(look(t, admin, replicated), id)
			if len(why) != 1 || !strings.Contains(why[0], "a replica is logged in as default: give it a user of its own with masteruser and masterauth") {
				t.Errorf("%s: %q", id, why)
			}
		}
		if found := of(look(t, follower, audit.Options{}), "A15"); len(found) != 1 || found[0].Fixes != nil || len(found[0].Remedy) == 0 {
			t.Errorf("%+v", found)
		}

		password := rand.Text()
		master.do(t, "ACL", "SETUSER", "repl", "on", ">"+password, "resetchannels", "-@all", "+psync", "+replconf", "+ping")
		for name, value := range map[string]string{"masteruser": "repl", "masterauth": password} {
			if err := follower.ConfigSet(t.Context(), name, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
		r := look(t, follower, audit.Options{})
		if len(of(r, "A15")) != 0 {
			t.Errorf("%+v", of(r, "A15"))
		}
		kill := func() {
			if err := admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err(); err != nil {
				t.Fatal(err)
			}
		}
		kill()
		await(t, func() bool { return strings.Contains(admin.ClientList(t.Context()).Val(), "user=repl") })
		linked(t, follower)
		mend(t, admin, look(t, admin, replicated))
		if got := of(look(t, admin, replicated), "A1"); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		kill() // what comes back logs in anew
		master.do(t, "SET", "k", "v")
		await(t, func() bool { return follower.Get(t.Context(), "k").Val() == "v" })
	})
}

// TestPlainReplicationIsMended: a master speaks TLS to others from its next
// command on; a replica would lose its master, and is told both commands.
func TestPlainReplicationIsMended(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		plain := freePort(t)
		master := hardened(t, binary, []string{"port " + strconv.Itoa(plain), "tls-replication no", "repl-diskless-sync-delay 0"})
		master.do(t, "ACL", "SETUSER", "default", "on", "nopass", "resetchannels", "-@all", "+psync", "+replconf", "+ping")
		replica := hardened(t, binary, []string{"replicaof 127.0.0.1 " + strconv.Itoa(plain), "tls-replication no"})
		follower := replica.client(t, "admin")
		linked(t, follower)

		only := audit.Options{Checks: []string{"T10", "N4"}}
		why := heldFor(replica.audit(t, only), "T10")
		if len(why) != 1 || !strings.Contains(why[0], "change it together with REPLICAOF") {
			t.Errorf("on the replica: %q", why)
		}
		r := master.audit(t, only)
		if why := heldFor(r, "N4"); len(why) != 1 || !strings.Contains(why[0], "comes by the plaintext port") {
			t.Errorf("N4: %q", why)
		}
		mend(t, master.client(t, "admin"), r)
		if found := of(master.audit(t, only), "T10"); len(found) != 0 {
			t.Errorf("%+v", found)
		}

		replica.do(t, "CONFIG", "SET", "tls-replication", "yes")
		replica.do(t, "REPLICAOF", "127.0.0.1", master.port)
		linked(t, follower)
		if found := of(replica.audit(t, only), "T10"); len(found) != 0 {
			t.Errorf("%+v", found)
		}
		mend(t, master.client(t, "admin"), master.audit(t, only)) // the plaintext port
		if left := of(master.audit(t, only), "N4"); len(left) != 0 {
			t.Errorf("%+v", left)
		}
		master.do(t, "SET", "k", "v")
		await(t, func() bool { return follower.Get(t.Context(), "k").Val() == "v" })
	})
}

// TestPlainBusIsLeftAlone: nodes that speak TLS do not hear those that do not.
func TestPlainBusIsLeftAlone(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, []string{
			"port " + strconv.Itoa(freePort(t)), "cluster-enabled yes", "tls-cluster no",
			"cluster-port " + strconv.Itoa(freePort(t)), // not the default, which the system gives to others too
		})
		only := audit.Options{Checks: []string{"T10", "N4"}}
		r := b.audit(t, only)
		for check, want := range map[string]string{"T10": "into every node's configuration file", "N4": "the cluster's bus goes by the plaintext port"} {
			if why := heldFor(r, check); len(why) != 1 || !strings.Contains(why[0], want) {
				t.Errorf("%s: %q", check, why)
			}
		}
		if done := mend(t, b.client(t, "admin"), r); done != nil {
			t.Errorf("%+v", done)
		}
		text := must[[]byte](t)(os.ReadFile(b.conf()))
		write(t, b.conf(), append(text, "tls-cluster yes\n"...))
		b.restart(t)
		mend(t, b.client(t, "admin"), b.audit(t, only))
		if left := b.audit(t, only); len(left.Of(audit.Passed)) != 2 {
			t.Errorf("%+v", left.Results)
		}
	})
}
