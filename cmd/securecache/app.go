package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/securecache"
)

// app is one run of the command: its streams and its settings.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	redis, passwordFile            string
	tlsCA, tlsCert, tlsKey, tlsCRL string
	serverName                     string
	namespace, keyring, wrap, tag  string
	output                         format
	timeout                        time.Duration

	vaults  vaults
	running bool // a verb has begun: arguments and flags were understood
	closers []func() error
}

const (
	redisFlag = "redis"
	redisEnv  = "REDIS_URL"
)

// setting is a flag that the environment may stand in for.
type setting struct {
	flag, env, usage string
	value            *string
}

func (a *app) settings() []setting {
	return []setting{
		{redisFlag, redisEnv, "server, as rediss://USER@HOST:PORT or unix:///PATH; a password only in the environment", &a.redis},
		{"redis-password-file", "SECURECACHE_REDIS_PASSWORD_FILE", "file with the server's password", &a.passwordFile},
		{"tls-ca", "SECURECACHE_TLS_CA", "PEM file of the authority that signed the server's certificate", &a.tlsCA},
		{"tls-cert", "SECURECACHE_TLS_CERT", "PEM file of the client's certificate", &a.tlsCert},
		{"tls-key", "SECURECACHE_TLS_KEY", "PEM file of the client's private key", &a.tlsKey},
		{"tls-crl", "SECURECACHE_TLS_CRL", "PEM file of revocation lists that the server's certificate must not be on", &a.tlsCRL},
		{"tls-server-name", "SECURECACHE_TLS_SERVER_NAME", "name in the server's certificate, where it is not the host", &a.serverName},
		{"namespace", "SECURECACHE_NAMESPACE", "namespace, as its keyring was created for", &a.namespace},
		{"keyring", "SECURECACHE_KEYRING", "where the keyring is: file:PATH, vault-kv:MOUNT/PATH, or vault-kv:MOUNT//PATH where the mount has slashes", &a.keyring},
		{"wrap", "SECURECACHE_WRAP", "what wraps its keys: vault-transit:MOUNT/KEY, passphrase or insecure-plain", &a.wrap},
	}
}

func (a *app) addFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	for _, s := range a.settings() {
		flags.StringVar(s.value, s.flag, "", s.usage+" ("+s.env+")")
	}
	flags.StringVar(&a.tag, "tag", "", "tag of the name: names of a tag share a cluster slot")
	flags.VarP(&a.output, "output", "o", "table or json")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long to wait for each answer")
	complete := func(flag string, values ...string) {
		// It fails for a flag that does not exist only.
		_ = root.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	complete("output", string(tableFormat), string(jsonFormat))
	complete("wrap", "vault-transit:", wrapPassphrase, wrapPlain)
}

// settle takes from the environment what no flag gives.
func (a *app) settle(cmd *cobra.Command) error {
	for _, s := range a.settings() {
		if !cmd.Flags().Changed(s.flag) {
			*s.value = os.Getenv(s.env)
		} else if s.flag == redisFlag && holdsPassword(*s.value) {
			return &failure{code: exitUsage,
				err:  errors.New("--redis holds a password, which every user of this machine can read from the process list"),
				next: "change that password; then give the URL in " + redisEnv + ", or the password in --redis-password-file"}
		}
	}
	if a.timeout <= 0 {
		return usage("--timeout must be more than 0")
	}
	return nil
}

// holdsPassword reports whether a URL carries one, where URLs have it or in
// its query. It is strict with what does not parse.
func holdsPassword(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return strings.Contains(raw, "@")
	}
	if _, set := u.User.Password(); set {
		return true
	}
	for name := range u.Query() {
		if strings.Contains(strings.ToLower(name), "password") {
			return true
		}
	}
	return strings.Contains(u.Opaque, "@")
}

// redisURL returns the server's URL, password and all.
func (a *app) redisURL() (string, error) {
	if a.redis == "" {
		return "", &failure{code: exitUsage, err: errors.New("no server is given"),
			next: "set " + redisEnv + " or --redis, such as rediss://app@redis.example:6379; for a throw-away server: securecache dev"}
	}
	if a.passwordFile == "" {
		return a.redis, nil
	}
	u, err := url.Parse(a.redis)
	if err != nil { // which would quote the URL
		return "", usage("the Redis URL does not parse")
	}
	password, err := readSecret(a.passwordFile)
	if err != nil {
		return "", fmt.Errorf("the file with the Redis password: %w", err)
	}
	u.User = url.UserPassword(u.User.Username(), string(password))
	return u.String(), nil
}

// tls returns the client's configuration, nil for a Unix socket.
func (a *app) tls() (*tls.Config, error) {
	if strings.HasPrefix(a.redis, "unix:") {
		return nil, nil
	}
	if a.tlsCA == "" || a.tlsCert == "" || a.tlsKey == "" {
		return nil, &failure{code: exitUsage, err: errors.New("mutual TLS needs an authority, a certificate and its key"),
			next: "set SECURECACHE_TLS_CA, SECURECACHE_TLS_CERT and SECURECACHE_TLS_KEY, or --tls-ca, --tls-cert and --tls-key"}
	}
	return hardening.ClientTLS(hardening.Files{CA: a.tlsCA, Cert: a.tlsCert, Key: a.tlsKey, CRL: a.tlsCRL}, a.serverName)
}

// within bounds one answer by --timeout.
func (a *app) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

// connect returns a client that has answered, without a keyring.
func (a *app) connect(ctx context.Context) (redis.UniversalClient, error) {
	address, err := a.redisURL()
	if err != nil {
		return nil, err
	}
	config, err := a.tls()
	if err != nil {
		return nil, err
	}
	rdb, err := securecache.Connect(address, config)
	if err != nil {
		return nil, &failure{code: exitUsage, err: err, next: "give it as rediss://USER@HOST:PORT, or unix:///PATH"}
	}
	a.atExit(rdb.Close)
	ctx, cancel := a.within(ctx)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("the server at %s: %w", place(a.redis), err)
	}
	return rdb, nil
}

// place is a URL's host or path, for messages.
func place(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "the given address"
	case u.Host == "":
		return u.Path
	default:
		return u.Host
	}
}

// cache returns a cache on the server, with the namespace's keyring.
func (a *app) cache(ctx context.Context, o *securecache.Options) (*securecache.Cache, error) {
	ring, err := a.openKeyring(ctx)
	if err != nil {
		return nil, err
	}
	rdb, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	if now, err := ring.Ring(); err == nil && o != nil && o.AllowNoTTL && now.Layout().MaxLife > 0 {
		return nil, &failure{code: exitUsage, err: errors.New("the records of this namespace have to expire"),
			next: "give a TTL; only keys create --max-life never makes a namespace that does without"}
	}
	c, err := securecache.New(rdb, ring, o)
	if err != nil {
		return nil, err
	}
	a.atExit(c.Close)
	return c.Tagged(a.tag), nil
}

// withCache has do work on the cache under --timeout.
func (a *app) withCache(cmd *cobra.Command, o *securecache.Options, do func(context.Context, *securecache.Cache) error) error {
	c, err := a.cache(cmd.Context(), o)
	if err != nil {
		return err
	}
	ctx, cancel := a.within(cmd.Context())
	defer cancel()
	return do(ctx, c)
}

// atExit has stop called when the verb has ended, the last one first.
func (a *app) atExit(stop func() error) { a.closers = append(a.closers, stop) }

func (a *app) close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}
