package securecachetest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// Env is what [Start] sets up. Its fields are ready for use and shared by the
// whole test; nothing needs to be closed.
type Env struct {
	// Server is the server, for its address and for faults.
	Server *Server
	// Namespace is the keyring's and the application user's.
	Namespace string
	// Files are the authority's certificate, the client's and its key, as PEM
	// files for a command under test.
	Files hardening.Files
	// TLS is the client's configuration.
	TLS *tls.Config
	// Client is logged in as the application's user.
	Client *redis.Client
	// Admin is logged in as a user that may do everything, to look at and to
	// tamper with what the server holds.
	Admin *redis.Client
	// Keyring has one active key. It is kept in a file of the test's, unwrapped.
	Keyring *keys.Keyring
	// Cache is a cache on Client with the default options.
	Cache *securecache.Cache
}

// Start starts a server and what belongs to it, and ends all of it when the
// test does. A failure to start fails the test. Where no server is installed and
// none is asked for, the server is the embedded one, and the test's log says so
// and what it lacks. The test fails instead when the environment says CI=true, and
// is skipped in FIPS 140-only mode, which the embedded server does not have.
func Start(t testing.TB, opts ...Option) *Env {
	t.Helper()
	o := newSettings(opts)
	o.server.Fallback = server.MayFallBack()
	s, err := server.Start(t.Context(), o.server)
	need(t, err)
	closeAfter(t, s.Close)
	if notice := s.Notice(); notice != "" {
		t.Log(notice)
	}
	e := &Env{Server: &Server{s}, Namespace: o.server.Namespace, Files: files(s)}
	e.TLS, err = hardening.ClientTLS(e.Files, "")
	need(t, err)
	e.Client = e.connect(t, s.Options())
	e.Admin = e.connect(t, s.AdminOptions())
	e.Keyring = newKeyring(t, o)
	e.Cache = newCache(t, e.Client, e.Keyring)
	return e
}

func (e *Env) connect(t testing.TB, o *redis.Options) *redis.Client {
	o.TLSConfig = e.TLS.Clone()
	rdb := redis.NewClient(o)
	disconnectAfter(t, rdb)
	return rdb
}

func files(s *server.Server) hardening.Files {
	return hardening.Files{CA: s.CAFile(), Cert: s.CertFile(), Key: s.KeyFile()}
}

// need ends the test where err is not nil. That the embedded server was asked for
// and cannot do it is a reason to skip even in CI, which asks for it by name.
func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, server.ErrNotInstalled) && os.Getenv("CI") != "true", errors.Is(err, server.ErrLacking):
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// closeAfter closes something at the end of the test. What it cannot close is
// a leak, and an error.
func closeAfter(t testing.TB, stop func() error) {
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// disconnectAfter closes a client at the end of the test. What TLS has to say of
// a connection that died with a server that the test killed is no error.
func disconnectAfter(t testing.TB, rdb io.Closer) {
	t.Cleanup(func() { _ = rdb.Close() })
}

// Server is a running server.
type Server struct{ s *server.Server }

// Addr returns host and port, the same for the server's whole life.
func (s *Server) Addr() string { return s.s.Addr() }

// URL returns a rediss URL, password and all, that logs in as the
// application's user.
func (s *Server) URL() string { return s.s.URL() }

// OperatorURL is URL for a user with the application's rights and SCAN.
func (s *Server) OperatorURL() string { return s.s.OperatorURL() }

// Name returns which server runs: "valkey", "redis" or "miniredis".
func (s *Server) Name() string { return s.s.Name() }

// Version returns the server's version, such as "7.0.15".
func (s *Server) Version() string { return s.s.Version() }

// Lacks returns, a sentence each, what the embedded server cannot do; nil for
// a real one.
func (s *Server) Lacks() []string { return s.s.Lacks() }

// Dir returns the directory with the server's log and data (dump.rdb).
func (s *Server) Dir() string { return s.s.Dir() }

// Log returns the end of the server's log.
func (s *Server) Log() string { return s.s.Log() }

// Monitor returns what MONITOR prints from now on: a line for every command that
// the server runs, with all it is sent. Close it; the server's end ends it too.
func (s *Server) Monitor(ctx context.Context) (io.ReadCloser, error) { return s.s.Monitor(ctx) }

// Stop ends the server in order; Restart starts it again.
func (s *Server) Stop() error { return s.s.Stop() }

// Kill ends the server as kill -9 does; Restart starts it again.
func (s *Server) Kill() error { return s.s.Kill() }

// Pause holds the server: connections stay open and nothing answers. The
// embedded server cannot be paused, which is an error.
func (s *Server) Pause() error { return s.s.Pause() }

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.s.Resume() }

// Restart stops the server where it runs, starts it again on the same address
// and returns once it answers. Without [WithPersistence] it starts empty.
func (s *Server) Restart(ctx context.Context) error { return s.s.Restart(ctx) }
