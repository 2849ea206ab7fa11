package main

import (
	"errors"
	"flag"
	"strings"
	"time"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache/limit"
)

// config is what flags and environment say. It holds a password, in url.
type config struct {
	url, namespace, serverName string
	files                      hardening.Files
	store                      keys.Store
	wrapper                    keys.Wrapper

	addr, cert, key, users, hash string
	replicas, nodes              int
	patience                     time.Duration // for what a request asks of Redis
	logins, addresses, requests  limit.Rate
}

func configure(args []string, getenv func(string) string) (config, error) {
	c := config{
		url: getenv("REDIS_URL"), namespace: getenv("SECURECACHE_NAMESPACE"),
		serverName: getenv("SECURECACHE_TLS_SERVER_NAME"),
		files: hardening.Files{
			CA: getenv("SECURECACHE_TLS_CA"), Cert: getenv("SECURECACHE_TLS_CERT"), Key: getenv("SECURECACHE_TLS_KEY"),
		},
	}
	f := flag.NewFlagSet("service", flag.ContinueOnError)
	f.StringVar(&c.addr, "addr", "", "where to serve, as :8443; without it, a tour of what is answered")
	f.StringVar(&c.cert, "cert", "", "the certificate to serve with, a PEM `file`")
	f.StringVar(&c.key, "key", "", "its private key, a PEM `file`")
	f.StringVar(&c.users, "users", "", "a `file` with a line for each user, as -hash prints them")
	f.StringVar(&c.hash, "hash", "", "read a password from standard input and print the line of this `user`")
	f.IntVar(&c.replicas, "replicas", 0, "how many replicas must have a logout before it is acknowledged")
	f.IntVar(&c.nodes, "nodes", 1, "how many processes share the limits while Redis is away")
	f.DurationVar(&c.patience, "patience", 5*time.Second, "how long Redis may take to serve a request")
	rate(f, &c.logins, "logins", "10/1m", "attempts to log in, of each user")
	rate(f, &c.addresses, "addresses", "300/1m", "requests without a user, of each address")
	rate(f, &c.requests, "requests", "50/1s", "requests of each user")
	if err := f.Parse(args); err != nil {
		return config{}, err
	}
	if c.addr != "" && (c.cert == "" || c.key == "" || c.users == "") {
		return config{}, errors.New("-addr needs -cert, -key and -users")
	}
	return c, c.keyring(getenv)
}

// keyring takes the one of `securecache dev`. In production this is where
// vault.KV and vault.Transit stand.
func (c *config) keyring(getenv func(string) string) error {
	if c.hash != "" {
		return nil
	}
	path, file := strings.CutPrefix(getenv("SECURECACHE_KEYRING"), "file:")
	if !file || getenv("SECURECACHE_WRAP") != "insecure-plain" {
		return errors.New("the environment names no keyring of `securecache dev`; run it as: securecache dev -- go run ./examples/service")
	}
	c.store, c.wrapper = keys.NewFile(path), keys.InsecurePlain()
	return nil
}

func rate(f *flag.FlagSet, to *limit.Rate, name, preset, usage string) {
	*to, _ = limit.ParseRate(preset)
	f.Func(name, usage+" (default "+preset+")", func(text string) (err error) {
		*to, err = limit.ParseRate(text)
		return err
	})
}
