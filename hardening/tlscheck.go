package hardening

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/securecache/securecache-go/handshake"
)

// TLSReport is what a server offers to a client, and what the two do together.
type TLSReport struct {
	Address  string       `json:"address"`
	Versions []TLSVersion `json:"versions"`
	// Chain is what the server shows, its own certificate first. It is shown
	// whether or not it is to be believed.
	Chain []TLSCertificate `json:"chain"`
	// ClientCertificate is "required", "optional", "not asked for", or "unknown"
	// where the server could not be asked.
	ClientCertificate string `json:"client_certificate"`
	// Refused is why the two do not come together; empty where they do.
	Refused handshake.Cause `json:"refused,omitempty"`
	// ByServer is whose refusal that is.
	ByServer bool `json:"refused_by_server,omitempty"`
	// Findings are what is weak, a sentence each.
	Findings []string `json:"findings"`
}

// TLSVersion is one version of TLS and its cipher suites. Of TLS 1.3, all of
// whose suites are strong, only the one is known that the server has chosen.
type TLSVersion struct {
	Version string   `json:"version"`
	Offered bool     `json:"offered"`
	Suites  []string `json:"suites,omitempty"`
	// Untried is set where this program has not got that version, under
	// GODEBUG=fips140=only.
	Untried bool `json:"untried,omitempty"`
}

// TLSCertificate is what stands in a certificate.
type TLSCertificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names,omitempty"` // and addresses
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Key       string    `json:"key"` // kind and size
	Signature string    `json:"signature"`
}

// CheckTLS tries every version of TLS and every suite on the server at addr,
// looks at its certificates, and whether it lets a client in without one. It
// makes some 30 connections and sends PING at most, never a login. config is
// that of the client whose pair is to be tried; see [TLS.Config]. ctx bounds all
// of it. A server that cannot be reached is an error; one that refuses, or is
// refused, is part of the report.
func CheckTLS(ctx context.Context, addr string, config *tls.Config) (*TLSReport, error) {
	p := &tlsProbe{addr: addr, config: config, report: &TLSReport{Address: addr, ClientCertificate: "unknown"}}
	if err := p.verdict(ctx); err != nil {
		return nil, err
	}
	if p.report.Refused != handshake.Plaintext {
		p.versions(ctx)
		p.withoutCertificate(ctx)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("hardening: checking %s: %w", addr, err)
	}
	p.findings(time.Now())
	return p.report, nil
}

type tlsProbe struct {
	addr   string
	config *tls.Config
	report *TLSReport
	chain  []*x509.Certificate
}

// verdict is what the client's own configuration comes to.
func (p *tlsProbe) verdict(ctx context.Context) error {
	c, err := handshake.Dialer(p.config, 0)(ctx, "tcp", p.addr)
	if err == nil {
		err = answers(ctx, c)
	}
	if e := handshake.Explain(err); e != nil {
		p.report.Refused, p.report.ByServer = e.Cause, e.ByServer
		return nil
	}
	return err
}

// answers sends PING, whose answer may as well be that a login is missing.
func answers(ctx context.Context, c net.Conn) error {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if _, err := c.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// probe returns a configuration that believes anything: what it reads is shown
// to people and nothing secret is sent.
func (p *tlsProbe) probe(version uint16, suites ...uint16) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, CipherSuites: suites,
		ServerName: p.config.ServerName, Certificates: p.config.Certificates, GetClientCertificate: p.config.GetClientCertificate,
	}
}

// shake returns what a handshake agreed on. A client certificate that is
// refused in TLS 1.2 does not hide it, since the server's part comes first.
func (p *tlsProbe) shake(ctx context.Context, config *tls.Config) (state tls.ConnectionState, ok bool) {
	config.VerifyConnection = func(s tls.ConnectionState) error {
		state, ok = s, true
		return nil
	}
	c, err := handshake.Dialer(config, 0)(ctx, "tcp", p.addr)
	if err == nil {
		_ = c.Close()
	}
	return state, ok
}

