package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
)

// backend is what lives as long as the process. Close it.
type backend struct {
	rdb     redis.UniversalClient
	keyring *keys.Keyring
	cache   *securecache.Cache
	locks   *lock.Locker
}

func open(ctx context.Context, c config, log *slog.Logger) (_ *backend, err error) {
	b := new(backend)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	tls, err := hardening.OpenTLS(c.files, c.serverName, &hardening.TLSOptions{
		OnWarning: func(err error) { log.Warn("certificates", "error", err) },
	})
	if err != nil {
		return nil, err
	}
	b.keyring, err = keys.Open(ctx, c.namespace, c.store, c.wrapper, &keys.Options{
		OnError: func(err error) { log.Error("keyring not refreshed", "error", err) },
	})
	if err != nil {
		return nil, err
	}
	if b.rdb, err = securecache.Connect(c.url, tls.Config()); err != nil {
		return nil, err
	}
	if err := b.rdb.Ping(ctx).Err(); err != nil { // a wrong certificate or password shows here
		return nil, fmt.Errorf("connecting to Redis: %w", err)
	}
	b.cache, err = securecache.New(b.rdb, b.keyring, &securecache.Options{
		OnRefused: func(r securecache.Refusal) { log.Error("record refused", "key", r.Key, "error", r.Err) },
	})
	if err != nil {
		return nil, err
	}
	if err := awaitReplicas(ctx, b.rdb, b.cache, c.replicas); err != nil {
		return nil, err
	}
	b.locks, err = lock.New(b.cache, nil)
	return b, err
}

// Close goes from the inside out, as far as open has come.
func (b *backend) Close() (err error) {
	if b.locks != nil {
		err = b.locks.Close()
	}
	if b.cache != nil {
		err = errors.Join(err, b.cache.Close())
	}
	if b.rdb != nil {
		_ = b.rdb.Close() // what it says is of connections that had died already
	}
	if b.keyring != nil {
		err = errors.Join(err, b.keyring.Close())
	}
	return err
}
