package audit_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/hardening/audit"
	"github.com/securecache/securecache-go/internal/server/pki"
)

var host = audit.Options{Host: true, Checks: []string{"S8", "T13"}}

func onLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes and files are looked at on Linux alone")
	}
}

// files returns the subjects of what was found of S8, without root's, as which
// tests may run.
func files(r *audit.Report) (names []string) {
	for _, one := range of(r, "S8") {
		if one.Subject != "" {
			names = append(names, one.Subject)
		}
	}
	return names
}

func TestFilesOfTheServer(t *testing.T) {
	onLinux(t)
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, nil)
		chmod := func(name string, mode os.FileMode) {
			t.Helper()
			if err := os.Chmod(filepath.Join(b.dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
		chmod("", 0o700)
		r := b.audit(t, host)
		if files(r) != nil || len(of(r, "T13")) != 0 || len(r.Of(audit.Unknown)) != 0 {
			t.Errorf("%+v", r.Results)
		}
		if root := len(of(r, "S8")) == 1 && strings.Contains(of(r, "S8")[0].Evidence, "as root"); root != (os.Geteuid() == 0) {
			t.Errorf("as root: %t", root)
		}
		chmod("", 0o757)
		chmod("key.pem", 0o644)
		chmod("server.conf", 0o644)
		chmod("users.acl", 0o606)
		r = b.audit(t, host)
		if got, want := files(r), []string{"config_file", "aclfile", "tls-key-file", "dir"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for _, one := range of(r, "S8") {
			if want := one.Subject == "config_file"; (one.Severity == audit.Medium) != want || one.Remedy == nil {
				t.Errorf("%+v", one)
			}
		}
		if os.Geteuid() == 0 { // who alone can give files away
			if err := os.Chown(filepath.Join(b.dir, "server.conf"), 4711, -1); err != nil {
				t.Fatal(err)
			}
			if found := of(b.audit(t, host), "S8"); !slices.ContainsFunc(found, func(r audit.Result) bool { return strings.Contains(r.Evidence, "user 4711") }) {
				t.Errorf("%+v", found)
			}
		}
		if err := os.Rename(filepath.Join(b.dir, "key.pem"), filepath.Join(b.dir, "away.pem")); err != nil {
			t.Fatal(err)
		}
		if unknown := b.audit(t, host).Of(audit.Unknown); len(unknown) != 1 || unknown[0].Subject != "tls-key-file" {
			t.Errorf("%+v", unknown)
		}
	})
}

// TestCertificateOfTheFile replaces the certificate and forgets to say so.
func TestCertificateOfTheFile(t *testing.T) {
	onLinux(t)
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, nil)
		replace := func(ca *pki.CA) {
			pair := must[pki.Pair](t)(ca.Issue(longLived(pki.Server())))
			write(t, filepath.Join(b.dir, "server.pem"), pair.Cert)
			write(t, filepath.Join(b.dir, "key.pem"), pair.Key)
		}
		replace(must[*pki.CA](t)(pki.New("an authority that clients do not know")))
		r := b.audit(t, host)
		if found := of(r, "T13"); len(found) != 1 || !strings.Contains(found[0].Evidence, "would refuse") || found[0].Fixes != nil {
			t.Errorf("%+v", found)
		}
		replace(authority)
		r = b.audit(t, host)
		if found := of(r, "T13"); len(found) != 1 || found[0].Severity != audit.Medium || len(found[0].Fixes) != 1 {
			t.Fatalf("%+v", found)
		}
		mend(t, b.client(t, "admin"), r)
		if found := of(b.audit(t, host), "T13"); len(found) != 0 {
			t.Errorf("%+v", found)
		}
		write(t, filepath.Join(b.dir, "server.pem"), []byte("half a"))
		if found := of(b.audit(t, host), "T13"); len(found) != 1 || !strings.Contains(found[0].Evidence, "will not start") {
			t.Errorf("%+v", found)
		}
	})
}

// TestHostIsAskedFor has no word of files where they are not to be looked at.
func TestHostIsAskedFor(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		r := hardened(t, binary, nil).audit(t, audit.Options{Checks: host.Checks})
		if len(r.Of(audit.Skipped)) != 2 {
			t.Errorf("%+v", r.Results)
		}
	})
}

// TestServerOfAnotherMachine has a server whose process number is somebody
// else's here.
func TestServerOfAnotherMachine(t *testing.T) {
	onLinux(t)
	for _, id := range []string{strconv.Itoa(os.Getpid()), "4194305", "../self"} {
		rdb := fake{info: "redis_version:7.0.15\nprocess_id:" + id + "\n", config: map[string]string{"dir": "/tmp"}}.start(t, nil)
		unknown := look(t, rdb, audit.Options{Host: true, Checks: []string{"S8"}}).Of(audit.Unknown)
		if len(unknown) != 1 || !strings.Contains(unknown[0].Evidence, "is not the server") {
			t.Errorf("%s: %+v", id, unknown)
		}
	}
}
