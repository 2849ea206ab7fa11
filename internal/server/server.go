package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options says what to start. The zero value starts whichever server is
// installed, without persistence, with users for the namespace "dev".
type Options struct {
	// Binary is a program's name or path, or [Embedded]. "" asks the
	// environment ([Env]), then takes valkey-server or redis-server, whichever
	// is on the PATH first in this order.
	Binary string
	// Fallback starts the embedded server where Binary and the environment
	// leave the choice open and no program is installed.
	Fallback bool
	// Prefix and Namespace bound what the application's user may touch; ""
	// means "sc" and "dev".
	Prefix, Namespace string
	// NoScriptLoad and Commands are those of hardening.Profile.
	NoScriptLoad bool
	Commands     []string
	// Persist writes every change to disk before it is acknowledged, so that
	// data outlive Kill and Stop until Close.
	Persist bool
	// Config holds further lines of the server's configuration file, such as
	// "maxmemory 64mb". They stand last and win. The embedded server has none.
	Config []string
}

// Server is a running server. Its methods may be called concurrently. Close it.
type Server struct {
	estate        *estate
	dir           string
	name, version string
	lacks         []string

	mu      sync.Mutex
	backend backend
	closed  bool
}

// backend is what runs: a child process or a server within this one.
type backend interface {
	addr() string
	run(ctx context.Context) error // starts on the same address and waits until ready
	alive() bool
	stop()
	kill()
	signal(syscall.Signal) error
}

// ErrLacking is returned for what the embedded server cannot do.
var ErrLacking = errors.New("server: the embedded server cannot do that; it needs redis-server or valkey-server")

// startTimeout bounds a start whose context has no earlier end: a loaded
// machine with the race detector on takes seconds.
const startTimeout = 20 * time.Second

// Start starts a server and returns once it answers. ctx bounds the start
// alone, which never takes longer than 20 seconds. Errors carry the end of the
// server's log.
func Start(ctx context.Context, o Options) (*Server, error) {
	estate, err := newEstate(o)
	if err != nil {
		return nil, err
	}
	binary := choice(o.Binary)
	if binary == Embedded {
		return startEmbedded(estate)
	}
	program, err := find(ctx, binary)
	if errors.Is(err, ErrNotInstalled) && o.Fallback {
		return startEmbedded(estate)
	}
	if err != nil {
		return nil, err
	}
	return estate.start(ctx, program, alone, nil)
}

// start starts one server of the estate in a directory of its own.
func (e *estate) start(ctx context.Context, p program, r role, config []string) (*Server, error) {
	dir, err := os.MkdirTemp("", "securecache-")
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{estate: e, dir: dir, name: p.name, version: p.version}
	proc := &process{dir: dir, program: p, role: r, estate: e, config: slices.Concat(config, e.options.Config)}
	s.backend = proc
	if err := e.write(dir, p.version, r); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := proc.launch(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Addr returns host and port, the same for the server's whole life.
func (s *Server) Addr() string { return s.backend.addr() }

// Name returns which server runs: "valkey", "redis" or "miniredis".
func (s *Server) Name() string { return s.name }

// Version returns the server's version, such as "7.0.15".
func (s *Server) Version() string { return s.version }

// Lacks returns, a sentence each, what this server cannot do that a real one
// can. It is nil for a real one.
func (s *Server) Lacks() []string { return slices.Clone(s.lacks) }

// Dir returns the directory, of mode 0700, with the server's certificates, log
// and data (dump.rdb, appendonlydir). Close removes it.
func (s *Server) Dir() string { return s.dir }

// Log returns the end of the server's log. The embedded server has none.
func (s *Server) Log() string { return tail(filepath.Join(s.dir, logFile)) }

// CAFile returns the path of the authority's certificate, in PEM, as CertFile
// and KeyFile do those of the client's. Close removes them.
func (s *Server) CAFile() string { return filepath.Join(s.dir, caFile) }

// CertFile returns the path of the client's certificate; see CAFile.
func (s *Server) CertFile() string { return filepath.Join(s.dir, clientCertFile) }

// KeyFile returns the path of the client's private key, of mode 0600; see CAFile.
func (s *Server) KeyFile() string { return filepath.Join(s.dir, clientKeyFile) }

// TLS returns a client configuration of the caller's own.
func (s *Server) TLS() *tls.Config { return s.estate.client.Clone() }

// URL returns a rediss URL that logs in as the application's user. It holds the
// password.
func (s *Server) URL() string { return s.url(s.estate.app) }

// OperatorURL is URL for the operator: the application's rights and SCAN.
func (s *Server) OperatorURL() string { return s.url(s.estate.operator) }

func (s *Server) url(u user) string { return urlOf(u, []*Server{s}, nil) }

// urlOf returns a URL of the first server, with the others as parameters.
func urlOf(u user, servers []*Server, query url.Values) string {
	link := url.URL{Scheme: "rediss", User: url.UserPassword(u.name, u.password), Host: servers[0].Addr()}
	for _, s := range servers[1:] {
		query.Add("addr", s.Addr())
	}
	link.RawQuery = query.Encode()
	return link.String()
}

// Options returns the options of a client that logs in as the application's
// user, with deadlines kept and sane timeouts. Each call makes new ones.
func (s *Server) Options() *redis.Options { return s.options(s.estate.app) }

// OperatorOptions is Options for the operator: the application's rights and SCAN.
func (s *Server) OperatorOptions() *redis.Options { return s.options(s.estate.operator) }

// AdminOptions is Options for a user that may do everything.
func (s *Server) AdminOptions() *redis.Options { return s.options(s.estate.admin) }

func (s *Server) options(u user) *redis.Options {
	return &redis.Options{
		Addr:                     s.Addr(),
		Username:                 u.name,
		Password:                 u.password,
		TLSConfig:                s.TLS(),
		ContextTimeoutEnabled:    true,
		DialTimeout:              dialTimeout,
		ReadTimeout:              ioTimeout,
		WriteTimeout:             ioTimeout,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

const (
	dialTimeout = 5 * time.Second
	ioTimeout   = 3 * time.Second
)

// Stop asks the server to end, waits for it, and kills it after 5 seconds.
// Stopping a server that does not run is no error.
func (s *Server) Stop() error { return s.end(backend.stop) }

// Kill ends the server at once, as kill -9 does. Killing a server that does not
// run is no error.
func (s *Server) Kill() error { return s.end(backend.kill) }

func (s *Server) end(how func(backend)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backend.alive() {
		how(s.backend)
	}
	return nil
}

// Pause stops the server in mid-air with SIGSTOP: connections stay open and
// nothing answers, until Resume, Restart, Stop, Kill or Close.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.backend.alive() {
		return errNotRunning
	}
	return s.backend.signal(sig)
}

// Restart stops the server where it runs and starts it again on the same
// address and directory, and returns once it answers. What was not persisted is
// gone.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("server: closed")
	}
	if s.backend.alive() {
		s.backend.stop()
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return s.backend.run(ctx)
}

// Close ends the server and removes its directory. It may be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.backend.alive() {
		s.backend.kill()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}
