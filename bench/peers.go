package main

import (
	"context"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"

	"github.com/fernet/fernet-go"
	"github.com/go-redis/cache/v9"
	"github.com/redis/rueidis"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/securecache/securecache-go/codec"
)

// rueidis batches concurrent callers by itself. Client-side caching is off:
// nobody else here has it.
func (b *bench) rueidis() (contender, error) {
	o := b.server.Options()
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{o.Addr}, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
		DisableCache: true, ForceSingleClient: true,
	})
	if err != nil {
		return contender{}, fmt.Errorf("rueidis: %w", err)
	}
	b.onClose(func() error { c.Close(); return nil })
	return contender{
		who: "rueidis, raw", tag: "rueidis",
		set: func(ctx context.Context, name string, value []byte) error {
			return c.Do(ctx, c.B().Set().Key(name).Value(rueidis.BinaryString(value)).Px(ttl).Build()).Error()
		},
		get: func(ctx context.Context, name string) ([]byte, error) {
			return c.Do(ctx, c.B().Get().Key(name).Build()).AsBytes()
		},
	}, nil
}

// tink is go-redis/cache with Tink's AEAD as its marshaler, which is how one
// would encrypt in it: it does not hand the key to the marshaler, so nothing
// binds a value to its name.
func (b *bench) tink() (contender, error) {
	const who = "go-redis/cache + tink AEAD"
	if fips140.Enforced() {
		return contender{who: who, absent: "Tink's AES-GCM does not exist in FIPS 140-only mode"}, nil
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return contender{}, err
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return contender{}, err
	}
	c := cache.New(&cache.Options{Redis: b.client(), Marshal: tinkMarshal(primitive), Unmarshal: tinkUnmarshal(primitive)})
	return contender{
		who: who, tag: "tink",
		set: func(ctx context.Context, name string, value []byte) error {
			return c.Set(&cache.Item{Ctx: ctx, Key: name, Value: value, TTL: ttl})
		},
		get: func(ctx context.Context, name string) (value []byte, err error) {
			err = c.Get(ctx, name, &value)
			return value, err
		},
	}, nil
}

func tinkMarshal(a tink.AEAD) cache.MarshalFunc {
	return func(v any) ([]byte, error) {
		value, ok := v.([]byte)
		if !ok {
			return nil, fmt.Errorf("tink: a %T is no value", v)
		}
		return a.Encrypt(value, nil)
	}
}

func tinkUnmarshal(a tink.AEAD) cache.UnmarshalFunc {
	return func(sealed []byte, v any) error {
		value, ok := v.(*[]byte)
		if !ok {
			return fmt.Errorf("tink: a %T is no value", v)
		}
		var err error
		*value, err = a.Decrypt(sealed, nil)
		return err
	}
}

// primitives is go-redis with what our format asks of the processor, an
// HMAC-SHA256 for the name and AES-256-GCM with a random nonce and as much
// associated data as a record has, and nothing else: one key, and no look at what
// a record says. Beyond raw it allocates the key's text.
func (b *bench) primitives() (contender, error) {
	plain, err := newPlain()
	if err != nil {
		return contender{}, err
	}
	rdb := b.client()
	works := sync.Pool{New: func() any { return &work{mac: hmac.New(sha256.New, make([]byte, sha256.Size))} }}
	return contender{
		who: "go-redis + HMAC and AES-GCM alone", tag: "primitives",
		set: func(ctx context.Context, name string, value []byte) error {
			w := works.Get().(*work)
			w.record = plain.aead.Seal(slices.Grow(w.record[:0], prefixSize)[:prefixSize], nil, value, w.associated[:])
			err := rdb.Set(ctx, w.key(name), w.record, ttl).Err()
			works.Put(w)
			return err
		},
		get: func(ctx context.Context, name string) ([]byte, error) {
			w := works.Get().(*work)
			defer works.Put(w)
			record, err := rdb.Get(ctx, w.key(name)).Bytes()
			if err != nil {
				return nil, err
			}
			return plain.aead.Open(record[prefixSize:prefixSize], nil, record[prefixSize:], w.associated[:])
		},
	}, nil
}

// work is the memory of one call.
type work struct {
	mac        hash.Hash
	in, record []byte
	associated [associatedSize]byte
}

func (w *work) key(name string) string {
	w.in = append(w.in[:0], name...)
	w.mac.Reset()
	w.mac.Write(w.in)
	w.in = w.mac.Sum(w.in[:0])
	var text [64]byte
	return string(append(base64.RawURLEncoding.AppendEncode(append(text[:0], blindHead...), w.in[:16]), '}'))
}

// What a record of a value has in the benchmark's namespace, by FORMAT.md.
const (
	blindHead      = "sc:" + namespace + ":v:{"
	prefixSize     = codec.HeaderSize - 12 // without the nonce
	associatedSize = len("securecache v1") + prefixSize + 1 + 4 + len(namespace) + 4 + len("{0123456789012345678901}") + 4
)

// fernet is a Fernet token stored with go-redis.
func (b *bench) fernet() (contender, error) {
	var key fernet.Key
	if err := key.Generate(); err != nil {
		return contender{}, err
	}
	rdb, keys := b.client(), []*fernet.Key{&key}
	return contender{
		who: "go-redis + fernet", tag: "fernet",
		set: func(ctx context.Context, name string, value []byte) error {
			token, err := fernet.EncryptAndSign(value, &key)
			if err != nil {
				return err
			}
			return rdb.Set(ctx, name, token, ttl).Err()
		},
		get: func(ctx context.Context, name string) ([]byte, error) {
			token, err := rdb.Get(ctx, name).Bytes()
			if err != nil {
				return nil, err
			}
			value := fernet.VerifyAndDecrypt(token, ttl, keys)
			if value == nil {
				return nil, errors.New("fernet: the token does not verify")
			}
			return value, nil
		},
	}, nil
}
