package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/pki"
)

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.New("test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// verify checks a pair the way a peer does.
func verify(t *testing.T, p pki.Pair, ca *pki.CA, name string, usage x509.ExtKeyUsage) error {
	t.Helper()
	pair, err := p.TLS()
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots: ca.Pool(), Intermediates: between, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

func TestIssue(t *testing.T) {
	ca := newCA(t)
	sub, err := ca.Sub("between")
	if err != nil {
		t.Fatal(err)
	}
	subsub, err := sub.Sub("further between")
	if err != nil {
		t.Fatal(err)
	}
	for name, issuer := range map[string]*pki.CA{"root": ca, "intermediate": sub, "two intermediates": subsub} {
		t.Run(name, func(t *testing.T) {
			server, err := issuer.Issue(pki.Server())
			if err != nil {
				t.Fatal(err)
			}
			for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
				if err := verify(t, server, ca, host, x509.ExtKeyUsageServerAuth); err != nil {
					t.Errorf("%s: %v", host, err)
				}
			}
			// A cluster node is a client of its peers.
			if err := verify(t, server, ca, "", x509.ExtKeyUsageClientAuth); err != nil {
				t.Error(err)
			}
			client, err := issuer.Issue(pki.Client("someone"))
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(t, client, ca, "", x509.ExtKeyUsageClientAuth); err != nil {
				t.Error(err)
			}
			if err := verify(t, client, ca, "", x509.ExtKeyUsageServerAuth); err == nil {
				t.Error("a client's certificate serves as a server's")
			}
			if err := verify(t, client, newCA(t), "", x509.ExtKeyUsageClientAuth); err == nil {
				t.Error("another authority stands behind it")
			}
			if bare := verify(t, client.Leaf(), ca, "", x509.ExtKeyUsageClientAuth); (bare == nil) != (issuer == ca) {
				t.Errorf("without intermediates: %v", bare)
			}
		})
	}
}

func TestCertificatesAreShortLivedAndECDSA(t *testing.T) {
	ca := newCA(t)
	p, err := ca.Issue(pki.Client("someone"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := p.TLS()
	if err != nil {
		t.Fatal(err)
	}
	root, _ := pem.Decode(ca.PEM())
	authority, err := x509.ParseCertificate(root.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*x509.Certificate{"leaf": pair.Leaf, "authority": authority} {
		if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s: %v", name, c.PublicKeyAlgorithm)
		}
		if left := time.Until(c.NotAfter); left > pki.Lifetime || left < pki.Lifetime-time.Hour {
			t.Errorf("%s: valid for another %v", name, left)
		}
		if c.IsCA != (name == "authority") {
			t.Errorf("%s: CA is %t", name, c.IsCA)
		}
	}
}

func TestSelfSigned(t *testing.T) {
	p, err := pki.SelfSigned(pki.Server())
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, p, newCA(t), "localhost", x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("an authority stands behind it")
	}
}

func TestMatrixPairsFit(t *testing.T) {
	files, err := pki.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	pairs := 0
	for name := range files {
		key, ok := files[name[:len(name)-len(".pem")]+"-key.pem"]
		if !ok {
			continue
		}
		pairs++
		if _, err := tls.X509KeyPair(files[name], key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if pairs < 20 {
		t.Errorf("%d pairs", pairs)
	}
}
