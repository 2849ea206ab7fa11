package securecachetest

import (
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
)

// Option changes what [Start], [StartCluster] and [StartSentinel] do.
type Option func(*settings)

type settings struct {
	server server.Options
	layout keys.Layout
}

func newSettings(opts []Option) settings {
	s := settings{server: server.Options{Namespace: "test"}}
	for _, o := range opts {
		o(&s)
	}
	s.server.Prefix = s.layout.Prefix
	return s
}

// WithServer chooses the server: valkey-server, redis-server, a path, or
// embedded. Without it the environment chooses, then what is installed.
func WithServer(name string) Option { return func(s *settings) { s.server.Binary = name } }

// Embedded chooses the in-process server, which needs no program and lacks
// what [Server.Lacks] says.
func Embedded() Option { return WithServer(server.Embedded) }

// WithNamespace sets the namespace of the keyring and of the application's
// user; it is "test" otherwise.
func WithNamespace(namespace string) Option {
	return func(s *settings) { s.server.Namespace = namespace }
}

// WithLayout sets the layout of the keyring, whose prefix is the application
// user's too.
func WithLayout(l keys.Layout) Option { return func(s *settings) { s.layout = l } }

// WithPersistence makes data outlive Stop, Kill and Restart: the server writes
// every change to disk before it acknowledges it.
func WithPersistence() Option { return func(s *settings) { s.server.Persist = true } }

// WithCommands grants the application's user further commands, for scripts of
// the test's own; see hardening.Profile.
func WithCommands(commands ...string) Option {
	return func(s *settings) { s.server.Commands = append(s.server.Commands, commands...) }
}

// WithConfig adds lines to the server's configuration file, such as
// "maxmemory 64mb".
func WithConfig(lines ...string) Option {
	return func(s *settings) { s.server.Config = append(s.server.Config, lines...) }
}
