package audit

import (
	"slices"
	"strings"
)

// Check is one thing that an audit looks at.
type Check struct {
	ID    string // such as N1
	Title string // how it ought to be
	// Severity is the worst that it reports.
	Severity Severity

	needs []source // on a Sentinel, those of onSentinel
	host  bool     // it looks at the server's machine, which has to be asked for
	look  func(*node) []finding
}

// finding is what a check returns; none is a pass. Its zero status is Failed,
// its zero severity the check's.
type finding struct {
	status            Status
	severity          Severity
	subject, evidence string
	fix               [][]string // commands that mend it at once
	remedy            []string   // what else to type
	possible          bool
}

func bad(evidence string) []finding { return []finding{{evidence: evidence}} }

func skip(why string) []finding { return []finding{{status: Skipped, evidence: why}} }

func unsure(why string) []finding { return []finding{{status: Unknown, evidence: why}} }

// set is a finding that one CONFIG SET mends.
func set(evidence, name, value string) []finding {
	return []finding{{evidence: evidence, fix: [][]string{{"CONFIG", "SET", name, value}}}}
}

// line is a finding that takes a line in the file and a restart.
func line(evidence string, lines ...string) []finding {
	f := finding{evidence: evidence}
	for _, l := range lines {
		f.remedy = append(f.remedy, inFile(l))
	}
	return []finding{f}
}

func inFile(l string) string { return "in the server's configuration file, then restart: " + l }

// advise is a finding for which the command is known, but not its every word.
func advise(evidence string, remedy ...string) []finding {
	return []finding{{evidence: evidence, remedy: remedy}}
}

var all = slices.Concat(networkChecks, userChecks, tlsChecks, serverChecks, hostChecks, memoryChecks, dataChecks)

// Checks returns all checks, in the order in which a report has them.
func Checks() []Check { return slices.Clone(all) }

// run runs one check on a node.
func (c Check) run(n *node) (list []Result) {
	found := c.findings(n)
	if len(found) == 0 {
		found = []finding{{status: Passed}}
	}
	for _, f := range found {
		list = append(list, c.result(n, f))
	}
	return list
}

func (c Check) findings(n *node) []finding {
	if c.host && !n.options.Host {
		return skip("not asked to look at this machine's files")
	}
	sources, means := c.sources(n)
	if !means {
		return skip("a Sentinel has nothing of the kind")
	}
	for _, s := range sources {
		if gap, missing := n.missing[s]; missing {
			if gap.absent {
				return skip("this server has no such command: " + s.command())
			}
			return unsure(gap.why)
		}
	}
	return c.look(n)
}

// sources returns what the check takes on this node, false where it means
// nothing there.
func (c Check) sources(n *node) ([]source, bool) {
	if !n.sentinel() {
		return c.needs, true
	}
	sources, means := onSentinel[c.ID]
	if sources == nil {
		sources = c.needs
	}
	return sources, means
}

func (c Check) result(n *node, f finding) Result {
	r := Result{
		Check: c.ID, Title: c.Title, Node: n.addr, Status: f.status, Severity: f.severity,
		Subject: f.subject, Evidence: f.evidence, Possible: f.possible,
	}
	if r.Status == "" {
		r.Status = Failed
	}
	if r.Severity == 0 {
		r.Severity = c.Severity
	}
	for _, words := range f.fix {
		if name, value := setting(words); name != "" && n.sentinel() { // it has no CONFIG SET
			r.Remedy = append(r.Remedy, inSentinelFile(quote([]string{name, value})))
			continue
		}
		why := n.held(words)
		r.Fixes = append(r.Fixes, Fix{Command: words, Held: why})
		r.Remedy = append(r.Remedy, quote(words))
	}
	r.Remedy = append(r.Remedy, f.remedy...)
	if r.Status == Unknown {
		sources, _ := c.sources(n)
		r.Needs = n.grants(sources)
	}
	return r
}

// grants returns what the user lacks of these sources, in ACL notation.
func (n *node) grants(of []source) string {
	var words []string
	for _, s := range of {
		if gap, missing := n.missing[s]; missing && gap.denied {
			words = append(words, s.grant())
		}
	}
	return strings.Join(words, " ")
}
