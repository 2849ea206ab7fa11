// Package pki makes certificate authorities and certificates in memory, for
// throw-away servers and for tests. Nothing here belongs in production: the
// keys are as short-lived as the process that makes them.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Lifetime is how long a certificate is valid, from its making, unless its
// [Request] says otherwise.
const Lifetime = 30 * 24 * time.Hour

// CA is a certificate authority. It is immutable and safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	// between holds the certificates from this authority up to, and without,
	// the root: what a leaf has to send along with itself.
	between []*x509.Certificate
}

// Pair is a certificate chain, leaf first and without the root, and the leaf's
// private key (PKCS #8), both in PEM.
type Pair struct{ Cert, Key []byte }

// TLS parses the pair.
func (p Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// Leaf returns the pair without the intermediate certificates, as a server
// sends it that forgot them.
func (p Pair) Leaf() Pair {
	block, _ := pem.Decode(p.Cert)
	return Pair{Cert: pem.EncodeToMemory(block), Key: p.Key}
}

// Request says what stands in a certificate. The zero value of a field means:
// no common name, no names, no addresses, valid since an hour ago and for
// [Lifetime], no extended key usage, a fresh P-256 key.
type Request struct {
	CommonName          string
	DNSNames            []string
	IPs                 []net.IP
	NotBefore, NotAfter time.Time
	Usage               []x509.ExtKeyUsage
	Key                 crypto.Signer
}

// Server is a request for a server on this machine: localhost and the two
// loopback addresses. A node of a cluster is a client of its peers too and
// shows them the same certificate, so both usages stand in it.
func Server() Request {
	return Request{
		CommonName: "securecache throw-away server",
		DNSNames:   []string{"localhost"},
		IPs:        []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		Usage:      []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// Client is a request for a client certificate with the given common name.
func Client(commonName string) Request {
	return Request{CommonName: commonName, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

// New makes a root authority.
func New(commonName string) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	t := template(Request{CommonName: commonName})
	authority(t)
	cert, err := sign(t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// Sub makes an intermediate authority below ca.
func (ca *CA) Sub(commonName string) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	t := template(Request{CommonName: commonName})
	authority(t)
	cert, err := sign(t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key, between: append([]*x509.Certificate{cert}, ca.between...)}, nil
}

// PEM returns the authority's certificate.
func (ca *CA) PEM() []byte { return encode(ca.cert) }

// Pool returns a pool of this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Issue signs a certificate.
func (ca *CA) Issue(r Request) (Pair, error) {
	key, err := r.key()
	if err != nil {
		return Pair{}, err
	}
	leaf, err := sign(template(r), ca.cert, key.Public(), ca.key)
	if err != nil {
		return Pair{}, err
	}
	return pair(key, append([]*x509.Certificate{leaf}, ca.between...)...)
}

// SelfSigned makes a certificate that no authority stands behind.
func SelfSigned(r Request) (Pair, error) {
	key, err := r.key()
	if err != nil {
		return Pair{}, err
	}
	t := template(r)
	leaf, err := sign(t, t, key.Public(), key)
	if err != nil {
		return Pair{}, err
	}
	return pair(key, leaf)
}

// Revoke makes a revocation list of these certificates, in PEM, whose end is
// given.
func (ca *CA) Revoke(end time.Time, pairs ...Pair) ([]byte, error) {
	began := end.Add(-2 * Lifetime)
	list := &x509.RevocationList{Number: big.NewInt(end.UnixNano()), ThisUpdate: began, NextUpdate: end}
	for _, p := range pairs {
		block, _ := pem.Decode(p.Cert)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: began})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign a revocation list: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), nil
}

func (r Request) key() (crypto.Signer, error) {
	if r.Key != nil {
		return r.Key, nil
	}
	return newKey()
}

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func template(r Request) *x509.Certificate {
	now := time.Now()
	if r.NotBefore.IsZero() {
		r.NotBefore = now.Add(-time.Hour)
	}
	if r.NotAfter.IsZero() {
		r.NotAfter = now.Add(Lifetime)
	}
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: r.CommonName},
		DNSNames:              r.DNSNames,
		IPAddresses:           r.IPs,
		NotBefore:             r.NotBefore,
		NotAfter:              r.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           r.Usage,
		BasicConstraintsValid: true,
	}
}

func authority(t *x509.Certificate) {
	t.IsCA = true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
}

func sign(t, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	t.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("pki: sign a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func pair(key crypto.Signer, chain ...*x509.Certificate) (Pair, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: write a key: %w", err)
	}
	return Pair{
		Cert: encode(chain...),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}, nil
}

func encode(chain ...*x509.Certificate) (text []byte) {
	for _, c := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}
