package hardening

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/securecache/securecache-go/handshake"
)

// minRSA is the shortest RSA key, in bits, that a server may show (NIST SP
// 800-131A, since 2014).
const minRSA = 2048

// aead are the suites of TLS 1.2 that authenticate and have forward secrecy.
// TLS 1.3 has no others and is not configured.
var aead = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// ClientTLS is [OpenTLS] without options, for those who need no word on the
// certificates' ends.
func ClientTLS(files Files, serverName string) (*tls.Config, error) {
	t, err := OpenTLS(files, serverName, nil)
	if err != nil {
		return nil, err
	}
	return t.Config(), nil
}

// Config returns a client's configuration for mutual TLS: version 1.3 where the
// server has it and 1.2 at least, the files' authorities alone, and the
// server's chain, name, validity and revocation checked on every connection,
// resumed sessions included.
//
// Each connection shows the certificate, and is checked against the authorities
// and revocation lists, that the files hold by then. An authority that is new
// in the file is taken by connections of securecache.Dial and
// [handshake.Dialer]; others need a configuration made anew, since crypto/tls
// holds on to the authorities that it was given.
func (t *TLS) Config() *tls.Config {
	config := t.config(t.current())
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := t.config(t.current())
		now.ServerName = config.ServerName
		now.Time, now.ClientSessionCache = config.Time, config.ClientSessionCache
		now.MinVersion, now.MaxVersion = config.MinVersion, config.MaxVersion
		return now, nil
	}
	return config
}

func (t *TLS) config(m *material) *tls.Config {
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		CipherSuites: slices.Clone(aead),
		RootCAs:      m.roots,
		ServerName:   t.serverName,
		// Shown whatever authorities the server says it takes, so that its refusal
		// tells what is wrong with it.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &t.current().pair, nil
		},
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		now := time.Now()
		if config.Time != nil {
			now = config.Time()
		}
		return t.current().verify(state, t.serverName, now)
	}
	return config
}

// verify checks what crypto/tls checks on a full handshake, and more, on every
// connection: crypto/tls calls VerifyConnection for resumed sessions too.
func (m *material) verify(state tls.ConnectionState, name string, now time.Time) error {
	if len(state.PeerCertificates) == 0 {
		return &handshake.Error{Cause: handshake.NoCertificate, Err: errors.New("the server showed none")}
	}
	if name == "" {
		// Empty when an address is dialled: crypto/tls keeps addresses out of the
		// state, and has itself compared it with the certificate, on resumption too.
		name = state.ServerName
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: m.roots, Intermediates: between, DNSName: name, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return handshake.Explain(&tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err})
	}
	if bits := rsaBits(leaf); bits != 0 && bits < minRSA {
		return &handshake.Error{Cause: handshake.Weak,
			Err: fmt.Errorf("an RSA key of %d bits; issue one with %d or more, or with ECDSA P-256", bits, minRSA)}
	}
	return m.revoked(chains, now)
}

// rsaBits returns the length of an RSA key, 0 for other kinds.
func rsaBits(c *x509.Certificate) int {
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok {
		return key.N.BitLen()
	}
	return 0
}
