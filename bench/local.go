package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
)

const (
	sealSize = 1 << 10
	// Of plain AES-256-GCM's time, and of a name's.
	sealTarget  = 1.4
	blindTarget = 400 // ns
)

// codec measures sealing and opening against the cipher alone: AES-256-GCM
// with a random nonce, into a buffer with room, without associated data.
func (b *bench) codec(ctx context.Context) error {
	plain, err := newPlain()
	if err != nil {
		return err
	}
	sealed, err := b.newSealed()
	if err != nil {
		return err
	}
	for _, pair := range []struct {
		what        string
		base, other func() error
	}{
		{"Seal 1 KiB", plain.seal, sealed.seal},
		{"Open 1 KiB", plain.open, sealed.open},
	} {
		if err := b.local(ctx, pair.what, pair.base, pair.other); err != nil {
			return err
		}
	}
	return nil
}

// local compares two functions of the processor alone.
func (b *bench) local(ctx context.Context, what string, base, other func() error) error {
	const baseName, name = "crypto/cipher GCM", "securecache codec"
	if !b.wants(what, name) {
		return nil
	}
	b.say("%s", what)
	alone, results, err := compare(ctx, b.settings.parted(20), single(base), []workload{single(other)})
	if err != nil {
		return err
	}
	r := results[0]
	times := r.ratio.inverse()
	b.rows = append(b.rows,
		row{what: what, who: baseName, figure: "1× the time", cost: &alone.cost},
		row{what: what, who: name, figure: times.String() + " the time", cost: &r.cost,
			targets: []target{atMost(times.median, sealTarget, "×"), noAllocs(r.cost)}})
	return nil
}

func single(f func() error) workload {
	return workload{1, func(int, int) error { return f() }, 0}
}

// plainGCM is the cipher alone.
type plainGCM struct {
	aead                 cipher.AEAD
	plain, sealed, space []byte
}

func newPlain() (*plainGCM, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	p := &plainGCM{aead: aead, plain: make([]byte, sealSize), space: make([]byte, 0, 2*sealSize)}
	_, _ = rand.Read(p.plain)
	p.sealed = aead.Seal(nil, nil, p.plain, nil)
	return p, nil
}

func (p *plainGCM) seal() error {
	p.aead.Seal(p.space[:0], nil, p.plain, nil)
	return nil
}

func (p *plainGCM) open() error {
	_, err := p.aead.Open(p.space[:0], nil, p.sealed, nil)
	return err
}

// sealedRecord is the same through the codec.
type sealedRecord struct {
	codec                *codec.Codec
	binding              codec.Binding
	expires              time.Time
	plain, sealed, space []byte
}

func (b *bench) newSealed() (*sealedRecord, error) {
	c, err := codec.New(b.keyring, nil)
	if err != nil {
		return nil, err
	}
	r := &sealedRecord{
		codec:   c,
		binding: codec.Binding{Namespace: namespace, Kind: codec.KindValue, ID: "{0123456789012345678901}"},
		expires: time.Now().Add(ttl),
		plain:   make([]byte, sealSize), space: make([]byte, 0, 2*sealSize),
	}
	_, _ = rand.Read(r.plain)
	r.sealed, err = c.Seal(nil, r.binding, r.expires, r.plain)
	return r, err
}

func (r *sealedRecord) seal() error {
	_, err := r.codec.Seal(r.space[:0], r.binding, r.expires, r.plain)
	return err
}

func (r *sealedRecord) open() error {
	_, err := r.codec.Open(r.space[:0], r.binding, r.sealed)
	return err
}

// names measures the blinding of a name, alone and as a whole Redis key.
func (b *bench) names(ctx context.Context) error {
	ring, err := b.keyring.Ring()
	if err != nil {
		return err
	}
	cache, err := b.cache(nil)
	if err != nil {
		return err
	}
	name, blinds := nameOf("name", 1), ring.Names()
	for _, one := range []struct {
		what string
		op   func() error
	}{
		{"Blind a 40-byte name", func() error { blinds.Blind(byte(codec.KindValue), name); return nil }},
		{"Make the Redis key of a 40-byte name", func() error { return keyOf(cache, name) }},
	} {
		if err := b.timed(ctx, one.what, one.op); err != nil {
			return err
		}
	}
	return nil
}

func keyOf(cache *securecache.Cache, name string) error {
	_, err := cache.Key(codec.KindValue, name)
	return err
}

// timed measures a function that has nothing beside it.
func (b *bench) timed(ctx context.Context, what string, op func() error) error {
	const name = "securecache"
	if !b.wants(what, name) {
		return nil
	}
	b.say("%s", what)
	r, _, err := compare(ctx, b.settings.parted(20), single(op), nil)
	if err != nil {
		return err
	}
	took := float64(r.perOp.Nanoseconds())
	b.rows = append(b.rows, row{what: what, who: name, figure: shortTime(r.perOp), cost: &r.cost,
		targets: []target{atMost(took, blindTarget, " ns")}})
	return nil
}
