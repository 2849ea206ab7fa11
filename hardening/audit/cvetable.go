package audit

// Where the rows come from, read in November 2026. A maker's release notes say
// which release of a branch mends a weakness; an advisory or the CVE's record
// says how bad it is, and often names the newest branch alone. Not read, but
// taken from security releases of the same day, are Valkey's 7.2.8, 7.2.9,
// 7.2.10, 8.0.3 and 8.0.4, and Redis's 7.2.14 and 7.2.16.
const (
	ghsaRedis   = "https://github.com/redis/redis/security/advisories/"
	ghsaValkey  = "https://github.com/valkey-io/valkey/security/advisories/"
	redisNotes  = "https://github.com/redis/redis/releases/tag/"
	valkeyNotes = "https://github.com/valkey-io/valkey/releases/tag/"
	cveRecord   = "https://www.cve.org/CVERecord?id="
)

func ofRedis(source string, mended ...string) published {
	return published{server: "redis", source: source, mended: mended}
}

func ofValkey(source string, mended ...string) published {
	return published{server: "valkey", source: source, mended: mended}
}

func (p published) from(first string) published {
	p.since = first
	return p
}

var october2025 = []published{
	ofRedis(redisNotes+"8.2.2", "6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2"),
	ofValkey(valkeyNotes+"8.1.4", "7.2.11", "8.0.6", "8.1.4"),
}

