package audit_test

import (
	"crypto/fips140"
	"slices"
	"testing"

	"github.com/securecache/securecache-go/hardening/audit"
)

// always are the checks that find something on the best of servers: what no
// server can do, and the versions that distributions have.
var always = []string{"S5", "S6", "T12"}

func TestHardenedServerIsClean(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, nil)
		r := b.audit(t, audit.Options{})
		for _, one := range r.Results {
			switch {
			case slices.Contains(always, one.Check):
			case one.Check == "T3" && fips140.Enforced(): // which cannot offer old versions
				if one.Status != audit.Unknown {
					t.Errorf("%+v", one)
				}
			case one.Status == audit.Failed, one.Status == audit.Unknown:
				t.Errorf("%+v", one)
			}
		}
		if n := len(audit.Checks()); n < 50 {
			t.Errorf("%d checks", n)
		}
		if len(r.Nodes) != 1 || r.Nodes[0].Role != "master" || r.Nodes[0].Version == "" {
			t.Errorf("%+v", r.Nodes)
		}
	})
}
