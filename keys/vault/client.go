package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
)

// DefaultTimeout bounds one call, with its retries and a new login where that
// is needed, unless [Config.Timeout] or VAULT_CLIENT_TIMEOUT say otherwise.
const DefaultTimeout = 10 * time.Second

// Config says where Vault is and how to log in. Every zero field is taken from
// the environment, as Vault's own command does: VAULT_ADDR or VAULT_AGENT_ADDR,
// VAULT_NAMESPACE, VAULT_CACERT, VAULT_CACERT_BYTES or VAULT_CAPATH,
// VAULT_CLIENT_CERT and VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME,
// VAULT_CLIENT_TIMEOUT, VAULT_MAX_RETRIES, VAULT_RATE_LIMIT, VAULT_PROXY_ADDR,
// VAULT_HEADERS. For logins see [FromEnvironment].
type Config struct {
	// Address is https://host:port, or unix:///path of a Vault agent's socket.
	Address string
	// Namespace is Vault Enterprise's; it has nothing to do with the keyring's.
	Namespace string
	// CACert is a file of PEM certificates that the server's must stem from.
	CACert string
	// ClientCert and ClientKey are PEM files, read anew at each handshake.
	ClientCert, ClientKey string
	// ServerName is the name expected in the server's certificate, where it is
	// not the address's.
	ServerName string
	// Login gets a token. Its zero value is what FromEnvironment finds.
	Login Login
	// Timeout bounds each call. A caller's earlier deadline goes first.
	Timeout time.Duration
	// Insecure permits what is refused otherwise, and for good reason: an
	// http:// address and VAULT_SKIP_VERIFY. It turns nothing off by itself.
	Insecure bool
	// OnError, unless nil, is told when renewing the token or logging in anew
	// fails in the background; it is tried again, at most a minute later. It is
	// called from one goroutine at a time and should return soon.
	OnError func(error)
}

// validate reports what can be said before anything is read or sent.
func (c *Config) validate() error {
	if c.Timeout < 0 {
		return errors.New("vault: the timeout is negative")
	}
	if (c.ClientCert == "") != (c.ClientKey == "") {
		return errors.New("vault: a client certificate and its key are given together")
	}
	skip := os.Getenv(api.EnvVaultSkipVerify)
	if off, err := strconv.ParseBool(skip); skip != "" && (off || err != nil) && !c.Insecure {
		return fmt.Errorf("%w: VAULT_SKIP_VERIFY is refused: without verification anyone in between reads the keys; unset it and name the server's CA in VAULT_CACERT", ErrInsecure)
	}
	return nil
}

// Client is a logged-in connection to Vault. It renews its token in the
// background until Close, and is safe for concurrent use. It shows its address
// under every fmt verb and in logs, and never a token.
type Client struct {
	// base has no token; each session is a clone with one. Both stand behind
	// closures because api.Client keeps its token, and its transport private
	// keys, in fields that fmt prints.
	base    func() *api.Client
	http    func() *http.Client
	address string
	login   Login
	timeout time.Duration
	onError func(error)

	session atomic.Pointer[session]
	// flight holds one value while somebody logs in.
	flight chan struct{}
	// denied is when a fresh token was last refused like the one before.
	denied atomic.Pointer[time.Time]
	// changed wakes the renewal when the session was replaced.
	changed chan struct{}

	closed context.Context
	close  context.CancelFunc
	done   sync.WaitGroup
}

// New logs in to Vault and keeps the token alive until Close. It fails where
// the configuration is wrong, Vault cannot be reached ([ErrUnavailable]), or
// the login is refused ([ErrDenied]). What [Config.Insecure] would permit is
// [ErrInsecure].
func New(ctx context.Context, cfg Config) (*Client, error) {
	return newClient(ctx, cfg, nil)
}

// newClient takes another transport than Vault's for tests.
func newClient(ctx context.Context, cfg Config, over http.RoundTripper) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	conf, err := configure(&cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Login.do == nil {
		if cfg.Login, err = FromEnvironment(); err != nil {
			return nil, err
		}
	}
	base, err := newBase(conf, cfg.Namespace)
	if err != nil {
		return nil, err
	}
	if over != nil {
		conf.HttpClient.Transport = over
	}
	c := &Client{
		base:    func() *api.Client { return base },
		http:    func() *http.Client { return conf.HttpClient },
		address: redacted(conf),
		login:   cfg.Login,
		timeout: cfg.Timeout,
		onError: cfg.OnError,
		flight:  make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
	}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// newBase returns Vault's client without a token.
func newBase(conf *api.Config, namespace string) (*api.Client, error) {
	base, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("vault: the environment's settings for Vault: %w", err)
	}
	base.ClearToken()
	if namespace != "" {
		base.SetNamespace(namespace)
	}
	// VAULT_WRAP_TTL would have every answer wrapped.
	base.SetWrappingLookupFunc(func(string, string) string { return "" })
	return base, nil
}