// knownWeaknesses are those that a cache's server is exposed to. A new one is an
// entry here, with the release of each branch that mends it, as its maker names
// them: a branch without one counts as mended by the next newer release.
var knownWeaknesses = []weakness{
	{id: "CVE-2025-49844", severity: Critical, in: october2025}, // GHSA-4789-qfc9-5f9q
	{id: "CVE-2025-46817", severity: High, in: october2025},     // GHSA-m8fj-85cg-7vhp
	{id: "CVE-2025-46818", severity: Medium, in: october2025},   // GHSA-qrv7-wcrx-q5jp
	{id: "CVE-2025-46819", severity: Medium, in: october2025},   // GHSA-4c68-q8q8-3g4f

	{id: "CVE-2025-32023", severity: High, in: []published{
		ofRedis(ghsaRedis+"GHSA-rp2m-q4j6-gr43", "6.2.19", "7.2.10", "7.4.5", "8.0.3"),
		ofValkey(valkeyNotes+"8.1.3", "7.2.10", "8.0.4", "8.1.3")}},
	{id: "CVE-2025-48367", severity: High, in: []published{
		ofRedis(redisNotes+"8.0.3", "6.2.19", "7.2.10", "7.4.5", "8.0.3"),
		ofValkey(valkeyNotes+"8.1.3", "7.2.10", "8.0.4", "8.1.3")}},
	{id: "CVE-2025-21605", severity: High, in: []published{
		ofRedis(ghsaRedis+"GHSA-r67f-p999-2gff", "6.2.18", "7.2.8", "7.4.3", "8.0.0"),
		ofValkey(valkeyNotes+"8.1.1", "7.2.9", "8.0.3", "8.1.1")}},
	{id: "CVE-2024-46981", severity: High, in: []published{
		ofRedis(ghsaRedis+"GHSA-39h2-x6c4-6w4c", "6.2.17", "7.2.7", "7.4.2"),
		ofValkey(valkeyNotes+"8.0.2", "7.2.8", "8.0.2")}},
	{id: "CVE-2024-31449", severity: High, in: []published{
		ofRedis(ghsaRedis+"GHSA-whxg-wx83-85p5", "6.2.16", "7.2.6", "7.4.1"),
		ofValkey(valkeyNotes+"8.0.1", "7.2.7", "8.0.1")}},
	{id: "CVE-2025-62507", severity: High, in: []published{
		ofRedis(redisNotes+"8.2.3", "8.2.3").from("8.2.0")}},

	// Redis tells of it without a number, and Debian gives it this one. For 9.0
	// the CVE's record says 9.0.2, which came three weeks before it was made
	// known; 9.0.3 is the first whose notes name it.
	{id: "CVE-2025-67733", severity: High, in: []published{
		ofRedis(redisNotes+"8.6.1", "7.2.13", "7.4.8", "8.0.6", "8.2.5", "8.4.2", "8.6.1").from("7.0.0"),
		ofValkey(ghsaValkey+"GHSA-p876-p7q5-hv2m", "7.2.12", "8.0.7", "8.1.6", "9.0.3")}},
	{id: "CVE-2026-21863", severity: High, applies: inCluster, in: []published{
		ofValkey(ghsaValkey+"GHSA-c677-q3wr-gggq", "7.2.12", "8.0.7", "8.1.6", "9.0.3")}},
	{id: "CVE-2026-27623", severity: High, in: []published{
		ofValkey(ghsaValkey+"GHSA-93p9-5vc7-8wgr", "9.0.3").from("9.0.0")}},

	// Valkey 8.0.8 has them by its notes, and was never offered: 8.0.9 came the same day.
	{id: "CVE-2026-23479", severity: High, in: []published{
		ofRedis(ghsaRedis+"GHSA-93m2-935m-8rj3", "7.2.14", "7.4.9", "8.2.6", "8.4.3", "8.6.3").from("7.2.0"),
		ofValkey(valkeyNotes+"9.0.4", "7.2.13", "8.0.9", "8.1.7", "9.0.4", "9.1.0")}},
	// 6.2.22's notes tell of the checks of RESTORE, and name no number.
	{id: "CVE-2026-25243", severity: High, in: []published{
		ofRedis(ghsaRedis+"GHSA-c8h9-259x-jff4", "6.2.22", "7.2.14", "7.4.9", "8.2.6", "8.4.3", "8.6.3"),
		ofValkey(valkeyNotes+"9.0.4", "7.2.13", "8.0.9", "8.1.7", "9.0.4", "9.1.0")}},
	{id: "CVE-2026-23631", severity: Medium, applies: writableReplicas, in: []published{
		ofRedis(ghsaRedis+"GHSA-8ghh-qpmp-7826", "7.2.14", "7.4.9", "8.2.6", "8.4.3", "8.6.3"),
		ofValkey(valkeyNotes+"9.0.4", "7.2.13", "8.0.9", "8.1.7", "9.0.4", "9.1.0")}},
	{id: "CVE-2026-66373", severity: High, in: []published{
		ofRedis(cveRecord+"CVE-2026-66373", "6.2.23", "7.2.15", "7.4.10", "8.2.8", "8.4.5", "8.6.5", "8.8.0")}},
	{id: "CVE-2026-63639", severity: High, in: []published{
		ofValkey(ghsaValkey+"GHSA-mvcj-73cw-22m4", "7.2.14", "8.0.10", "8.1.9", "9.0.5", "9.1.1")}},
	// The record names the branches from 8.2 on; the notes of 6.2.24 and of
	// 7.4.11 have it too.
	{id: "CVE-2026-81934", severity: Critical, applies: overTLS, in: []published{
		ofRedis(cveRecord+"CVE-2026-81934", "6.2.24", "7.2.16", "7.4.11", "8.2.9", "8.4.6", "8.6.6", "8.8.2", "8.10.1")}},
	{id: "CVE-2026-56684", severity: High, applies: overTLS, in: []published{
		ofValkey(ghsaValkey+"GHSA-53mc-f3m3-99vh", "7.2.14", "8.0.10", "8.1.9", "9.0.5", "9.1.1")}},
	{id: "GHSA-f4q9-j22m-xqq9", severity: High, applies: inCluster, in: []published{
		ofValkey(valkeyNotes+"9.1.3", "7.2.15", "8.0.12", "8.1.11", "9.0.7", "9.1.3")}},
	{id: "GHSA-fq2f-crmw-q97r", severity: High, in: []published{
		ofValkey(valkeyNotes+"9.1.2", "9.1.2").from("9.1.0")}},
	{id: clientEvictionID, severity: Medium, applies: evictsClients, in: []published{clientEviction}},
}

// clientEviction is of a setting that M6 would have changed.
var clientEviction = ofValkey(valkeyNotes+"9.1.4", "7.2.16", "8.0.13", "8.1.12", "9.0.8", "9.1.4")

const clientEvictionID = "CVE-2026-130822"

// What is not seen counts as exposed.
func overTLS(n *node) bool { return n.at.TLSConfig != nil || n.config["tls-port"] != "0" }

func inCluster(n *node) bool { return n.config == nil || n.config["cluster-enabled"] == "yes" }

func writableReplicas(n *node) bool { return n.config == nil || n.config["replica-read-only"] == "no" }

func evictsClients(n *node) bool { return n.config == nil || n.config["maxmemory-clients"] != "0" }
