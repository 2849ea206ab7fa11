package audit_test

import (
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/hardening/audit"
)

// inCluster and plain are settings on which some weaknesses depend.
var (
	inCluster = map[string]string{"cluster-enabled": "yes", "tls-port": "0", "replica-read-only": "yes", "maxmemory-clients": "0"}
	plain     = map[string]string{"cluster-enabled": "no", "tls-port": "0", "replica-read-only": "yes", "maxmemory-clients": "0"}
	exposed   = map[string]string{"cluster-enabled": "no", "tls-port": "6380", "replica-read-only": "no", "maxmemory-clients": "5%"}
)

func valkey(version string) string { return "redis_version:7.2.4\nvalkey_version:" + version }

// TestWeaknesses has the boundaries of the branches that releases mend, and what
// a weakness takes beside the version.
func TestWeaknesses(t *testing.T) {
	for _, c := range []struct {
		info     string
		config   map[string]string
		has, not string
	}{
		{"redis_version:7.2.10", exposed, "CVE-2025-49844", "CVE-2025-32023"},
		{"redis_version:7.2.11", exposed, "CVE-2026-25243", "CVE-2025-49844"},
		{"redis_version:7.2.13", exposed, "CVE-2026-23479", "CVE-2025-67733"},
		{"redis_version:7.2.14", exposed, "CVE-2026-66373", "CVE-2026-23479"},
		{"redis_version:7.2.15", exposed, "CVE-2026-81934", "CVE-2026-66373"},
		{"redis_version:7.2.16", exposed, "", "CVE-2026-81934"},
		{"redis_version:7.0.15", exposed, "CVE-2025-49844", "CVE-2026-23479"}, // no release of 7.0; the later one begins with 7.2
		{"redis_version:7.0.15", exposed, "CVE-2026-81934", "CVE-2025-62507"},
		{"redis_version:6.2.17", exposed, "CVE-2025-21605", "CVE-2024-46981"},
		{"redis_version:6.2.18", exposed, "CVE-2025-48367", "CVE-2025-21605"},
		{"redis_version:6.2.20", exposed, "CVE-2026-25243", "CVE-2025-49844"},
		{"redis_version:6.2.22", exposed, "CVE-2026-66373", "CVE-2026-25243"},
		{"redis_version:6.2.23", exposed, "CVE-2026-81934", "CVE-2026-66373"},
		{"redis_version:6.2.24", exposed, "CVE-2026-23631", "CVE-2026-81934"}, // which no release of 6.2 names
		{"redis_version:7.4.10", exposed, "CVE-2026-81934", "CVE-2026-66373"},
		{"redis_version:8.0.4", exposed, "CVE-2026-23479", "CVE-2025-49844"},
		{"redis_version:8.2.1", exposed, "CVE-2025-49844", "CVE-2025-32023"},
		{"redis_version:8.2.2", exposed, "CVE-2025-62507", "CVE-2025-49844"},
		{"redis_version:8.4.4", exposed, "CVE-2026-66373", "CVE-2026-23479"},
		{"redis_version:8.6.5", exposed, "CVE-2026-81934", "CVE-2026-66373"},
		{"redis_version:8.6.5", plain, "", "CVE-2026-81934"},
		{"redis_version:8.6.2", plain, "CVE-2026-25243", "CVE-2026-23631"},
		{"redis_version:8.6.2", nil, "CVE-2026-23631", ""}, // unseen is exposed
		{"redis_version:8.6.6", exposed, "", "CVE-2026-81934"},
		{"redis_version:8.8.0", plain, "", "CVE-2026-66373"},
		{"redis_version:8.10.1", exposed, "", "CVE-2026-81934"},
		{valkey("7.2.7"), exposed, "CVE-2024-46981", "CVE-2024-31449"},
		{valkey("7.2.8"), exposed, "CVE-2025-21605", "CVE-2024-46981"},
		{valkey("8.0.1"), exposed, "CVE-2025-49844", "CVE-2024-31449"},
		{valkey("8.0.2"), exposed, "CVE-2025-21605", "CVE-2024-46981"},
		{valkey("8.0.3"), exposed, "CVE-2025-32023", "CVE-2025-21605"},
		{valkey("8.0.4"), exposed, "CVE-2025-49844", "CVE-2025-32023"},
		{valkey("8.0.6"), exposed, "CVE-2025-67733", "CVE-2025-49844"},
		{valkey("8.0.6"), exposed, "CVE-2025-67733", "CVE-2026-21863"},
		{valkey("8.0.6"), inCluster, "CVE-2026-21863", "CVE-2026-27623"},
		{valkey("8.0.7"), exposed, "CVE-2026-23479", "CVE-2025-67733"},
		{valkey("8.0.9"), exposed, "CVE-2026-56684", "CVE-2026-23479"},
		{valkey("7.2.13"), exposed, "CVE-2026-63639", "CVE-2026-25243"},
		{valkey("8.1.8"), exposed, "CVE-2026-56684", "CVE-2025-67733"},
		{valkey("9.0.2"), exposed, "CVE-2026-27623", "CVE-2025-49844"},
		{valkey("9.0.2"), exposed, "CVE-2025-67733", "CVE-2026-21863"},
		{valkey("9.0.3"), exposed, "CVE-2026-25243", "CVE-2025-67733"},
		{valkey("9.1.0"), exposed, "CVE-2026-63639", "CVE-2026-25243"},
		{valkey("8.0.8"), exposed, "CVE-2026-23479", "CVE-2025-67733"},
		{valkey("9.0.5"), exposed, "CVE-2026-130822", "GHSA-fq2f-crmw-q97r"},
		{valkey("9.1.1"), exposed, "GHSA-fq2f-crmw-q97r", "CVE-2026-63639"},
		{valkey("9.1.2"), exposed, "CVE-2026-130822", "GHSA-fq2f-crmw-q97r"},
		{valkey("9.1.1"), inCluster, "GHSA-f4q9-j22m-xqq9", "CVE-2026-63639"},
		{valkey("9.1.3"), exposed, "CVE-2026-130822", "GHSA-f4q9-j22m-xqq9"},
		{valkey("9.1.3"), plain, "", "CVE-2026-130822"},
		{valkey("9.1.4"), exposed, "", "CVE-2026-130822"},
	} {
		t.Run(c.info, func(t *testing.T) {
			found := of(look(t, fake{info: c.info, config: c.config}.start(t, nil), audit.Options{Checks: []string{"S5"}}), "S5")
			seen := map[string]audit.Result{}
			for _, one := range found {
				if seen[one.Subject].Check != "" || !strings.Contains(one.Evidence, "(https://") {
					t.Errorf("twice, or without a source: %+v", one)
				}
				seen[one.Subject] = one
			}
			if _, ok := seen[c.has]; !ok && c.has != "" {
				t.Errorf("%s is not found", c.has)
			}
			if one, ok := seen[c.not]; ok {
				t.Errorf("%+v", one)
			}
			if c.has == "" && len(found) > 0 {
				t.Errorf("%+v", found)
			}
		})
	}
}

