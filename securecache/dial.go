package securecache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/keys"
)

// What a connection of Dial's is given where the URL does not say otherwise.
const (
	dialTimeout  = 5 * time.Second
	replyTimeout = 3 * time.Second
	// Under the idle timeouts that servers and load balancers commonly have: over
	// TLS the pool cannot see that the other side has hung up.
	maxIdle = 4 * time.Minute
	// How long a connection outlives what its certificates are worth: their end, a
	// replacement, a revocation.
	maxLife = 30 * time.Minute
)

// Dial connects to the server that rawURL names and returns a cache on it,
// which owns the connection. It tries the connection with a PING, so that a
// wrong certificate or password shows here; ctx bounds that alone.
//
// The URL is go-redis': rediss://user@host:6379/0?pool_size=20, a Unix socket
// as unix:///path. A cluster is told by cluster=true, with further seeds as
// addr=host:port; a Sentinel master by master_name=NAME, the host being a
// sentinel and further ones addr=host:port; the URL's login is the sentinels',
// and the master's too unless username=NAME and password=… name another. The
// password should come into the URL from a file or the environment.
//
// Only a Unix socket goes without TLS: a nil config, or a redis:// URL without
// one, is refused.
func Dial(ctx context.Context, rawURL string, config *tls.Config, k *keys.Keyring, o *Options) (*Cache, error) {
	rdb, err := Connect(rawURL, config)
	if err != nil {
		return nil, err
	}
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("securecache: connecting: %w", err), rdb.Close())
	}
	c, err := New(rdb, k, o)
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	c.owned = rdb
	return c, nil
}

// Connect returns the client that [Dial] would use, with its timeouts, for
// those who need it beside a cache. It does not connect yet.
func Connect(rawURL string, config *tls.Config) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil || odd(u) {
		return nil, errURL
	}
	if config == nil && u.Scheme != "unix" {
		return nil, errors.New("securecache: a TLS configuration is needed: give one, or a unix:// URL")
	}
	query := u.Query()
	cluster := query.Get("cluster") == "true"
	query.Del("cluster")
	u.RawQuery = query.Encode()
	switch {
	case cluster:
		return dialCluster(u.String(), config)
	case query.Has("master_name"):
		return dialFailover(u.String(), config)
	default:
		return dialOne(u.String(), config)
	}
}

func dialOne(rawURL string, config *tls.Config) (redis.UniversalClient, error) {
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, errURL
	}
	o.ContextTimeoutEnabled = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	timeouts(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.ConnMaxIdleTime, &o.ConnMaxLifetime)
	if o.Network != "unix" {
		o.TLSConfig = config
		o.Dialer = dialer(config, o.ConnMaxLifetime, o.ReadTimeout+o.WriteTimeout)
	}
	return redis.NewClient(o), nil
}

func dialCluster(rawURL string, config *tls.Config) (redis.UniversalClient, error) {
	o, err := redis.ParseClusterURL(rawURL)
	if err != nil {
		return nil, errURL
	}
	o.ContextTimeoutEnabled = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	timeouts(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.ConnMaxIdleTime, &o.ConnMaxLifetime)
	o.TLSConfig, o.Dialer = config, dialer(config, o.ConnMaxLifetime, o.ReadTimeout+o.WriteTimeout)
	return redis.NewClusterClient(o), nil
}

func dialFailover(rawURL string, config *tls.Config) (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(rawURL)
	if err != nil {
		return nil, errURL
	}
	o.ContextTimeoutEnabled = true
	if o.Username == "" && o.Password == "" {
		o.Username, o.Password = o.SentinelUsername, o.SentinelPassword
	}
	timeouts(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.ConnMaxIdleTime, &o.ConnMaxLifetime)
	o.TLSConfig, o.Dialer = config, dialer(config, o.ConnMaxLifetime, o.ReadTimeout+o.WriteTimeout)
	rdb := redis.NewFailoverClient(o)
	rdb.AddHook(finalRefusals{})
	return rdb, nil
}

// finalRefusals is for the dialer that a failover client makes of ours, which
// asks the sentinels first.
type finalRefusals struct{}

func (finalRefusals) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return handshake.Final(next(ctx, network, addr))
	}
}

func (finalRefusals) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (finalRefusals) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// dialer ends what the pool does not, which are subscriptions. The pool's own
// connections have the time of one command more than their life, in which it
// replaces them.
func dialer(config *tls.Config, life, command time.Duration) func(context.Context, string, string) (net.Conn, error) {
	if life <= 0 {
		return handshake.Dialer(config, 0)
	}
	return handshake.Dialer(config, life+max(command, dialTimeout))
}

// timeouts fills in what the URL left open.
func timeouts(dial, read, write, idle, life *time.Duration) {
	for d, preset := range map[*time.Duration]time.Duration{
		dial: dialTimeout, read: replyTimeout, write: replyTimeout, idle: maxIdle, life: maxLife,
	} {
		if *d == 0 {
			*d = preset
		}
	}
}

// errURL is all that is said of a URL: go-redis' own words quote the part that
// it does not like, which may be a password with an odd character in it.
var errURL = errors.New("securecache: the Redis URL does not parse: it reads rediss://USER:PASSWORD@HOST:PORT/0?OPTION=VALUE, with all but letters and digits of the password percent-encoded")

// odd reports what a URL holds when the password in it was not encoded.
func odd(u *url.URL) bool {
	return u.Opaque != "" || strings.ContainsRune(u.Path+u.RawQuery+u.Fragment, '@') || u.Fragment != ""
}
