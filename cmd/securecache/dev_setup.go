package main

import (
	"context"
	"crypto/fips140"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
)

// setup is a throw-away secure installation: a server under mutual TLS with a
// least-privileged user, and a keyring in a directory that the server does not
// know of.
type setup struct {
	server    *server.Server
	namespace string
	dir       string // of the keyring
}

// startSetup starts whichever server the environment chooses or the machine
// has, and creates a keyring for its namespace.
func startSetup(ctx context.Context, o server.Options, l keys.Layout) (*setup, error) {
	s, err := createKeyring(ctx, o.Namespace, l)
	if err != nil {
		return nil, err
	}
	o.Fallback = true
	if s.server, err = server.Start(ctx, o); err == nil && s.embedded() && fips140.Enforced() {
		err = errNoFIPS
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		err = &failure{code: exitError, err: err, next: installServer}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

const installServer = "install a server (" + server.Install + ") or choose another with " + server.Env

var errNoFIPS = &failure{code: exitError, next: installServer,
	err: errors.New("the embedded server computes SHA-1 for its scripts, which GODEBUG=fips140=only forbids")}

// createKeyring makes a setup that has no server yet.
func createKeyring(ctx context.Context, namespace string, l keys.Layout) (*setup, error) {
	dir, err := os.MkdirTemp("", "securecache-keyring-")
	if err != nil {
		return nil, err
	}
	s := &setup{namespace: namespace, dir: dir}
	err = keys.Create(ctx, namespace, keys.NewFile(s.keyringFile()), keys.InsecurePlain(), l)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *setup) keyringFile() string { return filepath.Join(s.dir, "keyring.json") }

// openKeyring opens the keyring as one more process would.
func (s *setup) openKeyring(ctx context.Context, o *keys.Options) (*keys.Keyring, error) {
	return keys.Open(ctx, s.namespace, keys.NewFile(s.keyringFile()), keys.InsecurePlain(), o)
}

// embedded reports whether the server runs within this process.
func (s *setup) embedded() bool { return s.server.Lacks() != nil }

// title says which server runs, for people.
func (s *setup) title() string {
	title := s.server.Name() + " " + s.server.Version()
	if s.embedded() {
		title += ", embedded in this process"
	}
	return title
}

// Close ends the server and removes every file.
func (s *setup) Close() error {
	err := os.RemoveAll(s.dir)
	if s.server != nil {
		err = errors.Join(s.server.Close(), err)
	}
	return err
}

// variable is one of the environment.
type variable struct{ name, value string }

// Beyond what other processes need: a login that may also SCAN, as reseal has
// to, and what to send SIGTERM to.
const (
	operatorVariable = "SECURECACHE_DEV_OPERATOR_URL"
	pidVariable      = "SECURECACHE_DEV_PID"
)

// environment is what another process needs to use the setup. It holds
// passwords.
func (s *setup) environment() []variable {
	host, _, _ := net.SplitHostPort(s.server.Addr())
	return []variable{
		{"REDIS_URL", s.server.URL()},
		{"SECURECACHE_TLS_CA", s.server.CAFile()},
		{"SECURECACHE_TLS_CERT", s.server.CertFile()},
		{"SECURECACHE_TLS_KEY", s.server.KeyFile()},
		{"SECURECACHE_TLS_SERVER_NAME", host},
		{"SECURECACHE_NAMESPACE", s.namespace},
		{"SECURECACHE_KEYRING", "file:" + s.keyringFile()},
		{"SECURECACHE_WRAP", "insecure-plain"},
		{operatorVariable, s.server.OperatorURL()},
		{pidVariable, strconv.Itoa(os.Getpid())},
	}
}
