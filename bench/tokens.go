package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
)

const (
	tokenSize   = 84
	tokenTarget = 120 // bytes beyond the raw value
)

// tokens asks the server what a token costs it, sealed and raw.
func (b *bench) tokens(ctx context.Context) error {
	const what = "Memory of an 84-byte token"
	if !b.wants(what, "securecache") {
		return nil
	}
	admin := redis.NewClient(b.server.AdminOptions())
	b.onClose(admin.Close)
	name, token := nameOf("token", 1), valueOf(tokenSize)
	if err := admin.Set(ctx, name, token, ttl).Err(); err != nil {
		return err
	}
	raw, err := admin.MemoryUsage(ctx, name).Result()
	if err != nil {
		return fmt.Errorf("MEMORY USAGE: %w", err)
	}
	b.rows = append(b.rows, row{what: what, who: "go-redis, raw", figure: fmt.Sprintf("%d bytes under a 40-byte name", raw)})
	for _, one := range []struct {
		who string
		o   securecache.Options
	}{
		{"securecache", securecache.Options{}},
		{"securecache, padded", securecache.Options{Codec: codec.Options{Pad: true}}},
	} {
		sealed, err := b.footprint(ctx, admin, &one.o, name, token)
		if err != nil {
			return err
		}
		b.rows = append(b.rows, row{what: what, who: one.who,
			figure:  fmt.Sprintf("%d bytes, %+d", sealed, sealed-raw),
			targets: []target{atMost(float64(sealed-raw), tokenTarget, " bytes more")}})
	}
	return nil
}

// footprint stores a token through a cache and asks what it costs.
func (b *bench) footprint(ctx context.Context, admin *redis.Client, o *securecache.Options, name string, token []byte) (int64, error) {
	cache, err := b.cache(o)
	if err != nil {
		return 0, err
	}
	if err := cache.Set(ctx, name, token, ttl); err != nil {
		return 0, err
	}
	key, err := cache.Key(codec.KindValue, name)
	if err != nil {
		return 0, err
	}
	return admin.MemoryUsage(ctx, key.String()).Result()
}
