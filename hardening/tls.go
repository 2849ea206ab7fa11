package hardening

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Files are the paths of the PEM files that mutual TLS takes. All three are
// required.
type Files struct {
	CA   string // one or more authorities' certificates; the system's are never consulted
	Cert string // the client's certificate, then its intermediates
	Key  string // the client's private key, unencrypted, readable by its owner alone
}

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

// ClientTLS reads the files and returns a client's configuration for mutual
// TLS: version 1.3 where the server has it and 1.2 at least, the given
// authorities alone, and the server's chain, name and validity checked on every
// connection, resumed sessions included. It reads the files once: whoever
// replaces them makes a new configuration.
//
// serverName is the name that the server's certificate must hold; "" means the
// host that is dialled, which is what a cluster needs.
//
// A file that is missing, empty, no PEM, out of its validity, of the wrong kind
// or, for the key, readable by others is an error that says what to do.
func ClientTLS(files Files, serverName string) (*tls.Config, error) {
	now := time.Now()
	roots, err := loadCA(files.CA, now)
	if err != nil {
		return nil, err
	}
	pair, err := loadPair(files.Cert, files.Key, now)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		CipherSuites: slices.Clone(aead),
		RootCAs:      roots,
		Certificates: []tls.Certificate{pair},
		ServerName:   serverName,
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return verifyServer(state, roots, serverName, clock(config))
	}
	return config, nil
}

func clock(config *tls.Config) time.Time {
	if config.Time != nil {
		return config.Time()
	}
	return time.Now()
}

// verifyServer checks what crypto/tls checks on a full handshake, and more, on
// every connection: crypto/tls calls VerifyConnection for resumed sessions too.
func verifyServer(state tls.ConnectionState, roots *x509.CertPool, name string, now time.Time) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("hardening: the server showed no certificate")
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
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, DNSName: name, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("hardening: the server's certificate: %w", err)
	}
	if bits := rsaBits(leaf); bits != 0 && bits < minRSA {
		return fmt.Errorf("hardening: the server's certificate has an RSA key of %d bits; issue one with %d or more, or with ECDSA P-256", bits, minRSA)
	}
	return nil
}

// rsaBits returns the length of an RSA key, 0 for other kinds.
func rsaBits(c *x509.Certificate) int {
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok {
		return key.N.BitLen()
	}
	return 0
}

func loadCA(path string, now time.Time) (*x509.CertPool, error) {
	text, err := readFile(path, "CA", false)
	if err != nil {
		return nil, err
	}
	certs, err := parseCerts(text, "CA", path)
	if err != nil {
		return nil, err
	}
	pool, valid := x509.NewCertPool(), false
	for _, c := range certs {
		if !c.IsCA {
			return nil, fmt.Errorf("hardening: CA file %s holds a certificate that is no authority's; give the certificate of the CA that signed the server's", path)
		}
		valid = valid || checkValidity(c, "CA", path, now) == nil
		pool.AddCert(c)
	}
	if !valid { // a bundle may carry the old authority beside the new one
		return nil, checkValidity(certs[0], "CA", path, now)
	}
	return pool, nil
}

func loadPair(certPath, keyPath string, now time.Time) (tls.Certificate, error) {
	certText, err := readFile(certPath, "client certificate", false)
	if err != nil {
		return tls.Certificate{}, err
	}
	certs, err := parseCerts(certText, "client certificate", certPath)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := checkClient(certs[0], certPath, now); err != nil {
		return tls.Certificate{}, err
	}
	keyText, err := readFile(keyPath, "private key", true)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer clear(keyText)
	if bytes.Contains(keyText, []byte("ENCRYPTED")) {
		return tls.Certificate{}, fmt.Errorf("hardening: private key file %s is encrypted; give it unencrypted, in a file that only its owner reads", keyPath)
	}
	pair, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("hardening: private key file %s and certificate file %s: %w; give the two that were issued together", keyPath, certPath, err)
	}
	return pair, nil
}

func checkClient(c *x509.Certificate, path string, now time.Time) error {
	if err := checkValidity(c, "client certificate", path, now); err != nil {
		return err
	}
	unlimited := len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0
	if !unlimited && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return fmt.Errorf("hardening: client certificate file %s is not for client authentication (extended key usage); have one issued with clientAuth", path)
	}
	return nil
}

func checkValidity(c *x509.Certificate, what, path string, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("hardening: %s file %s expired on %s; have it issued anew", what, path, c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("hardening: %s file %s is valid from %s only; check this machine's clock", what, path, c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// parseCerts returns every certificate of a PEM file, one at least.
func parseCerts(text []byte, what, path string) (certs []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("hardening: %s file %s: %w", what, path, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("hardening: %s file %s holds no certificate; it must be PEM (BEGIN CERTIFICATE)", what, path)
	}
	return certs, nil
}

// readFile reads a small file. The mode is that of the file that is then read,
// so that nobody can exchange it between the two.
func readFile(path, what string, private bool) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("hardening: no %s file given; mutual TLS needs a CA, a client certificate and its private key", what)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("hardening: %s file: %w", what, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("hardening: %s file: %w", what, err)
	}
	if mode := info.Mode().Perm(); private && mode&0o077 != 0 {
		return nil, fmt.Errorf("hardening: %s file %s has mode %04o and others may read it; chmod 600 it, and replace the key if they have", what, path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("hardening: %s file: %w", what, err)
	}
	return text, nil
}