// TestNoFixOpensAWeakness: a bound that a version does not survive is not set.
func TestNoFixOpensAWeakness(t *testing.T) {
	for info, fixes := range map[string]int{valkey("9.1.3"): 0, valkey("9.1.4"): 1, "redis_version:7.4.11": 1} {
		found := of(look(t, fake{info: info, config: plain}.start(t, nil), audit.Options{Checks: []string{"M6"}}), "M6")
		if len(found) != 1 || len(found[0].Fixes) != fixes || len(found[0].Remedy) != 1 {
			t.Errorf("%s: %+v", info, found)
		}
	}
}

// TestBranches has each way in which a branch can stand in its maker's list.
func TestBranches(t *testing.T) {
	day := func(s string) time.Time { return must[time.Time](t)(time.Parse(time.DateOnly, s)) }
	for _, c := range []struct {
		info, now, want string
		status          audit.Status
		severity        audit.Severity
	}{
		{"redis_version:5.0.14", "2026-08-01", "5.0 is not among", audit.Failed, audit.High},
		{"redis_version:7.0.15", "2026-08-01", "7.0 is not among", audit.Failed, audit.High},
		{"redis_version:6.2.24", "2026-08-01", "", audit.Passed, 0},
		{"redis_version:6.2.24", "2027-02-01", "until 2027-04-01", audit.Failed, audit.Low},
		{"redis_version:6.2.24", "2027-04-01", "since 2027-04-01", audit.Failed, audit.High},
		{"redis_version:7.2.16", "2029-01-01", "", audit.Passed, 0},
		{"redis_version:8.2.10", "2030-09-02", "since 2030-09-01", audit.Failed, audit.High},
		{"redis_version:8.10.2", "2026-11-01", "not published", audit.Unknown, 0},
		{"redis_version:9.0.0", "2026-11-01", "not published", audit.Unknown, 0},
		{valkey("7.2.16"), "2029-04-16", "since 2029-04-16", audit.Failed, audit.High},
		{valkey("8.0.13"), "2026-11-01", "", audit.Passed, 0},
		{valkey("9.0.8"), "2026-11-01", "", audit.Passed, 0},
		{valkey("9.1.4"), "2026-11-01", "not published", audit.Unknown, 0},
	} {
		t.Run(c.info+" "+c.now, func(t *testing.T) {
			rdb := fake{info: c.info + "\nexecutable:/usr/local/bin/redis-server"}.start(t, nil)
			r := look(t, rdb, audit.Options{Checks: []string{"S6"}, Now: func() time.Time { return day(c.now) }}).Results
			if len(r) != 1 || r[0].Status != c.status || !strings.Contains(r[0].Evidence, c.want) || c.severity != 0 && r[0].Severity != c.severity {
				t.Errorf("%+v", r)
			}
			if c.status != audit.Passed && !strings.Contains(r[0].Evidence, "(https://") {
				t.Errorf("without a source: %q", r[0].Evidence)
			}
		})
	}
}

