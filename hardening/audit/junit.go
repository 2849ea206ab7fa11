package audit

import (
	"encoding/xml"
	"io"
	"strings"
)

// JUnit writes the report as JUnit's XML, which build servers show: a suite for
// each node, a case for each result. A finding is a failure; what is waived, could
// not be seen or is worth knowing alone is skipped, with the reason; a node that
// was not reached is an error.
func (r *Report) JUnit(w io.Writer) error {
	var doc junitSuites
	for _, n := range r.Nodes {
		doc.Suites = append(doc.Suites, r.suite(n))
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string       `xml:"classname,attr"`
	Name    string       `xml:"name,attr"`
	Failure *junitDetail `xml:"failure"`
	Error   *junitDetail `xml:"error"`
	Skipped *junitDetail `xml:"skipped"`
}

type junitDetail struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

func (r *Report) suite(n Node) junitSuite {
	s := junitSuite{Name: n.Addr, Time: r.Time.Format("2006-01-02T15:04:05")}
	if n.Error != "" {
		s.add(junitCase{Class: "audit", Name: "reachable", Error: &junitDetail{Message: n.Error}})
	}
	for _, one := range r.Results {
		if one.Node == n.Addr {
			s.add(caseOf(one))
		}
	}
	return s
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func caseOf(r Result) junitCase {
	c := junitCase{Class: "audit." + r.Check, Name: r.Title}
	if r.Subject != "" {
		c.Name += " [" + r.Subject + "]"
	}
	switch {
	case r.Status == Failed && r.Waived != nil:
		c.Skipped = &junitDetail{Message: "waived until " + r.Waived.Until + ": " + r.Waived.Reason}
	case r.Status == Failed && r.Severity <= Info:
		c.Skipped = &junitDetail{Message: "info: " + r.Evidence}
	case r.Status == Failed:
		c.Failure = &junitDetail{Message: r.Evidence, Type: r.Severity.String(), Text: strings.Join(r.Remedy, "\n")}
	case r.Status == Unknown:
		c.Skipped = &junitDetail{Message: "unknown: " + r.Evidence}
	case r.Status == Skipped:
		c.Skipped = &junitDetail{Message: r.Evidence}
	}
	return c
}
