package handshake_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

func TestMain(m *testing.M) {
	logging.Disable() // it tells of every refusal
	servertest.Main(m)
}

func TestExplain(t *testing.T) {
	remote := func(code tls.AlertError) error { return &net.OpError{Op: "remote error", Err: code} }
	now := time.Now()
	past, future := &x509.Certificate{NotAfter: now.Add(-1)}, &x509.Certificate{NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}
	for name, tt := range map[string]struct {
		err      error
		want     handshake.Cause // "" = nil
		byServer bool
	}{
		"none":                    {nil, "", false},
		"end of file":             {io.EOF, "", false},
		"refused port":            {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, "", false},
		"alert: internal error":   {remote(80), "", false},
		"alert: expired":          {remote(45), handshake.Expired, true},
		"alert: unknown CA":       {remote(48), handshake.UnknownAuthority, true},
		"alert: required":         {remote(116), handshake.NoCertificate, true},
		"alert: version":          {remote(70), handshake.NoCommonVersion, true},
		"sent by us":              {&net.OpError{Op: "local error", Err: tls.AlertError(42)}, "", false},
		"expired":                 {x509.CertificateInvalidError{Reason: x509.Expired, Cert: past}, handshake.Expired, false},
		"not yet valid":           {x509.CertificateInvalidError{Reason: x509.Expired, Cert: future}, handshake.NotYetValid, false},
		"usage":                   {x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}, handshake.WrongUsage, false},
		"constraints":             {x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}, handshake.BadCertificate, false},
		"SHA-1":                   {x509.InsecureAlgorithmError(x509.SHA1WithRSA), handshake.Weak, false},
		"another check of Go's":   {&tls.CertificateVerificationError{Err: errors.New("x")}, handshake.BadCertificate, false},
		"plaintext":               {tls.RecordHeaderError{Msg: "x"}, handshake.Plaintext, false},
		"explained, then wrapped": {&handshake.Error{Cause: handshake.Revoked, Err: io.EOF}, handshake.Revoked, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.err
			if err != nil {
				err = fmt.Errorf("outer: %w", err)
			}
			got := handshake.Explain(err)
			if tt.want == "" {
				if got != nil {
					t.Errorf("%v", got)
				}
				return
			}
			if got == nil || got.Cause != tt.want || got.ByServer != tt.byServer {
				t.Fatalf("%v, want %q", got, tt.want)
			}
			if !strings.HasPrefix(got.Error(), "handshake: the ") || !strings.Contains(got.Error(), string(tt.want)) {
				t.Errorf("%q", got)
			}
			if _, network := errors.AsType[net.Error](error(got)); network {
				t.Error("go-redis would try it again")
			}
		})
	}
}