// TestPackagedVersionsArePossible: what a distribution has mended does not show
// in its version.
func TestPackagedVersionsArePossible(t *testing.T) {
	for path, possible := range map[string]bool{"/usr/bin/redis-server": true, "/usr/local/bin/redis-server": false, "": true, "/data/redis-server": false} {
		r := look(t, fake{info: "redis_version:7.0.15\nexecutable:" + path}.start(t, nil), audit.Options{})
		for _, one := range append(of(r, "S5"), of(r, "S6")...) {
			if one.Possible != possible || possible && one.Severity > audit.Medium {
				t.Errorf("%s: %+v", path, one)
			}
		}
		if len(of(r, "S5")) == 0 || len(of(r, "S6")) == 0 {
			t.Error("nothing is found")
		}
	}
}

// TestChangelogOfThePackage: on the server's machine the package's own changelog
// settles what the version leaves open.
func TestChangelogOfThePackage(t *testing.T) {
	onLinux(t)
	each(t, func(t *testing.T, binary string) {
		text := packagesChangelog(t, binary)
		b := hardened(t, binary, nil)
		afar, beside := of(b.audit(t, audit.Options{}), "S5"), of(b.audit(t, audit.Options{Host: true}), "S5")
		open := map[string]bool{}
		for _, one := range afar {
			open[one.Subject] = !strings.Contains(text, one.Subject)
			if !one.Possible {
				t.Errorf("from afar: %+v", one)
			}
		}
		for _, one := range beside {
			if !open[one.Subject] || one.Possible || !strings.Contains(one.Evidence, "does not name it") {
				t.Errorf("%+v", one)
			}
			delete(open, one.Subject)
		}
		for id, still := range open {
			if still {
				t.Errorf("%s is not found, and the package does not name it", id)
			}
		}
	})
}

func packagesChangelog(t *testing.T, binary string) string {
	t.Helper()
	if path, err := exec.LookPath(binary); err != nil || path != "/usr/bin/"+binary {
		t.Skip("this server is no package's: ", path)
	}
	file, err := os.Open(filepath.Join("/usr/share/doc", binary, "changelog.Debian.gz"))
	if err != nil {
		t.Skip("no package of Debian's with its changelog: ", err)
	}
	defer file.Close()
	r := must[*gzip.Reader](t)(gzip.NewReader(file))
	return string(must[[]byte](t)(io.ReadAll(r)))
}
