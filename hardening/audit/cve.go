package audit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// weakness is a published flaw of one server or of both.
type weakness struct {
	id       string
	severity Severity
	in       []published
	applies  func(*node) bool // nil for always
}

// published is what a maker says of a weakness: the releases that mend it, one
// a branch. A branch that has none and is older than the newest of them is not
// mended; one that is newer never had it.
type published struct {
	server, source string
	since          string // the first release that has it, "" for all
	mended         []string
}

// touches reports whether a server of this version has the weakness, and the
// release that mends it.
func (p published) touches(server, version string) (mended string, yes bool) {
	if p.server != server || p.since != "" && compare(version, p.since) < 0 {
		return "", false
	}
	for _, floor := range p.mended {
		if branch(floor) == branch(version) {
			return floor, compare(version, floor) < 0
		}
	}
	for _, floor := range p.mended {
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
	p := n.origin()
	for _, w := range knownWeaknesses {
		if w.applies != nil && !w.applies(n) {
			continue
		}
		for _, in := range w.in {
			mended, yes := in.touches(n.server, n.version)
			if !yes || p.mends(w.id) {
				continue
			}
			list = append(list, p.judge(n, finding{
				subject: w.id, severity: w.severity,
				evidence: fmt.Sprintf("%s %s has %s, mended in %s (%s)", n.server, n.version, w.id, mended, in.source),
				remedy:   []string{"update to " + mended + " or later"},
			}, w.id))
		}
	}
	return list
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
