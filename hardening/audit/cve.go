package audit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// weakness is a published flaw and the releases that mend it, one a branch. A
// branch that has none and is older than the newest of them is not mended; one
// that is newer never had it.
type weakness struct {
	id, source string
	severity   Severity
	since      map[string]string // the first branch that has it, where known
	fixed      map[string][]string
	applies    func(*node) bool // nil for always
}

const (
	ghsaRedis  = "https://github.com/redis/redis/security/advisories/"
	cveRecord  = "https://www.cve.org/CVERecord?id="
	valkeyNote = "https://github.com/valkey-io/valkey/releases/tag/"
)

var (
	october2025 = map[string][]string{"redis": {"6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2"}, "valkey": {"7.2.11", "8.0.6", "8.1.4"}}
	may2026     = map[string][]string{"redis": {"7.2.14", "7.4.9", "8.2.6", "8.4.3", "8.6.3"}}
	july2026    = map[string][]string{"valkey": {"8.1.9", "9.0.5", "9.1.1"}}
)

// knownWeaknesses are those that a cache's server is exposed to. A new one is an
// entry here.
var knownWeaknesses = []weakness{
	{id: "CVE-2025-49844", severity: Critical, fixed: october2025, source: ghsaRedis + "GHSA-4789-qfc9-5f9q"},
	{id: "CVE-2025-46817", severity: High, fixed: october2025, source: cveRecord + "CVE-2025-46817"},
	{id: "CVE-2025-46818", severity: Medium, fixed: october2025, source: cveRecord + "CVE-2025-46818"},
	{id: "CVE-2025-46819", severity: Medium, fixed: october2025, source: cveRecord + "CVE-2025-46819"},
	{id: "CVE-2025-32023", severity: High, source: cveRecord + "CVE-2025-32023", fixed: map[string][]string{
		"redis": {"6.2.19", "7.2.10", "7.4.5", "8.0.3"}, "valkey": {"7.2.10", "8.0.4", "8.1.3"}}},
	{id: "CVE-2025-21605", severity: High, source: ghsaRedis + "GHSA-r67f-p999-2gff", fixed: map[string][]string{
		"redis": {"6.2.18", "7.2.8", "7.4.3"}, "valkey": {"7.2.9", "8.0.3", "8.1.1"}}},
	{id: "CVE-2024-46981", severity: High, source: cveRecord + "CVE-2024-46981", fixed: map[string][]string{
		"redis": {"6.2.17", "7.2.7", "7.4.2"}, "valkey": {"7.2.8", "8.0.2"}}},
	{id: "CVE-2024-31449", severity: High, source: ghsaRedis + "GHSA-whxg-wx83-85p5", fixed: map[string][]string{
		"redis": {"6.2.16", "7.2.6", "7.4.1"}}},
	{id: "CVE-2026-23479", severity: High, since: map[string]string{"redis": "7.2.0"}, fixed: may2026, source: ghsaRedis + "GHSA-93m2-935m-8rj3"},
	{id: "CVE-2026-25243", severity: High, fixed: may2026, source: ghsaRedis + "GHSA-c8h9-259x-jff4"},
	{id: "CVE-2026-23631", severity: Medium, fixed: may2026, source: ghsaRedis + "GHSA-8ghh-qpmp-7826",
		applies: func(n *node) bool { return n.config == nil || n.config["replica-read-only"] == "no" }},
	{id: "CVE-2026-81934", severity: Critical, since: map[string]string{"redis": "7.4.0"}, source: cveRecord + "CVE-2026-81934", applies: overTLS,
		fixed: map[string][]string{"redis": {"7.4.11", "8.2.9", "8.4.6", "8.6.6", "8.8.2", "8.10.1"}}},
	{id: "CVE-2025-67733", severity: High, source: cveRecord + "CVE-2025-67733", fixed: map[string][]string{
		"valkey": {"7.2.12", "8.0.7", "8.1.6", "9.0.2"}}},
	{id: "CVE-2026-56684", severity: High, since: map[string]string{"valkey": "8.1.0"}, fixed: july2026, source: valkeyNote + "8.1.9", applies: overTLS},
	{id: "CVE-2026-63639", severity: Medium, since: map[string]string{"valkey": "8.1.0"}, fixed: july2026, source: valkeyNote + "8.1.9"},
}

