// Package vaulttest starts a real Vault for tests: a vault binary in its
// development mode, or the vaultdev that make vault builds. It speaks TLS on a
// loopback port, keeps everything in memory and ends with the test, also where
// that is killed.
package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// Variable names the environment variable with the path of the binary.
const Variable = "SECURECACHE_VAULT"

// Server is a running Vault, initialised and unsealed, with transit at transit,
// KV version 2 at kv, and the logins approle, cert and kubernetes at
// auth/<name>. It is safe for concurrent use.
type Server struct {
	// Version is Vault's.
	Version string
	// Address is https://127.0.0.1:<port>, CACert the file of its CA.
	Address, CACert string

	admin     func() *api.Client
	unsealKey func() string
	stop      func() error
}

// New starts a Vault of the test's own and stops it with the test. Without a
// binary in SECURECACHE_VAULT the test is skipped, saying so; a binary that
// does not start fails it.
func New(t testing.TB) *Server {
	t.Helper()
	binary := os.Getenv(Variable)
	if binary == "" {
		t.Skipf("needs a real Vault, and %s names no binary: make test-vault builds one and runs this", Variable)
	}
	s, err := Start(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start runs binary, a vault or a vaultdev. Ctx bounds the start alone.
func Start(ctx context.Context, binary string) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "vaulttest-")
	if err != nil {
		return nil, err
	}
	p, err := launch(ctx, binary, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("vaulttest: %s: %w", binary, err), os.RemoveAll(dir))
	}
	s, err := connect(p)
	if err == nil {
		s.stop = func() error { return errors.Join(p.stop(), os.RemoveAll(dir)) }
		err = s.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("vaulttest: %s: %w", binary, err), p.stop(), os.RemoveAll(dir))
	}
	return s, nil
}

// connect makes a client with the root token.
func connect(p *process) (*Server, error) {
	conf := api.DefaultConfig()
	if conf.Error != nil {
		return nil, conf.Error
	}
	conf.Address, conf.AgentAddress, conf.MaxRetries = p.Address, "", 0
	if err := conf.ConfigureTLS(&api.TLSConfig{CACert: p.CACert}); err != nil {
		return nil, err
	}
	c, err := api.NewClient(conf)
	if err != nil {
		return nil, err
	}
	c.ClearNamespace()
	c.SetToken(p.token)
	return &Server{
		Version: p.Version, Address: p.Address, CACert: p.CACert,
		admin: func() *api.Client { return c }, unsealKey: func() string { return p.unsealKey },
	}, nil
}

// prepare mounts what is not mounted yet, and waits for KV, which answers a
// while after its mount was made.
func (s *Server) prepare(ctx context.Context) error {
	sys := s.admin().Sys()
	mounts, err := sys.ListMountsWithContext(ctx)
	if err != nil {
		return err
	}
	for path, m := range map[string]*api.MountInput{
		"transit/": {Type: "transit"},
		"kv/":      {Type: "kv", Options: map[string]string{"version": "2"}},
	} {
		if mounts[path] == nil {
			if err := sys.MountWithContext(ctx, path, m); err != nil {
				return err
			}
		}
	}
	logins, err := sys.ListAuthWithContext(ctx)
	if err != nil {
		return err
	}
	for _, method := range []string{"approle", "cert", "kubernetes"} {
		if logins[method+"/"] == nil {
			if err := sys.EnableAuthWithOptionsWithContext(ctx, method, &api.EnableAuthOptions{Type: method}); err != nil {
				return err
			}
		}
	}
	return s.awaitKV(ctx, "kv")
}

// MountKV mounts a further KV version 2 engine, and returns once it answers.
func (s *Server) MountKV(ctx context.Context, path string) error {
	err := s.admin().Sys().MountWithContext(ctx, path, &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}})
	if err != nil {
		return err
	}
	return s.awaitKV(ctx, path)
}

func (s *Server) awaitKV(ctx context.Context, path string) error {
	return poll(ctx, func() error {
		_, err := s.admin().Logical().ReadWithContext(ctx, path+"/config")
		return err
	})
}

// poll calls f until it succeeds or ctx is done.
func poll(ctx context.Context, f func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w", err)
		case <-tick.C:
		}
	}
}

// Admin returns a client with the root token. It does not retry.
func (s *Server) Admin() *api.Client { return s.admin() }

// Write writes to a path with the root token and returns the answer's data, nil
// where there is none.
func (s *Server) Write(ctx context.Context, path string, data map[string]any) (map[string]any, error) {
	answer, err := s.admin().Logical().WriteWithContext(ctx, path, data)
	if err != nil || answer == nil {
		return nil, err
	}
	return answer.Data, nil
}

// Seal makes Vault forget its keys: every call is answered with 503 until
// Unseal.
func (s *Server) Seal(ctx context.Context) error { return s.admin().Sys().SealWithContext(ctx) }

// Unseal undoes Seal, and returns once Vault serves again.
func (s *Server) Unseal(ctx context.Context) error {
	status, err := s.admin().Sys().UnsealWithContext(ctx, s.unsealKey())
	if err != nil {
		return err
	}
	if status.Sealed {
		return errors.New("vaulttest: still sealed")
	}
	return poll(ctx, func() error {
		health, err := s.admin().Sys().HealthWithContext(ctx)
		if err == nil && (health.Sealed || health.Standby) {
			err = errors.New("sealed or standing by")
		}
		return err
	})
}

// Close ends the process and removes its directory.
func (s *Server) Close() error {
	if t, ok := s.admin().CloneConfig().HttpClient.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	return s.stop()
}
