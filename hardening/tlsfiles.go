package hardening

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Files are the paths of the PEM files that mutual TLS takes. All but CRL are
// required.
type Files struct {
	CA   string // one or more authorities' certificates; the system's are never consulted
	Cert string // the client's certificate, then its intermediates
	Key  string // the client's private key, unencrypted, readable by its owner alone
	// CRL holds the authorities' revocation lists. Where it is given, every
	// certificate of the server's chain below the root must be on none of them,
	// and its authority's list must be there and current.
	CRL string
}

// material is what the files hold, checked, and never changed.
type material struct {
	roots *x509.CertPool
	cas   []*x509.Certificate
	pair  tls.Certificate
	lists []*x509.RevocationList // nil where there is no CRL file
}

// texts are the files' contents.
type texts struct{ ca, cert, key, crl []byte }

func (f Files) read() (t texts, err error) {
	for _, one := range []struct {
		path, what string
		into       *[]byte
	}{{f.CA, caFile, &t.ca}, {f.Cert, certFile, &t.cert}, {f.Key, keyFile, &t.key}, {f.CRL, crlFile, &t.crl}} {
		if one.path == "" && one.what == crlFile {
			continue
		}
		if *one.into, err = readFile(one.path, one.what, one.what == keyFile); err != nil {
			return texts{}, err
		}
	}
	return t, nil
}

// What the files are called in errors.
const (
	caFile   = "CA"
	certFile = "client certificate"
	keyFile  = "private key"
	crlFile  = "revocation list"
)

func (f Files) parse(t texts, now time.Time) (m *material, err error) {
	m = &material{}
	if m.cas, err = parseCA(t.ca, f.CA, now); err != nil {
		return nil, err
	}
	m.roots = x509.NewCertPool()
	for _, c := range m.cas {
		m.roots.AddCert(c)
	}
	if m.pair, err = parsePair(t, f, now); err != nil {
		return nil, err
	}
	if f.CRL != "" {
		m.lists, err = parseLists(t.crl, f.CRL, now)
	}
	return m, err
}

func parseCA(text []byte, path string, now time.Time) ([]*x509.Certificate, error) {
	certs, err := parseCerts(text, caFile, path)
	if err != nil {
		return nil, err
	}
	valid := false
	for _, c := range certs {
		if !c.IsCA {
			return nil, fmt.Errorf("hardening: CA file %s holds a certificate that is no authority's; give the certificate of the CA that signed the server's", path)
		}
		valid = valid || checkValidity(c, caFile, path, now) == nil
	}
	if !valid { // a bundle may carry the old authority beside the new one
		return nil, checkValidity(certs[0], caFile, path, now)
	}
	return certs, nil
}

func parsePair(t texts, f Files, now time.Time) (tls.Certificate, error) {
	certs, err := parseCerts(t.cert, certFile, f.Cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := checkClient(certs[0], f.Cert, now); err != nil {
		return tls.Certificate{}, err
	}
	if bytes.Contains(t.key, []byte("ENCRYPTED")) {
		return tls.Certificate{}, fmt.Errorf("hardening: private key file %s is encrypted; give it unencrypted, in a file that only its owner reads", f.Key)
	}
	pair, err := tls.X509KeyPair(t.cert, t.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("hardening: private key file %s and certificate file %s: %w; give the two that were issued together", f.Key, f.Cert, err)
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