func overTLS(n *node) bool { return n.at.TLSConfig != nil || n.config["tls-port"] != "0" }

// touches reports whether a server of this version has the weakness, and the
// release that mends it.
func (w weakness) touches(server, version string) (mended string, yes bool) {
	floors := w.fixed[server]
	if len(floors) == 0 || w.since[server] != "" && compare(version, w.since[server]) < 0 {
		return "", false
	}
	for _, floor := range floors {
		if branch(floor) == branch(version) {
			return floor, compare(version, floor) < 0
		}
	}
	for _, floor := range floors {
		if compare(floor, version) > 0 {
			return floor, true
		}
	}
	return "", false
}

func weaknesses(n *node) (list []finding) {
	if n.version == "" {
		return unsure("the server does not tell its version")
	}
	for _, w := range knownWeaknesses {
		mended, yes := w.touches(n.server, n.version)
		if !yes || w.applies != nil && !w.applies(n) {
			continue
		}
		list = append(list, n.mayBeMended(finding{
			subject: w.id, severity: w.severity,
			evidence: fmt.Sprintf("%s %s has %s, mended in %s (%s)", n.server, n.version, w.id, mended, w.source),
			remedy:   []string{"update to " + mended + " or later"},
		}, w.id))
	}
	return list
}

// mayBeMended lowers what a distribution may have mended without a new version:
// where the server runs from a package's directory, or does not say from where,
// its version says little.
func (n *node) mayBeMended(f finding, what string) finding {
	if !n.packaged() {
		return f
	}
	f.possible, f.severity = true, min(f.severity, Medium)
	f.evidence = "possible: " + f.evidence + "; a distribution's package may have it mended"
	f.remedy = append(f.remedy, "or see whether the package has it: apt-get changelog "+n.server+"-server | grep "+what)
	return f
}

func (n *node) packaged() bool {
	path := n.info["executable"]
	return path == "" || strings.HasPrefix(path, "/usr/bin/") || strings.HasPrefix(path, "/usr/sbin/")
}

// ended are branches that their makers no longer mend, and by what one knows
// it.
var ended = []struct{ server, branch, since string }{
	{"redis", "7.0", "no release since 7.0.15 of January 2024; the advisories of 2024 and 2025 name none"},
	{"redis", "6.0", "no release since 6.0.20 of July 2023"},
	{"redis", "5.0", "no release since 5.0.14 of October 2021"},
}

func branchEnded(n *node) []finding {
	if n.version == "" {
		return unsure("the server does not tell its version")
	}
	for _, e := range ended {
		if e.server == n.server && e.branch == branch(n.version) {
			return []finding{n.mayBeMended(finding{severity: High,
				evidence: n.server + " " + e.branch + " is not maintained: " + e.since, remedy: []string{"update to a maintained branch"}}, "CVE-")}
		}
	}
	return nil
}

// numbers reads 7.0.15, and what else stands behind, as three numbers.
func numbers(version string) (v [3]int) {
	for i, part := range strings.SplitN(version, ".", 3) {
		digits := part[:len(part)-len(strings.TrimLeft(part, "0123456789"))]
		v[i], _ = strconv.Atoi(digits)
	}
	return v
}

func compare(a, b string) int {
	x, y := numbers(a), numbers(b)
	return slices.Compare(x[:], y[:])
}

func branch(version string) string {
	v := numbers(version)
	return fmt.Sprintf("%d.%d", v[0], v[1])
}

func atLeast(version, floor string) bool { return compare(version, floor) >= 0 }
