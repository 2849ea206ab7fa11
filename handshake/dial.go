package handshake

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// Dialer returns a function that connects over TLS, as go-redis takes it for
// Options.Dialer. What is refused for good comes back as a connection every
// use of which returns the [*Error]: an error of its dialer go-redis would try
// again five times, and each of those four times more.
//
// Where config has GetConfigForClient, which crypto/tls asks on servers only,
// each connection is made with the configuration that it returns: that is how
// a configuration of hardening's brings in authorities that were replaced.
//
// A connection is closed when it gets older than maxAge, whoever holds it; 0
// lets it live. Give the pool a shorter ConnMaxLifetime, so that it replaces
// its connections between two commands and this falls on those alone that it
// does not see, which are subscriptions.
func Dialer(config *tls.Config, maxAge time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr, config)
		if final := Explain(err); final != nil {
			return refused{final}, nil
		}
		if err != nil {
			return nil, err
		}
		link := &conn{Conn: c}
		if maxAge > 0 {
			link.end = time.AfterFunc(maxAge, func() { _ = c.Close() })
		}
		return link, nil
	}
}

// Final is for a dialer that asks others for the way, as go-redis' asks the
// sentinels: where each of them has refused for good, it returns a connection as
// [Dialer] does, and otherwise what it was given. One that may yet answer is
// worth asking again.
func Final(c net.Conn, err error) (net.Conn, error) {
	if final := ofAll(err); final != nil {
		return refused{final}, nil
	}
	return c, err
}

// ofAll is Explain of errors that were joined, if it explains each.
func ofAll(err error) *Error {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(*Error); ok {
			return e
		}
		list, ok := err.(interface{ Unwrap() []error })
		if !ok {
			continue
		}
		var first *Error
		for _, one := range list.Unwrap() {
			e := Explain(one)
			if e == nil {
				return nil
			}
			first = cmp.Or(first, e)
		}
		return first
	}
	return nil
}

func dial(ctx context.Context, network, addr string, config *tls.Config) (*tls.Conn, error) {
	if config.GetConfigForClient != nil {
		host, _, _ := net.SplitHostPort(addr)
		now, err := config.GetConfigForClient(&tls.ClientHelloInfo{ServerName: host})
		if err != nil {
			return nil, err
		}
		if now != nil {
			config = now
		}
	}
	d := &net.Dialer{KeepAliveConfig: keepAlive}
	raw, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		host, _, _ := net.SplitHostPort(addr)
		config = config.Clone()
		config.ServerName = host
	}
	c := tls.Client(raw, config)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	probe := time.AfterFunc(patience, func() {
		if speaksPlaintext(ctx, d, network, addr) {
			stop(&Error{Cause: Plaintext, Err: errors.New("it answers without")})
		}
	})
	defer probe.Stop()
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		if known := Explain(context.Cause(ctx)); known != nil {
			return nil, known
		}
		return nil, withoutCertificate(err, config)
	}
	return c, nil
}

// patience is how long a handshake may take before the question is whether the
// port speaks TLS at all. Redis takes the beginning of a handshake for half a
// command and waits for the rest.
const patience = 500 * time.Millisecond

// speaksPlaintext asks on a connection of its own, without a login.
func speaksPlaintext(ctx context.Context, d *net.Dialer, network, addr string) bool {
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	reply := make([]byte, 1)
	if _, err = c.Write([]byte("*1\r\n$4\r\nPING\r\n")); err == nil {
		_, err = c.Read(reply)
	}
	return err == nil && (reply[0] == '+' || reply[0] == '-')
}

// keepAlive is go-redis': a peer that is gone shows within 45 seconds.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3}

// withoutCertificate gives the reason that TLS 1.2 has no alert for.
func withoutCertificate(err error, config *tls.Config) error {
	e := Explain(err)
	if e == nil || e.Cause != NoCommonSuite || !e.ByServer || len(config.Certificates) > 0 || config.GetClientCertificate != nil {
		return err
	}
	return &Error{Cause: NoCertificate, ByServer: true, Err: e.Err}
}

// conn is a connection on which the server's refusal may still be to come: in
// TLS 1.3 it follows the handshake, as the answer to the first command.
type conn struct {
	*tls.Conn
	end   *time.Timer // nil where the age is unbounded
	heard atomic.Bool // the server has sent something
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	if err == nil {
		return n, nil
	}
	if e := Explain(err); e != nil {
		return n, e
	}
	return n, err
}

// Write reads the refusal where the server has hung up already: the write says
// only that the connection is broken, which would be tried again.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || c.heard.Load() {
		return n, err
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(time.Second))
	if _, cause := c.Conn.Read(make([]byte, 1)); cause != nil {
		if e := Explain(cause); e != nil {
			return n, e
		}
	}
	return n, err
}

func (c *conn) Close() error {
	if c.end != nil {
		c.end.Stop()
	}
	return c.Conn.Close()
}

// refused stands for a connection that did not come about.
type refused struct{ why *Error }

func (r refused) Read([]byte) (int, error)       { return 0, r.why }
func (r refused) Write([]byte) (int, error)      { return 0, r.why }
func (refused) Close() error                     { return nil }
func (refused) LocalAddr() net.Addr              { return nowhere{} }
func (refused) RemoteAddr() net.Addr             { return nowhere{} }
func (refused) SetDeadline(time.Time) error      { return nil }
func (refused) SetReadDeadline(time.Time) error  { return nil }
func (refused) SetWriteDeadline(time.Time) error { return nil }

type nowhere struct{}

func (nowhere) Network() string { return "tcp" }
func (nowhere) String() string  { return "refused" }

var _ net.Conn = refused{}