func (p *tlsProbe) versions(ctx context.Context) {
	for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
		v := TLSVersion{Version: tls.VersionName(version), Untried: version < tls.VersionTLS12 && fips140.Enforced()}
		if state, ok := p.shake(ctx, p.probe(version, allSuites()...)); ok {
			v.Offered = true
			v.Suites = p.suites(ctx, version, state)
			p.chain = state.PeerCertificates
		}
		p.report.Versions = append(p.report.Versions, v)
	}
	for _, c := range p.chain {
		p.report.Chain = append(p.report.Chain, describe(c))
	}
}

// suites takes what the server chose off the list until it finds nothing more.
func (p *tlsProbe) suites(ctx context.Context, version uint16, state tls.ConnectionState) (names []string) {
	left := allSuites()
	for {
		names = append(names, tls.CipherSuiteName(state.CipherSuite))
		left = slices.DeleteFunc(left, func(id uint16) bool { return id == state.CipherSuite })
		if version == tls.VersionTLS13 || len(left) == 0 {
			return names
		}
		var ok bool
		if state, ok = p.shake(ctx, p.probe(version, left...)); !ok {
			return names
		}
	}
}

func allSuites() (ids []uint16) {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		ids = append(ids, s.ID)
	}
	return ids
}

// withoutCertificate finds out whether the server insists on one.
func (p *tlsProbe) withoutCertificate(ctx context.Context) {
	asked := false
	config := p.probe(0)
	config.MinVersion, config.Certificates = tls.VersionTLS12, nil
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		return &tls.Certificate{}, nil
	}
	c, err := handshake.Dialer(config, 0)(ctx, "tcp", p.addr)
	if err == nil {
		err = answers(ctx, c)
	}
	switch {
	case err == nil && asked:
		p.report.ClientCertificate = "optional"
	case err == nil:
		p.report.ClientCertificate = "not asked for"
	case handshake.Explain(err) != nil && asked:
		p.report.ClientCertificate = "required"
	}
}

func describe(c *x509.Certificate) TLSCertificate {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return TLSCertificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: names, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		Key: keyOf(c), Signature: c.SignatureAlgorithm.String(),
	}
}

func keyOf(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}

func (p *tlsProbe) findings(now time.Time) {
	r := p.report
	r.Findings = []string{}
	add := func(format string, args ...any) { r.Findings = append(r.Findings, fmt.Sprintf(format, args...)) }
	for i, v := range r.Versions {
		if v.Offered && i < 2 {
			add("%s is offered: tls-protocols \"TLSv1.2 TLSv1.3\"", v.Version)
		}
	}
	if weak := r.weakSuites(); len(weak) > 0 {
		add("%d cipher suites without AEAD or forward secrecy: tls-ciphers \"ECDHE+AESGCM:ECDHE+CHACHA20\"", len(weak))
	}
	if r.ClientCertificate == "optional" || r.ClientCertificate == "not asked for" {
		add("clients without a certificate are let in: tls-auth-clients yes")
	}
	for _, c := range p.chain {
		if left := c.NotAfter.Sub(now); left > 0 && left < warnBefore {
			add("the certificate of %s ends in %d days", c.Subject, int(left/(24*time.Hour)))
		}
		if bits := rsaBits(c); bits != 0 && bits < minRSA {
			add("the certificate of %s has an RSA key of %d bits: issue it with ECDSA P-256", c.Subject, bits)
		}
	}
}

// weakSuites are those of all versions that are not in aead.
func (r *TLSReport) weakSuites() (weak []string) {
	for _, v := range r.Versions {
		for _, name := range v.Suites {
			strong := slices.ContainsFunc(aead, func(id uint16) bool { return tls.CipherSuiteName(id) == name })
			if !strong && v.Version != tls.VersionName(tls.VersionTLS13) && !slices.Contains(weak, name) {
				weak = append(weak, name)
			}
		}
	}
	return weak
}
