package audit_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/securecache/securecache-go/hardening/audit"
	"github.com/securecache/securecache-go/internal/server/pki"
)

// fake is a server that says what no server does that can be installed here.
type fake struct {
	info    string
	config  map[string]string
	users   []string
	modules []string
	eval    string
	self    string // CLIENT INFO
}

// start serves the fake, under TLS where there is a pair.
func (f fake) start(t *testing.T, pair *pki.Pair) *redis.Client {
	t.Helper()
	s, config := f.listen(t, pair)
	t.Cleanup(s.Close)
	for name, do := range map[string]func(*server.Peer, []string){
		"PING": func(c *server.Peer, _ []string) { c.WriteInline("PONG") },
		"INFO": func(c *server.Peer, _ []string) { c.WriteBulk(strings.ReplaceAll(f.info, "\n", "\r\n")) },
		"EVAL": func(c *server.Peer, _ []string) { c.WriteBulk(f.eval) },
		"SCAN": func(c *server.Peer, _ []string) { c.WriteLen(2); c.WriteBulk("0"); c.WriteStrings(nil) },
		"CONFIG": func(c *server.Peer, _ []string) {
			c.WriteLen(2 * len(f.config))
			for name, value := range f.config {
				c.WriteBulk(name)
				c.WriteBulk(value)
			}
		},
		"ACL": func(c *server.Peer, args []string) {
			switch args[0] {
			case "LIST":
				c.WriteStrings(f.users)
			case "WHOAMI":
				c.WriteBulk("admin")
			default:
				c.WriteError("ERR Unknown subcommand or wrong number of arguments for '" + args[0] + "'")
			}
		},
		"CLIENT": func(c *server.Peer, args []string) {
			if args[0] == "INFO" && f.self != "" {
				c.WriteBulk(f.self)
				return
			}
			c.WriteError("ERR unknown subcommand")
		},
		"MODULE": func(c *server.Peer, _ []string) {
			c.WriteLen(len(f.modules))
			for _, m := range f.modules {
				c.WriteStrings([]string{"name", m, "ver", "1"})
			}
		},
	} {
		if err := s.Register(name, func(c *server.Peer, _ string, args []string) { do(c, args) }); err != nil {
			t.Fatal(err)
		}
	}
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr().String(), TLSConfig: config, MaxRetries: -1, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func (f fake) listen(t *testing.T, pair *pki.Pair) (*server.Server, *tls.Config) {
	t.Helper()
	if pair == nil {
		return must[*server.Server](t)(server.NewServer("127.0.0.1:0")), nil
	}
	config := &tls.Config{Certificates: []tls.Certificate{must[tls.Certificate](t)(pair.TLS())}}
	return must[*server.Server](t)(server.NewServerTLS("127.0.0.1:0", config)), &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the checks judge it
}

func TestCertificates(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this build makes no short keys: ", err)
	}
	good := longLived(pki.Server())
	for _, c := range []struct {
		name, check string
		change      func(*pki.Request)
		want        string
	}{
		{"common name alone", "T6", func(r *pki.Request) { r.CommonName, r.DNSNames, r.IPs = "127.0.0.1", nil, nil }, "common name"},
		{"another name", "T6", func(r *pki.Request) { r.DNSNames, r.IPs = []string{"other.example"}, []net.IP{net.IPv4(10, 0, 0, 1)} }, "does not name 127.0.0.1"},
		{"short key", "T7", func(r *pki.Request) { r.Key = small }, "1024 bits"},
		{"a client's", "T8", func(r *pki.Request) { r.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "extended key usage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good
			c.change(&r)
			pair := must[pki.Pair](t)(authority.Issue(r))
			report := look(t, fake{}.start(t, &pair), audit.Options{})
			if found := of(report, c.check); len(found) != 1 || !strings.Contains(found[0].Evidence, c.want) {
				t.Errorf("%+v", found)
			}
			for _, other := range []string{"T5", "T6", "T7", "T8"} {
				if other != c.check && len(of(report, other)) != 0 {
					t.Errorf("%+v", of(report, other))
				}
			}
		})
	}
}

