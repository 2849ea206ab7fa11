package audit

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Severity says how bad a finding is. The zero Severity is none.
type Severity int

// The severities, the least first. Info is worth knowing and no fault.
const (
	Info Severity = 1 + iota
	Low
	Medium
	High
	Critical
)

var severities = []string{"none", "info", "low", "medium", "high", "critical"}

// String returns the severity in lower case, "none" for the zero one.
func (s Severity) String() string {
	if s < 0 || int(s) >= len(severities) {
		return "invalid"
	}
	return severities[s]
}

// MarshalText writes what String returns.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String returns, in lower case.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severities, string(text))
	if i < 0 {
		return errors.New("audit: a severity is one of info, low, medium, high, critical")
	}
	*s = Severity(i)
	return nil
}

// Status is how a check went on one node.
type Status string

// The statuses. A check that could not see what it needs is Unknown and says
// which grant it lacks; one that has no meaning for this server is Skipped.
const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Unknown Status = "unknown"
	Skipped Status = "skipped"
)

// Result is what a check found on one node. A check that finds several things
// has a result for each.
type Result struct {
	Check    string   `json:"check"`
	Title    string   `json:"title"` // how it ought to be
	Node     string   `json:"node"`
	Status   Status   `json:"status"`
	Severity Severity `json:"severity"`
	// Subject is what it is about where a check has several: a user, a CVE.
	Subject string `json:"subject,omitempty"`
	// Evidence is what was seen. It holds no secret, no key name and no value.
	Evidence string `json:"evidence,omitempty"`
	// Remedy is what to type, a command or a line of a file each.
	Remedy []string `json:"remedy,omitempty"`
	// Fixes are the commands of Remedy that mend it at once.
	Fixes []Fix `json:"fixes,omitempty"`
	// Needs is the grant without which an Unknown stays unknown.
	Needs string `json:"needs,omitempty"`
	// Possible marks what a distribution may have mended without it showing.
	Possible bool `json:"possible,omitempty"`
	// Waived is the waiver that covers a Failed result, nil for none.
	Waived *Waiver `json:"waived,omitempty"`
}

// Node is a server that was looked at.
type Node struct {
	Addr    string `json:"addr"`
	Server  string `json:"server,omitempty"` // redis or valkey, "" where it did not say
	Version string `json:"version,omitempty"`
	Role    string `json:"role,omitempty"` // master, slave or sentinel, in the server's words
	// Error is why there are no results of this node, "" where there are.
	Error string `json:"error,omitempty"`
}

// Report is the outcome of an audit: of every node, in the order of the checks.
type Report struct {
	Time    time.Time `json:"time"`
	Nodes   []Node    `json:"nodes"`
	Results []Result  `json:"results"`
}

// Found returns the failed results that are not waived and at least as severe
// as floor, the worst first.
func (r *Report) Found(floor Severity) []Result {
	var found []Result
	for _, one := range r.Results {
		if one.Status == Failed && one.Waived == nil && one.Severity >= floor {
			found = append(found, one)
		}
	}
	slices.SortStableFunc(found, func(a, b Result) int { return int(b.Severity - a.Severity) })
	return found
}

// Of returns the results with this status.
func (r *Report) Of(s Status) (list []Result) {
	for _, one := range r.Results {
		if one.Status == s {
			list = append(list, one)
		}
	}
	return list
}

// Unreached returns the nodes that could not be audited.
func (r *Report) Unreached() (list []Node) {
	for _, n := range r.Nodes {
		if n.Error != "" {
			list = append(list, n)
		}
	}
	return list
}

// quote writes a command as it is typed into redis-cli.
func quote(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if w == "" || strings.ContainsAny(w, " \t\"'\\*>&") {
			out[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
		}
	}
	return strings.Join(out, " ")
}
