package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/hardening/audit"
)

func TestAuditTable(t *testing.T) {
	r := &audit.Report{
		Nodes: []audit.Node{{Addr: "10.0.0.1:6380", Server: "valkey", Version: "8.0.1", Role: "master"}, {Addr: "10.0.0.2:6380", Error: "no answer"}},
		Results: []audit.Result{
			{Check: "N6", Node: "10.0.0.1:6380", Status: audit.Failed, Severity: audit.Low, Evidence: "timeout is 0", Remedy: []string{"CONFIG SET timeout 300"}},
			{Check: "A1", Node: "10.0.0.1:6380", Status: audit.Failed, Severity: audit.Critical, Evidence: "no password"},
			{Check: "T10", Node: "10.0.0.1:6380", Status: audit.Failed, Severity: audit.High, Evidence: "tls-cluster is no", Remedy: []string{"CONFIG SET tls-cluster yes"},
				Fixes: []audit.Fix{{Command: []string{"CONFIG", "SET", "tls-cluster", "yes"}, Held: "restart them together"}}},
			{Check: "S12", Node: "10.0.0.1:6380", Status: audit.Failed, Severity: audit.Low, Waived: &audit.Waiver{}},
			{Check: "M1", Title: "memory is bounded", Node: "10.0.0.1:6380", Status: audit.Unknown, Evidence: "CONFIG GET was refused", Needs: "+config|get"},
			{Check: "N1", Node: "10.0.0.1:6380", Status: audit.Passed},
		},
	}
	want := `10.0.0.1:6380 valkey 8.0.1 master
  critical  A1   no password
  high      T10  tls-cluster is no
                 CONFIG SET tls-cluster yes
                 mind: restart them together
  low       N6   timeout is 0
                 CONFIG SET timeout 300
  unknown   M1   memory is bounded: CONFIG GET was refused; grant +config|get
10.0.0.2:6380
  not reached: no answer

1 critical, 1 high, 1 low; 1 passed, 1 unknown, 1 waived, 0 do not apply
`
	var plain, coloured strings.Builder
	if err := errors.Join(auditTable(&plain, r, false), auditTable(&coloured, r, true)); err != nil {
		t.Fatal(err)
	}
	if plain.String() != want {
		t.Errorf("%s", plain.String())
	}
	if !strings.Contains(coloured.String(), "\x1b[1;31mcritical\x1b[0m  A1") {
		t.Errorf("%q", coloured.String())
	}
	for floor, status := range map[audit.Severity]error{audit.High: passed(exitAbsent), never: passed(exitUnreachable)} {
		if got := verdict(r, floor); got != status {
			t.Errorf("%s: %v", floor, got)
		}
	}
}
