package server

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/alicebob/miniredis/v2"
)

// miniVersion is the release that go.mod names.
const miniVersion = "2.40"

// lacking is what an honest message about the embedded server says.
var lacking = []string{
	"no ACL: every login may do everything, so least privilege is not shown",
	"no CONFIG, MONITOR, CLIENT TRACKING or keyspace events",
	"no cluster and no Sentinel",
	"no persistence: data end with the process",
	"no pause: it runs within this process",
	"scripts run in another Lua, which may read the host's files: loopback and development only",
	"SCRIPT LOAD does not run under GODEBUG=fips140=only",
	"slow beyond some thousand keys with a TTL",
}

// MayFallBack reports whether a test may run on the embedded server where none
// is installed and none is asked for: everywhere but in CI, where that is a
// failure, and in FIPS 140-only mode, where the embedded server runs no scripts.
func MayFallBack() bool { return os.Getenv("CI") != "true" && !fips140.Enforced() }

// Notice returns a sentence about an embedded server for a test's log; "" for a
// real one.
func (s *Server) Notice() string {
	if s.lacks == nil {
		return ""
	}
	return "this runs on the embedded server (" + s.name + " " + s.version + "): " + strings.Join(s.lacks, "; ")
}

// mini is the backend within this process.
type mini struct {
	server  *miniredis.Miniredis // nil while stopped
	config  *tls.Config
	users   []user
	address string
}

// startEmbedded starts the fallback on a free port of the loopback interface.
func startEmbedded(e *estate) (*Server, error) {
	dir, err := os.MkdirTemp("", "securecache-")
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	m, err := newMini(e)
	if err != nil {
		return nil, err
	}
	s := &Server{estate: e, dir: dir, name: "miniredis", version: miniVersion, lacks: lacking, backend: m}
	if err = e.write(dir, "", alone); err == nil {
		err = m.launch()
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func newMini(e *estate) (*mini, error) {
	certificate, err := e.serverPair.TLS()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    e.ca.Pool(),
	}
	return &mini{config: config, users: []user{e.app, e.operator, e.admin}, address: "127.0.0.1:0"}, nil
}

func (m *mini) addr() string { return m.address }

func (m *mini) alive() bool { return m.server != nil }

// launch starts the server for the first time and learns its port.
func (m *mini) launch() error {
	if err := m.run(context.Background()); err != nil {
		return err
	}
	m.address = m.server.Addr()
	return nil
}

// run starts a new, empty server, as one without persistence does.
func (m *mini) run(context.Context) error {
	server := miniredis.NewMiniRedis()
	for _, u := range m.users {
		server.RequireUserAuth(u.name, u.password)
	}
	server.ClockTTL(true)
	if err := server.StartAddrTLS(m.address, m.config); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	m.server = server
	return nil
}

func (m *mini) stop() { m.kill() }

func (m *mini) kill() {
	m.server.Close()
	m.server = nil
}

func (m *mini) signal(syscall.Signal) error { return ErrLacking }