// TestSelfSignedIsTheLeafs tells a certificate that signed itself from one whose
// unknown root was sent along.
func TestSelfSignedIsTheLeafs(t *testing.T) {
	ca := authority(t)
	whole, err := ca.Issue(pki.Server())
	if err != nil {
		t.Fatal(err)
	}
	whole.Cert = append(whole.Cert, ca.PEM()...)
	alone, err := pki.SelfSigned(pki.Server())
	if err != nil {
		t.Fatal(err)
	}
	for want, p := range map[handshake.Cause]pki.Pair{handshake.UnknownAuthority: whole, handshake.SelfSigned: alone} {
		shown, err := p.TLS()
		if err != nil {
			t.Fatal(err)
		}
		addr, _ := peer(t, &tls.Config{Certificates: []tls.Certificate{shown}}, func(c *tls.Conn) { _ = c.Handshake() })
		c, err := handshake.Dialer(&tls.Config{RootCAs: authority(t).Pool()}, 0)(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Read(nil)
		if e := handshake.Explain(err); e == nil || e.Cause != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// peer is a TLS server on loopback that counts its connections and hands each
// to serve.
func peer(t *testing.T, config *tls.Config, serve func(*tls.Conn)) (addr string, count *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	count = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			c := tls.Server(raw, config)
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String(), count
}

func pair(t *testing.T, issue func(pki.Request) (pki.Pair, error), r pki.Request) tls.Certificate {
	t.Helper()
	p, err := issue(r)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func authority(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.New("test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// TestRefusalTakesOneConnection has go-redis meet both kinds of refusal, with
// and without the dialer.
func TestRefusalTakesOneConnection(t *testing.T) {
	ca := authority(t)
	good := pair(t, ca.Issue, pki.Server())
	for name, tt := range map[string]struct {
		server *tls.Config
		want   handshake.Cause
	}{
		"by the client":          {&tls.Config{Certificates: []tls.Certificate{pair(t, pki.SelfSigned, pki.Server())}}, handshake.SelfSigned},
		"by the server, TLS 1.2": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, ""},
		"by the server, TLS 1.3": {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, handshake.NoCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			addr, count := peer(t, tt.server, func(c *tls.Conn) { _ = c.Handshake() })
			rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true,
				Dialer: handshake.Dialer(&tls.Config{RootCAs: ca.Pool()}, 0)})
			defer rdb.Close()
			err := rdb.Ping(t.Context()).Err()
			var refusal *handshake.Error
			if !errors.As(err, &refusal) || tt.want != "" && refusal.Cause != tt.want {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if n := count.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestFinalIsWhatAllSay joins the answers of several, as go-redis' failover
// client does.
func TestFinalIsWhatAllSay(t *testing.T) {
	refusal, network := &handshake.Error{Cause: handshake.Expired, Err: errors.New("x509")}, errors.New("connection refused")
	for name, tc := range map[string]struct {
		err   error
		final bool
	}{
		"all":                {fmt.Errorf("all sentinels: %w", errors.Join(refusal, fmt.Errorf("one: %w", refusal))), true},
		"one alone":          {fmt.Errorf("the sentinel: %w", refusal), true},
		"one may yet answer": {fmt.Errorf("all sentinels: %w", errors.Join(refusal, network)), false},
		"the network":        {network, false},
	} {
		c, err := handshake.Final(nil, tc.err)
		if (c != nil) != tc.final || (err == nil) != tc.final {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		if c != nil {
			if _, err := c.Write(nil); !errors.Is(err, refusal) {
				t.Errorf("%s: a use: %v", name, err)
			}
		}
	}
	if c, err := handshake.Final(nil, nil); c != nil || err != nil {
		t.Errorf("without an error: %v, %v", c, err)
	}
}

func TestNetworkFailuresAreReturned(t *testing.T) {
	dial := handshake.Dialer(&tls.Config{}, 0)
	if c, err := dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil || c != nil || handshake.Explain(err) != nil {
		t.Errorf("%v, %v: go-redis is to try that again", c, err)
	}
	addr, _ := peer(t, &tls.Config{}, func(*tls.Conn) {}) // hangs up
	if _, err := dial(t.Context(), "tcp", addr); err == nil || handshake.Explain(err) != nil {
		t.Errorf("%v: go-redis is to try that again", err)
	}
}

// TestContextBoundsTheHandshake meets a port that accepts and says nothing.
func TestContextBoundsTheHandshake(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := handshake.Dialer(&tls.Config{}, 0)(ctx, "tcp", l.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestConnectionEndsAtItsAge(t *testing.T) {
	ca := authority(t)
	config := &tls.Config{Certificates: []tls.Certificate{pair(t, ca.Issue, pki.Server())}}
	addr, _ := peer(t, config, func(c *tls.Conn) { _, _ = io.Copy(io.Discard, c) })
	c, err := handshake.Dialer(&tls.Config{RootCAs: ca.Pool()}, 50*time.Millisecond)(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// End of file where the peer answers the close before it is complete.
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the connection closed", err)
	}
}

// TestConfigurationIsAskedForEachTime holds what reloading rests on.
func TestConfigurationIsAskedForEachTime(t *testing.T) {
	ca := authority(t)
	addr, _ := peer(t, &tls.Config{Certificates: []tls.Certificate{pair(t, ca.Issue, pki.Server())}}, func(c *tls.Conn) { _ = c.Handshake() })
	var host string
	config := &tls.Config{RootCAs: authority(t).Pool(), GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		host = h.ServerName
		return &tls.Config{RootCAs: ca.Pool()}, nil
	}}
	c, err := handshake.Dialer(config, 0)(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if host != "127.0.0.1" {
		t.Errorf("asked for %q", host)
	}
}
