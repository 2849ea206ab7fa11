// Package handshake connects over mutual TLS and says why it did not work: a
// certificate that one side refused is an [*Error] that names the cause, and is
// not tried again, since no repetition mends a certificate.
package handshake

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"time"
)

// Cause is why a connection was refused, in a few words that stay the same.
type Cause string

const (
	Expired          Cause = "expired"
	NotYetValid      Cause = "not yet valid"
	UnknownAuthority Cause = "unknown authority" // or a missing intermediate: the two look alike
	SelfSigned       Cause = "self-signed"
	WrongUsage       Cause = "wrong extended key usage"
	WrongName        Cause = "wrong name"
	CommonNameOnly   Cause = "name in the common name only"
	Weak             Cause = "weak key or signature"
	Revoked          Cause = "revoked"
	NotOnCRL         Cause = "no current revocation list" // for its authority
	NoCertificate    Cause = "no client certificate"
	BadCertificate   Cause = "bad certificate" // no more is known, or none of the others
	NoCommonVersion  Cause = "no common version of TLS"
	NoCommonSuite    Cause = "no common cipher suite" // or, in TLS 1.2, whatever the server keeps to itself
	Plaintext        Cause = "the port does not speak TLS"
)

// Error is a connection that one side refused for good. It is no [net.Error]
// and none is found behind it, which is what go-redis would take for a reason
// to try again.
type Error struct {
	Cause Cause
	// ByServer is whose decision it was: the server's about what the client
	// showed, or else the client's about what the server showed.
	ByServer bool
	// Err is what crypto/tls or crypto/x509 said.
	Err error
}

// Error names the side and the cause.
func (e *Error) Error() string {
	side := "the client refused the server"
	if e.ByServer {
		side = "the server refused the client"
	}
	return "handshake: " + side + ": " + string(e.Cause) + ": " + strings.TrimPrefix(e.Err.Error(), "handshake: ")
}

// Unwrap returns Err. It is a list since go-redis strips one layer, where there
// is a single one, of an error that ends the set-up of a connection.
func (e *Error) Unwrap() []error { return []error{e.Err} }

// Explain finds the reason in an error of a connection: the [*Error] that is in
// it, or one made from what crypto/tls and crypto/x509 return. It is nil for
// everything else, such as a network that fails, which may be worth trying again.
func Explain(err error) *Error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return known
	}
	for _, by := range []func(error) *Error{ofServer, ofChain, ofProtocol} {
		if e := by(err); e != nil {
			return e
		}
	}
	return nil
}

// alerts are those with which a server refuses for good (RFC 8446, section 6.2,
// and RFC 5246, section 7.2.2).
var alerts = map[tls.AlertError]Cause{
	40:  NoCommonSuite, // handshake_failure
	42:  BadCertificate,
	43:  WrongUsage, // unsupported_certificate
	44:  Revoked,
	45:  Expired,
	46:  BadCertificate, // certificate_unknown
	48:  UnknownAuthority,
	49:  BadCertificate, // access_denied
	70:  NoCommonVersion,
	71:  NoCommonSuite, // insufficient_security
	112: WrongName,     // unrecognized_name
	116: NoCertificate, // certificate_required
}

// ofServer reads the alert that the server sent. Its type is crypto/tls' own;
// the text is that of the exported one.
func ofServer(err error) *Error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return nil
	}
	for code, cause := range alerts {
		if code.Error() == op.Err.Error() {
			return &Error{Cause: cause, ByServer: true, Err: op.Err}
		}
	}
	return nil
}

func ofChain(err error) *Error {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return &Error{Cause: ofName(e.Certificate), Err: e}
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return &Error{Cause: ofInvalid(e), Err: e}
	}
	if e, ok := errors.AsType[x509.InsecureAlgorithmError](err); ok {
		return &Error{Cause: Weak, Err: e}
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		c := e.Cert // which may be the authority's own, that the server sent along
		if v, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(v.UnverifiedCertificates) > 0 {
			c = v.UnverifiedCertificates[0]
		}
		if c != nil && bytes.Equal(c.RawIssuer, c.RawSubject) {
			return &Error{Cause: SelfSigned, Err: e}
		}
		return &Error{Cause: UnknownAuthority, Err: e}
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Error{Cause: BadCertificate, Err: e}
	}
	return nil
}

func ofName(c *x509.Certificate) Cause {
	if c != nil && len(c.DNSNames) == 0 && len(c.IPAddresses) == 0 && c.Subject.CommonName != "" {
		return CommonNameOnly
	}
	return WrongName
}

func ofInvalid(e x509.CertificateInvalidError) Cause {
	switch {
	case e.Reason == x509.Expired && e.Cert != nil && time.Now().Before(e.Cert.NotBefore):
		return NotYetValid
	case e.Reason == x509.Expired:
		return Expired
	case e.Reason == x509.IncompatibleUsage:
		return WrongUsage
	}
	return BadCertificate
}

func ofProtocol(err error) *Error {
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &Error{Cause: Plaintext, Err: errors.New(e.Msg)} // e holds the connection
	}
	// crypto/tls has no types for these.
	said := func(text string) func(string) bool {
		return func(part string) bool { return strings.Contains(text, part) }
	}(err.Error())
	switch {
	case said("server selected unsupported protocol version"):
		return &Error{Cause: NoCommonVersion, Err: err}
	case slices.ContainsFunc([]string{"server chose an unconfigured cipher suite", "server selected unsupported curve"}, said):
		return &Error{Cause: NoCommonSuite, Err: err}
	}
	return nil
}
