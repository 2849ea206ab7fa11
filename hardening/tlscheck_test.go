package hardening_test

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/hardening"
)

func checkTLS(t *testing.T, dir, addr string) *hardening.TLSReport {
	t.Helper()
	config, err := hardening.ClientTLS(files(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := hardening.CheckTLS(ctx, addr, config)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCheckShowsOneVersion(t *testing.T) {
	dir := certs(t)
	for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			if version < tls.VersionTLS12 && fips140.Enforced() {
				t.Skip("Go has no TLS 1.1 under GODEBUG=fips140=only")
			}
			suites := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
			if version < tls.VersionTLS12 {
				suites = nil
			}
			r := checkTLS(t, dir, listen(t, dir, "good-server", version, suites))
			for _, v := range r.Versions {
				if v.Offered != (v.Version == tls.VersionName(version)) {
					t.Errorf("%s: offered is %t", v.Version, v.Offered)
				}
			}
			if len(r.Chain) != 1 || !slices.Contains(r.Chain[0].Names, "127.0.0.1") || r.Chain[0].Key != "ECDSA P-256" {
				t.Errorf("%+v", r.Chain)
			}
			if old := version < tls.VersionTLS12; old != (r.Refused == handshake.NoCommonVersion) || old != (len(r.Findings) > 0) {
				t.Errorf("refused %q, findings %q", r.Refused, r.Findings)
			}
			if version >= tls.VersionTLS12 && r.ClientCertificate != "required" {
				t.Errorf("a client certificate is %s", r.ClientCertificate)
			}
		})
	}
}

// TestCheckShowsWhatIsRefused looks at servers that the client does not take.
func TestCheckShowsWhatIsRefused(t *testing.T) {
	dir := certs(t)
	for row, want := range map[string]handshake.Cause{
		"expired": handshake.Expired, "self-signed": handshake.SelfSigned, "cn-only": handshake.CommonNameOnly, "other-ca": handshake.UnknownAuthority,
	} {
		r := checkTLS(t, dir, listen(t, dir, row+"-server", 0, nil))
		if r.Refused != want || r.ByServer || len(r.Chain) == 0 || !r.Versions[2].Offered || !r.Versions[3].Offered {
			t.Errorf("%s: %+v", row, r)
		}
	}
}

func TestCheckNamesEverySuite(t *testing.T) {
	dir := certs(t)
	suites := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
	want := 0
	if !fips140.Enforced() { // which has no others
		suites, want = append(suites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), 1
	}
	r := checkTLS(t, dir, listen(t, dir, "good-server", tls.VersionTLS12, suites))
	if got := r.Versions[2].Suites; len(got) != len(suites) {
		t.Errorf("%q", got)
	}
	if len(r.Findings) != want || want > 0 && !strings.Contains(r.Findings[0], "tls-ciphers") {
		t.Errorf("%q", r.Findings)
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	dir := certs(t)
	config, err := hardening.ClientTLS(files(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := hardening.CheckTLS(ctx, l.Addr().String(), config); err == nil {
		t.Error("a silent port was checked")
	}
	if _, err := hardening.CheckTLS(t.Context(), "127.0.0.1:1", config); err == nil {
		t.Error("a closed port was checked")
	}
}