// start makes the first login and leaves the token to the background.
func (c *Client) start(ctx context.Context) error {
	ctx, cancel := c.within(ctx)
	defer cancel()
	c.closed, c.close = context.WithCancel(context.Background())
	if _, err := c.replace(ctx, nil); err != nil {
		c.close()
		c.http().CloseIdleConnections()
		return err
	}
	c.done.Go(c.keep)
	return nil
}

// configure turns cfg and the environment into the settings of Vault's client.
func configure(cfg *Config) (*api.Config, error) {
	conf := api.DefaultConfig()
	if conf.Error != nil {
		return nil, fmt.Errorf("vault: the environment's settings for Vault: %w", conf.Error)
	}
	if cfg.Address != "" {
		conf.Address, conf.AgentAddress = cfg.Address, ""
	}
	if err := checkAddress(dialled(conf), cfg.Insecure); err != nil {
		return nil, err
	}
	if err := conf.ConfigureTLS(&api.TLSConfig{CACert: cfg.CACert, TLSServerName: cfg.ServerName}); err != nil {
		return nil, fmt.Errorf("vault: the CA file: %w", err)
	}
	certFile, keyFile := cfg.ClientCert, cfg.ClientKey
	if certFile == "" {
		certFile, keyFile = os.Getenv(api.EnvVaultClientCert), os.Getenv(api.EnvVaultClientKey)
	}
	if certFile != "" {
		if err := reloadClientCert(conf, certFile, keyFile); err != nil {
			return nil, err
		}
	}
	bound(conf, cfg)
	return conf, nil
}

// bound settles the deadline, and bounds what may be tried before it.
func bound(conf *api.Config, cfg *Config) {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
		if os.Getenv(api.EnvVaultClientTimeout) != "" {
			cfg.Timeout = conf.Timeout
		}
	}
	// The deadline is ours: one for a call with all its retries.
	conf.Timeout = 0
	conf.MinRetryWait, conf.MaxRetryWait = 50*time.Millisecond, 250*time.Millisecond
	conf.MaxRetries = min(conf.MaxRetries, 5)
	conf.CheckRetry = checkRetry
}

// dialled is the address that Vault's client will use.
func dialled(conf *api.Config) string {
	if conf.AgentAddress != "" {
		return conf.AgentAddress
	}
	return conf.Address
}

// redacted is that address without a password.
func redacted(conf *api.Config) string {
	u, err := url.Parse(dialled(conf))
	if err != nil {
		return "an unreadable address"
	}
	return u.Redacted()
}

func checkAddress(address string, insecure bool) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("vault: the address is no URL; it looks like https://vault.example:8200")
	}
	switch {
	case u.Scheme == "https" && u.Host != "", u.Scheme == "unix":
		return nil
	case u.Scheme == "http" && insecure:
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("%w: an http:// address is refused: it would send tokens and keys in the clear; use https://, or a Vault agent's unix:// socket", ErrInsecure)
	default:
		return errors.New("vault: the address must begin with https:// or unix://")
	}
}

// reloadClientCert presents the pair that stands in the files at the time of
// each handshake: certificates for logins are short-lived.
func reloadClientCert(conf *api.Config, certFile, keyFile string) error {
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		return &pair, err
	}
	if _, err := load(); err != nil {
		return fmt.Errorf("vault: the client certificate: %w", err)
	}
	transport := conf.HttpClient.Transport.(*http.Transport)
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return load()
	}
	return nil
}

// Close stops the renewal and closes idle connections. The token is left to
// expire. Calls made afterwards fail; Close may be called again.
func (c *Client) Close() error {
	c.close()
	c.done.Wait()
	c.http().CloseIdleConnections()
	return nil
}

// String returns Vault's address.
func (c *Client) String() string { return "vault " + c.address }

// Format prints what String returns under every verb.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }
