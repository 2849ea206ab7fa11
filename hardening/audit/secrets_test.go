package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/hardening/audit"
)

// TestReportHoldsNoSecrets: neither passwords nor their hashes, which have no
// salt, nor the names and values of keys.
func TestReportHoldsNoSecrets(t *testing.T) {
	each(t, func(t *testing.T, binary string) {
		b := hardened(t, binary, []string{"requirepass first-secret-of-this-test", "masterauth second-secret-of-this-test"},
			"bob on nopass ~* &* +@all", "eve on "+hashed("redis123")+" "+hashed("third")+" ~* &* +@all")
		b.do(t, "SET", "session:0123456789abcdef0123", "fourth-secret-of-this-test")
		b.do(t, "SET", "sc:ns:v:{jane@example.com}", "fifth-secret-of-this-test")
		r := b.audit(t, audit.Options{})
		if len(r.Found(audit.Critical)) < 3 {
			t.Fatalf("too little is found: %+v", r.Found(audit.Critical))
		}
		var out bytes.Buffer
		if err := r.SARIF(&out); err != nil {
			t.Fatal(err)
		}
		if err := r.JUnit(&out); err != nil {
			t.Fatal(err)
		}
		out.Write(must[[]byte](t)(json.Marshal(r)))
		fmt.Fprintf(&out, "%+v", r)
		for _, secret := range []string{"secret-of-this-test", "redis123", "0123456789abcdef0123", "jane@example.com",
			hashed("redis123")[1:], hashed("third")[1:], b.password, hashed(b.password)[1:]} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("the report holds %q", secret)
			}
		}
	})
}
