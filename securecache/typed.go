package securecache

import (
	"context"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/codec"
)

// Typed is a cache of values of one type. It is safe for concurrent use as far
// as its marshaler is.
type Typed[T any] struct {
	cache *Cache
	m     codec.Marshaler[T]
}

// For returns c as a cache of T, written with m: [codec.JSON], [codec.CBOR] or
// one's own.
func For[T any](c *Cache, m codec.Marshaler[T]) *Typed[T] { return &Typed[T]{c, m} }

// Get is [Cache.Get].
func (t *Typed[T]) Get(ctx context.Context, name string) (T, error) {
	return t.decode(t.cache.Get(ctx, name))
}

// Set is [Cache.Set].
func (t *Typed[T]) Set(ctx context.Context, name string, value T, ttl time.Duration, options ...SetOption) error {
	b, err := t.encode(value)
	if err != nil {
		return err
	}
	return t.cache.Set(ctx, name, b, ttl, options...)
}

// Fetch is [Cache.Fetch].
func (t *Typed[T]) Fetch(ctx context.Context, name string, ttl time.Duration, load func(context.Context) (T, error), options ...SetOption) (T, error) {
	return t.decode(t.cache.Fetch(ctx, name, ttl, func(ctx context.Context) ([]byte, error) {
		value, err := load(ctx)
		if err != nil {
			return nil, err
		}
		return t.encode(value)
	}, options...))
}

// Replace reads the value under name, has change make its successor, and stores
// that for ttl if nothing has changed in between; see [Cache.Replace].
func (t *Typed[T]) Replace(ctx context.Context, name string, ttl time.Duration, change func(T) (T, error), options ...SetOption) error {
	item, err := t.cache.Item(ctx, name)
	if err != nil {
		return err
	}
	value, err := t.decode(item.Value, nil)
	if err != nil {
		return err
	}
	if value, err = change(value); err != nil {
		return err
	}
	b, err := t.encode(value)
	if err != nil {
		return err
	}
	return t.cache.Replace(ctx, name, item.ETag, b, ttl, options...)
}

func (t *Typed[T]) encode(value T) ([]byte, error) {
	b, err := t.m.Marshal(value)
	if err != nil {
		// What a marshaler says may quote the value.
		return nil, fmt.Errorf("securecache: a %T could not be marshaled", value)
	}
	return b, nil
}

func (t *Typed[T]) decode(b []byte, err error) (T, error) {
	var value T
	if err != nil {
		return value, err
	}
	if t.m.Unmarshal(b, &value) != nil {
		var zero T
		return zero, fmt.Errorf("securecache: the stored value is no %T", zero)
	}
	return value, nil
}
