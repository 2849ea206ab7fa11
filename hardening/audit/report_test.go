package audit_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/securecache/securecache-go/hardening/audit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// example has every kind of result.
func example() *audit.Report {
	waiver := audit.Waiver{Check: "S12", Reason: "the doorbell of expiry", Until: "2027-01-31"}
	return &audit.Report{
		Time: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
		Nodes: []audit.Node{
			{Addr: "10.0.0.1:6380", Server: "valkey", Version: "8.0.1", Role: "master"},
			{Addr: "10.0.0.2:6380", Error: "no answer to PING: i/o timeout"},
		},
		Results: []audit.Result{
			{Check: "N1", Title: "no command is answered without credentials", Node: "10.0.0.1:6380", Status: audit.Passed, Severity: audit.Critical},
			{Check: "N3", Title: "the server listens on named addresses alone", Node: "10.0.0.1:6380", Status: audit.Unknown, Severity: audit.High,
				Evidence: "CONFIG GET was refused", Needs: "+config|get"},
			{Check: "N5", Title: "the Unix socket is closed to other users of the machine", Node: "10.0.0.1:6380", Status: audit.Skipped, Severity: audit.Medium, Evidence: "no Unix socket"},
			{Check: "A3", Title: "every other user has a password or a certificate", Node: "10.0.0.1:6380", Status: audit.Failed, Severity: audit.Critical,
				Subject: "bob", Evidence: "user bob logs in with any password", Remedy: []string{"ACL SETUSER bob resetpass"}},
			{Check: "S5", Title: "no known weakness is in this version", Node: "10.0.0.1:6380", Status: audit.Failed, Severity: audit.Medium, Possible: true,
				Subject: "CVE-2025-49844", Evidence: "possible: valkey 8.0.1 <has> & \"it\"", Remedy: []string{"update to 8.0.6 or later", "or ask the distribution"}},
			{Check: "S12", Title: "no keyspace events are sent", Node: "10.0.0.1:6380", Status: audit.Failed, Severity: audit.Low,
				Evidence: "notify-keyspace-events is Ex", Remedy: []string{`CONFIG SET notify-keyspace-events ""`}, Waived: &waiver},
			{Check: "T12", Title: "revoked client certificates are refused", Node: "10.0.0.1:6380", Status: audit.Failed, Severity: audit.Info, Evidence: "none are"},
		},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := must[[]byte](t)(os.ReadFile(path)); !bytes.Equal(got, want) {
		t.Errorf("%s is another; go test ./hardening/audit -run %s -update writes it anew:\n%s", path, t.Name(), got)
	}
}

func TestJSON(t *testing.T) {
	text := must[[]byte](t)(json.MarshalIndent(example(), "", "  "))
	golden(t, "report.json", append(text, '\n'))
	var back audit.Report
	if err := json.Unmarshal(text, &back); err != nil || len(back.Found(audit.Critical)) != 1 {
		t.Errorf("%v, %+v", err, back)
	}
}

func TestJUnit(t *testing.T) {
	var out bytes.Buffer
	if err := example().JUnit(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.xml", out.Bytes())
}

func TestSARIF(t *testing.T) {
	var out bytes.Buffer
	if err := example().SARIF(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.sarif", out.Bytes())
	valid(t, out.Bytes())
	out.Reset()
	if err := (&audit.Report{}).SARIF(&out); err != nil {
		t.Fatal(err)
	}
	valid(t, out.Bytes())
}

// valid holds a log against the standard's schema, and against misspelt names,
// which the schema lets pass in places.
func valid(t *testing.T, text []byte) {
	t.Helper()
	var log sarif.Report
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&log); err != nil {
		t.Error(err)
	}
	full, err := sarif.FromBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	// The library writes these itself where a log has none, and not as the schema
	// wants them.
	run := full.Runs[0]
	run.Language, run.Tool.Driver.Language, run.NewlineSequences = "en-US", "en-US", []string{"\n"}
	if err := full.Validate(); err != nil {
		t.Error(err)
	}
}

func TestFound(t *testing.T) {
	r := example()
	for floor, want := range map[audit.Severity]int{audit.Info: 3, audit.Medium: 2, audit.High: 1, audit.Critical: 1} {
		if got := r.Found(floor); len(got) != want || got[0].Severity != audit.Critical {
			t.Errorf("%s: %d", floor, len(got))
		}
	}
	if len(r.Unreached()) != 1 {
		t.Error("the unreached node is not told")
	}
}

func TestSeverityText(t *testing.T) {
	var s audit.Severity
	if err := s.UnmarshalText([]byte("high")); err != nil || s != audit.High || s.String() != "high" {
		t.Errorf("%v, %v", s, err)
	}
	if s.UnmarshalText([]byte("High")) == nil {
		t.Error("another spelling is taken")
	}
	if got := audit.Severity(-1).String() + audit.Severity(9).String(); got != "invalidinvalid" {
		t.Error(got)
	}
}

func TestParseWaivers(t *testing.T) {
	good := `[{"check":"S12","subject":"x","reason":"the doorbell","until":"2027-01-31"}]`
	if list, err := audit.ParseWaivers([]byte(good)); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	for name, text := range map[string]string{
		"no JSON": `check: S12`, "unknown field": `[{"check":"S12","reason":"r","until":"2027-01-31","nodes":"x"}]`,
		"no reason": `[{"check":"S12","until":"2027-01-31"}]`, "no end": `[{"check":"S12","reason":"r"}]`,
		"no day": `[{"check":"S12","reason":"r","until":"soon"}]`, "no such check": `[{"check":"S99","reason":"r","until":"2027-01-31"}]`,
	} {
		if _, err := audit.ParseWaivers([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "audit: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWaivers(t *testing.T) {
	lastDay := time.Date(2027, 1, 31, 23, 59, 59, 0, time.UTC)
	rdb := fake{users: []string{"user a on nopass +get", "user b on nopass +get"}, config: map[string]string{"port": "0"}}.start(t, nil)
	for _, c := range []struct {
		name   string
		waiver audit.Waiver
		now    time.Time
		left   int
	}{
		{"all", audit.Waiver{Check: "A3"}, lastDay, 0},
		{"one subject", audit.Waiver{Check: "A3", Subject: "a"}, lastDay, 1},
		{"this node", audit.Waiver{Check: "A3", Node: rdb.Options().Addr}, lastDay, 0},
		{"another node", audit.Waiver{Check: "A3", Node: "other:6379"}, lastDay, 2},
		{"another check", audit.Waiver{Check: "A4"}, lastDay, 2},
		{"over", audit.Waiver{Check: "A3"}, lastDay.Add(time.Second), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.waiver.Reason, c.waiver.Until = "a test", "2027-01-31"
			r := look(t, rdb, audit.Options{Checks: []string{"A3"}, Waivers: []audit.Waiver{c.waiver}, Now: func() time.Time { return c.now }})
			if got := len(r.Found(audit.Info)); got != c.left || len(of(r, "A3")) != 2 {
				t.Errorf("%d are left of %d", got, len(of(r, "A3")))
			}
		})
	}
}