// TestOldSignatures has chains of three whose links are signed with SHA-1 and
// with SHA-256. What an authority has signed of itself is nothing.
func TestOldSignatures(t *testing.T) {
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	curve := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for _, c := range []struct {
		name                 string
		leaf, between, above x509.SignatureAlgorithm
		key                  crypto.Signer
		want                 []string
	}{
		{"RSA", x509.SHA1WithRSA, x509.SHA256WithRSA, x509.SHA256WithRSA, key, []string{"SHA1-RSA"}},
		{"ECDSA", x509.ECDSAWithSHA1, x509.ECDSAWithSHA256, x509.ECDSAWithSHA256, curve, []string{"ECDSA-SHA1"}},
		{"between", x509.SHA256WithRSA, x509.SHA1WithRSA, x509.SHA256WithRSA, key, []string{"SHA1-RSA"}},
		{"both", x509.SHA1WithRSA, x509.SHA1WithRSA, x509.SHA1WithRSA, key, []string{"SHA1-RSA", "SHA1-RSA"}},
		{"the authority's of itself", x509.SHA256WithRSA, x509.SHA256WithRSA, x509.SHA1WithRSA, key, nil},
		{"none", x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, curve, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if fips140.Enforced() && c.name != "none" {
				t.Skip("FIPS 140-only mode signs nothing with SHA-1")
			}
			pair := signed(t, c.key, c.above, c.between, c.leaf)
			found := of(look(t, fake{}.start(t, &pair), audit.Options{Checks: []string{"T7"}}), "T7")
			if len(found) != len(c.want) {
				t.Fatalf("%+v", found)
			}
			for i, one := range found {
				if one.Severity != audit.High || !strings.Contains(one.Evidence, "signed with "+c.want[i]) || len(one.Remedy) == 0 {
					t.Errorf("%+v", one)
				}
			}
		})
	}
}

// signed makes a chain of one key, each link with its signature algorithm, the
// root's first.
func signed(t *testing.T, key crypto.Signer, algorithms ...x509.SignatureAlgorithm) (p pki.Pair) {
	t.Helper()
	var parent *x509.Certificate
	for i, algorithm := range algorithms {
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i)), Subject: pkix.Name{CommonName: strconv.Itoa(i)}, SignatureAlgorithm: algorithm,
			IsCA: i < len(algorithms)-1, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), key)
		if err != nil {
			t.Skip("this build signs no such certificate: ", err)
		}
		parent = must[*x509.Certificate](t)(x509.ParseCertificate(der))
		p.Cert = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), p.Cert...)
	}
	p.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))})
	return p
}

func TestFakes(t *testing.T) {
	for _, c := range []struct {
		name, check string
		bad, good   fake
		options     audit.Options
		want        string
	}{
		{name: "module", check: "S4", bad: fake{modules: []string{"evil"}}, want: "module evil",
			good: fake{info: "redis_version:8.2.2", modules: []string{"ReJSON", "vectorset"}}},
		{name: "module that Redis 7 does not bring", check: "S4", bad: fake{info: "redis_version:7.4.6", modules: []string{"ReJSON"}}, want: "ReJSON"},
		{name: "open scripts", check: "S7", bad: fake{eval: "table"}, good: fake{eval: "nil"}, want: "package"},
		{name: "certificate's user", check: "T11", bad: fake{config: map[string]string{"tls-auth-clients-user": "CN"}, users: []string{"user default on #00 ~* &* +@all"}},
			good: fake{config: map[string]string{"tls-auth-clients-user": "CN"}, users: []string{"user default off ~* &* +@all"}}, want: "which is on"},
		{name: "log", check: "S10", bad: fake{config: map[string]string{"hide-user-data-from-log": "no"}},
			good: fake{config: map[string]string{"hide-user-data-from-log": "yes"}}, want: "hide-user-data-from-log is no"},
		{name: "cluster bus", check: "T10", bad: fake{info: "role:master", config: map[string]string{"cluster-enabled": "yes", "tls-cluster": "no", "tls-replication": "yes"}},
			good: fake{info: "role:master", config: map[string]string{"cluster-enabled": "yes", "tls-cluster": "yes", "tls-replication": "yes"}}, want: "tls-cluster"},
		{name: "no file", check: "A13", bad: fake{info: "config_file:"}, good: fake{info: "config_file:/etc/redis.conf"}, want: "without a configuration file"},
		{name: "rules of a server without DRYRUN", check: "A5", bad: fake{info: "redis_version:6.2.20", users: []string{"user app on #00 ~a +@all -config"}},
			good: fake{info: "redis_version:6.2.20", users: []string{"user app on #00 ~a -@all +get +evalsha"}}, want: "eval"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair := must[pki.Pair](t)(authority.Issue(longLived(pki.Server())))
			o := c.options
			o.Checks = []string{c.check}
			if found := of(look(t, c.bad.start(t, &pair), o), c.check); len(found) == 0 || !strings.Contains(found[0].Evidence, c.want) {
				t.Errorf("%+v", found)
			}
			if found := of(look(t, c.good.start(t, &pair), o), c.check); len(found) != 0 {
				t.Errorf("on a good one: %+v", found)
			}
		})
	}
}
