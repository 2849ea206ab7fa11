package audit

import (
	"bufio"
	"context"
	"crypto/fips140"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// dials are what connections of the audit's own have shown.
type dials struct {
	anonymous string // the reply to PING without credentials
	identity  string // who one is then, where PING was answered
	bare      string // the same without a client certificate; "" where TLS refused it
	old, weak uint16 // version and suite that the server accepted and should not have
	chain     []*x509.Certificate
	failed    map[source]string // what could not be found out, and why
}

// dialTimeout bounds one connection, so that one that hangs costs the others
// nothing.
const dialTimeout = 3 * time.Second

// connect makes the connections side by side.
func (n *node) connect() {
	n.dials.failed = map[source]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for from, find := range map[source]func(context.Context) error{
		fromAnonymous: n.anonymously, fromBare: n.barely, fromOldTLS: n.oldVersion, fromWeakTLS: n.weakSuite, fromCertificate: n.certificate,
	} {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, dialTimeout)
			defer cancel()
			if err := find(ctx); err != nil {
				mu.Lock()
				n.dials.failed[from] = from.command() + " showed nothing: " + kindOf(err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// kindOf says what kind of error it was in words that do not vary.
func kindOf(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return err.Error()
}

// open connects and, unless config is nil, shakes hands.
func (n *node) open(ctx context.Context, config *tls.Config) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, n.network(), n.at.Addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(deadline)
	}
	if config == nil || err != nil {
		return conn, err
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

func (n *node) network() string {
	if n.at.Network == "" {
		return "tcp"
	}
	return n.at.Network
}

// call sends a command and returns the first line of the reply.
func call(conn net.Conn, words ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return "", err
	}
	r := bufio.NewReader(io.LimitReader(conn, 4096))
	reply, err := r.ReadString('\n')
	if err == nil && strings.HasPrefix(reply, "$") { // a bulk string: its second line
		reply, err = r.ReadString('\n')
	}
	return strings.TrimSpace(reply), err
}

// anonymously asks without a password, with the client's certificate.
func (n *node) anonymously(ctx context.Context) error {
	conn, err := n.open(ctx, n.clientTLS())
	if err != nil {
		return err
	}
	defer conn.Close()
	if n.dials.anonymous, err = call(conn, "PING"); err != nil {
		return err
	}
	if n.dials.anonymous == "+PONG" {
		n.dials.identity, err = call(conn, "ACL", "WHOAMI")
	}
	return err
}

// barely asks without a client certificate. TLS 1.3 tells of the refusal at the
// first read only, and a server that refuses is what is wanted.
func (n *node) barely(ctx context.Context) error {
	config := n.clientTLS()
	if config == nil {
		return nil
	}
	config.Certificates, config.GetClientCertificate = nil, nil
	conn, err := n.open(ctx, config)
	if refusedByPeer(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	reply, err := call(conn, "PING")
	if err != nil && !timedOut(err) {
		return nil
	}
	n.dials.bare = reply
	return err
}

// oldVersion offers TLS 1.0 and 1.1 alone.
func (n *node) oldVersion(ctx context.Context) error {
	config := n.clientTLS()
	if config == nil {
		return nil
	}
	if fips140.Enforced() {
		return errors.New("a FIPS-only process cannot make it")
	}
	config.MinVersion, config.MaxVersion, config.CipherSuites = tls.VersionTLS10, tls.VersionTLS11, nil
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		config.CipherSuites = append(config.CipherSuites, s.ID)
	}
	state, err := n.handshake(ctx, config)
	if err == nil {
		n.dials.old = state.Version
	}
	return unlessRefused(err)
}

// weakSuite offers suites of TLS 1.2 that lack authenticated encryption or
// forward secrecy, and no others.
func (n *node) weakSuite(ctx context.Context) error {
	config := n.clientTLS()
	if config == nil {
		return nil
	}
	config.MinVersion, config.MaxVersion, config.CipherSuites = tls.VersionTLS12, tls.VersionTLS12, nil
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !strong(s.Name) {
			config.CipherSuites = append(config.CipherSuites, s.ID)
		}
	}
	state, err := n.handshake(ctx, config)
	if err == nil {
		n.dials.weak = state.CipherSuite
	}
	return unlessRefused(err)
}

func strong(suite string) bool {
	return strings.Contains(suite, "ECDHE") && (strings.Contains(suite, "GCM") || strings.Contains(suite, "POLY1305")) || !strings.Contains(suite, "_WITH_")
}

// certificate looks at what the server shows. It is judged afterwards and no
// secret is sent, so that the connection need not be verified.
func (n *node) certificate(ctx context.Context) error {
	config := n.clientTLS()
	if config == nil {
		return nil
	}
	state, err := n.handshake(ctx, config)
	if err == nil {
		n.dials.chain = state.PeerCertificates
	}
	return err
}

func (n *node) handshake(ctx context.Context, config *tls.Config) (tls.ConnectionState, error) {
	config.InsecureSkipVerify, config.VerifyConnection, config.VerifyPeerCertificate = true, nil, nil
	config.ClientSessionCache = nil
	conn, err := n.open(ctx, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState(), nil
}

// clientTLS returns a copy of the client's configuration, nil without TLS.
func (n *node) clientTLS() *tls.Config {
	if n.at.TLSConfig == nil {
		return nil
	}
	config := n.at.TLSConfig.Clone()
	if config.ServerName == "" {
		config.ServerName = n.host()
	}
	return config
}

func (n *node) host() string {
	host, _, err := net.SplitHostPort(n.at.Addr)
	if err != nil {
		return n.at.Addr
	}
	return host
}

// refusedByPeer reports whether the other side has ended the handshake: with an
// alert, or by closing.
func refusedByPeer(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return true
	}
	return errors.Is(err, io.EOF) || isReset(err)
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "connection reset") }

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// unlessRefused turns what is no answer of the server into an error.
func unlessRefused(err error) error {
	if refusedByPeer(err) {
		return nil
	}
	return err
}
