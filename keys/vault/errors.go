package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/vault/api"
)

// What callers branch on. Errors name the address, the path, the cause and a
// remedy; never a token, a key or what a request carried.
var (
	// ErrDenied: Vault refused the login, or the token's policies do not permit
	// the call.
	ErrDenied = errors.New("vault: permission denied")
	// ErrUnavailable: Vault cannot be reached, is sealed, is overloaded, or did
	// not answer in time. Where the caller's context ended, the error wraps the
	// context's as well; where [Config.Timeout] did, it does not.
	ErrUnavailable = errors.New("vault: not available")
	// ErrInsecure: the address or the environment would have others read or
	// change what is exchanged with Vault. Nothing was sent.
	ErrInsecure = errors.New("vault: insecure connection")
)

// errTimeout is the cause with which a call's own deadline ends its context.
var errTimeout = errors.New("vault: timeout")

// within returns ctx with the client's deadline.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.timeout, errTimeout)
}

// explain says what went wrong with a call, and what to do about it.
func (c *Client) explain(ctx context.Context, rq call, err error) error {
	var r *api.ResponseError
	if !errors.As(err, &r) {
		return c.explainTransport(ctx, err)
	}
	said := quote(r, rq.sent)
	switch {
	case r.StatusCode == http.StatusForbidden && rq.fresh:
		return fmt.Errorf("%w on %s at %s, to a fresh token too: its policies lack: %s%s", ErrDenied, rq.path, c.address, grant(rq.path, rq.op), said)
	case r.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w on %s at %s: the token has expired or was revoked, or its policies lack: %s%s", ErrDenied, rq.path, c.address, grant(rq.path, rq.op), said)
	case r.StatusCode == http.StatusNotFound:
		unrouted := strings.Contains(said, "no handler for route") || strings.Contains(said, "unsupported path")
		return &notFoundError{fmt.Sprintf("vault: there is nothing at %s at %s%s; check the mount's name with: vault secrets list", rq.path, c.address, said), unrouted}
	case r.StatusCode == http.StatusBadRequest || r.StatusCode == http.StatusMethodNotAllowed:
		return &requestError{fmt.Sprintf("vault: %s at %s was refused (status %d)%s", rq.path, c.address, r.StatusCode, said), said}
	default:
		return c.explainStatus(r, said)
	}
}

// grant is the line of HCL that permits o on path.
func grant(path string, o op) string {
	return fmt.Sprintf(`path %q { capabilities = [%q] }`, path, o)
}

// explainStatus is for what is wrong with Vault rather than with the call.
func (c *Client) explainStatus(r *api.ResponseError, said string) error {
	switch {
	case r.StatusCode == http.StatusServiceUnavailable && strings.Contains(said, "sealed"):
		return fmt.Errorf("%w: %s is sealed; unseal it: vault operator unseal", ErrUnavailable, c.address)
	case r.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s answers that a rate limit or quota is exhausted%s", ErrUnavailable, c.address, said)
	default:
		return fmt.Errorf("%w: %s answers with status %d%s", ErrUnavailable, c.address, r.StatusCode, said)
	}
}

// explainLogin is explain for a login.
func (c *Client) explainLogin(ctx context.Context, err error, sent []string) error {
	var r *api.ResponseError
	if !errors.As(err, &r) {
		if local := new(localError); errors.As(err, &local) {
			return local
		}
		return c.explainTransport(ctx, err)
	}
	said := quote(r, sent)
	switch {
	case r.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: the login by %s at %s: that method is not enabled there; see: vault auth list", ErrDenied, c.login, c.address)
	case r.StatusCode < http.StatusInternalServerError && r.StatusCode != http.StatusTooManyRequests,
		// What Vault answers to a secret id that is used up.
		r.StatusCode == http.StatusInternalServerError && strings.Contains(said, "invalid secret id"):
		return fmt.Errorf("%w: the login by %s at %s was refused (status %d)%s; %s", ErrDenied, c.login, c.address, r.StatusCode, said, c.login.remedy)
	default:
		return c.explainStatus(r, said)
	}
}

// explainTransport is for calls that got no answer.
func (c *Client) explainTransport(ctx context.Context, err error) error {
	// The outer error repeats method and URL.
	if u := new(url.Error); errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		return fmt.Errorf("%w: no answer from %s within %s", ErrUnavailable, c.address, c.timeout)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: no answer from %s in time: %w", ErrUnavailable, c.address, ctx.Err())
	case errors.Is(err, errAnswer):
		return fmt.Errorf("vault: %s does not answer as Vault does: check the address, and proxies in between (%w)", c.address, err)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%w: the certificate of %s stems from a CA that is not trusted here: name its file in VAULT_CACERT (%w)", ErrUnavailable, c.address, err)
	case errors.As(err, new(x509.HostnameError)):
		return fmt.Errorf("%w: the certificate of %s is for another name: correct the address, or name what it holds in VAULT_TLS_SERVER_NAME (%w)", ErrUnavailable, c.address, err)
	case isRemoteTLS(err):
		return fmt.Errorf("%w: %s refuses the TLS connection: it may want another client certificate, in VAULT_CLIENT_CERT and VAULT_CLIENT_KEY (%w)", ErrUnavailable, c.address, err)
	case isTLS(err):
		return fmt.Errorf("%w: no trusted TLS connection to %s: check the address and VAULT_CACERT (%w)", ErrUnavailable, c.address, err)
	default:
		return fmt.Errorf("%w: %s cannot be reached: check VAULT_ADDR and that Vault runs (%w)", ErrUnavailable, c.address, err)
	}
}

// isTLS reports a failure of TLS that will not go away by itself.
func isTLS(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) ||
		errors.As(err, new(x509.HostnameError)) || errors.As(err, new(x509.CertificateInvalidError)) ||
		errors.As(err, new(tls.RecordHeaderError)) || errors.Is(err, http.ErrSchemeMismatch) || isRemoteTLS(err)
}

// isRemoteTLS reports an alert from the server.
func isRemoteTLS(err error) bool {
	if errors.As(err, new(tls.AlertError)) {
		return true
	}
	op := new(net.OpError)
	return errors.As(err, &op) && op.Op == "remote error"
}

// quote returns what Vault says about an error, for the end of a sentence. It
// is left out where it repeats a secret that was sent, and where it is no
// message of Vault's but, say, a proxy's page.
func quote(r *api.ResponseError, sent []string) string {
	if r.RawError || len(r.Errors) == 0 {
		return ""
	}
	said := strings.Join(strings.Fields(strings.Join(r.Errors, "; ")), " ")
	for _, s := range sent {
		if s != "" && strings.Contains(said, s) {
			return ""
		}
	}
	if len(said) > 300 {
		said = said[:300] + "…"
	}
	return fmt.Sprintf(": Vault says %q", said)
}

// notFoundError is a 404, which means different things to different calls,
// unless there is no such mount.
type notFoundError struct {
	text     string
	unrouted bool
}

func (e *notFoundError) Error() string { return e.text }

// requestError is a call that Vault understood and refused.
type requestError struct{ text, said string }

func (e *requestError) Error() string { return e.text }

// localError is a login that failed before anything was sent.
type localError struct{ text string }

func (e *localError) Error() string { return e.text }
