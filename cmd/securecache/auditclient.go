package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
	"github.com/securecache/securecache-go/securecache"
)

// auditClient returns a client that has not been tried: that is the audit's. It
// notes in o how the Sentinels are reached, where there are any.
func (a *app) auditClient(o *audit.Options) (rdb redis.UniversalClient, err error) {
	address, err := a.redisURL()
	if err != nil {
		return nil, err
	}
	var config *tls.Config
	connect := func() (redis.UniversalClient, error) { return plaintext(address) }
	if !strings.HasPrefix(address, "redis://") {
		if config, err = a.auditTLS(); err != nil {
			return nil, err
		}
		connect = func() (redis.UniversalClient, error) { return securecache.Connect(address, config) }
	}
	if rdb, err = connect(); err != nil {
		return nil, &failure{code: exitUsage, err: err, next: "give it as rediss://USER@HOST:PORT, redis://HOST:PORT or unix:///PATH"}
	}
	a.atExit(rdb.Close)
	// It parses: a client was made from it.
	if o.Sentinels, err = redis.ParseFailoverURL(address); err != nil || o.Sentinels.MasterName == "" {
		o.Sentinels = nil
		return rdb, nil
	}
	o.Sentinels.TLSConfig = config
	return rdb, nil
}

// plaintext returns a client as securecache.Connect does, without TLS. It is for
// the audit alone, since it is a finding.
func plaintext(address string) (redis.UniversalClient, error) {
	u, err := url.Parse(address)
	if err != nil { // which may quote the URL
		return nil, errPlainURL
	}
	query := u.Query()
	cluster := query.Get("cluster") == "true"
	query.Del("cluster")
	u.RawQuery = query.Encode()
	switch {
	case cluster:
		if o, err := redis.ParseClusterURL(u.String()); err == nil {
			return redis.NewClusterClient(o), nil
		}
	case query.Has("master_name"):
		if o, err := redis.ParseFailoverURL(u.String()); err == nil {
			if o.Username == "" && o.Password == "" {
				o.Username, o.Password = o.SentinelUsername, o.SentinelPassword
			}
			return redis.NewFailoverClient(o), nil
		}
	default:
		if o, err := redis.ParseURL(u.String()); err == nil {
			return redis.NewClient(o), nil
		}
	}
	return nil, errPlainURL
}

var errPlainURL = errors.New("the Redis URL does not parse")

// auditTLS is tls, but takes an authority alone: that a server lets clients in
// without a certificate is for the audit to find.
func (a *app) auditTLS() (*tls.Config, error) {
	if a.tlsCA == "" || a.tlsCert+a.tlsKey+a.tlsCRL != "" || strings.HasPrefix(a.redis, "unix:") {
		return a.tls()
	}
	text, err := os.ReadFile(a.tlsCA)
	if err != nil {
		return nil, fmt.Errorf("the file with the authority: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: a.serverName}
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, usage("the file with the authority holds no certificate; it must be PEM (BEGIN CERTIFICATE)")
	}
	return config, nil
}
