package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// forgery is what an attacker makes of a record.
type forgery struct {
	what   string
	make   func(record []byte) []byte
	reason codec.Reason
}

// forgeries change the victim's record in place or put something else there.
func (d *demo) forgeries(alien []byte) []forgery {
	flip := func(at int) func([]byte) []byte {
		return func(record []byte) []byte {
			record[at] ^= 1
			return record
		}
	}
	return []forgery{
		{"flip one bit of the ciphertext", flip(codec.HeaderSize + 7), codec.ReasonAuthentication},
		{"flip one bit of the end time", flip(10), codec.ReasonAuthentication},
		{"cut the last byte off", func(r []byte) []byte { return r[:len(r)-1] }, codec.ReasonAuthentication},
		{"cut it in the middle of the header", func(r []byte) []byte { return r[:codec.HeaderSize/2] }, codec.ReasonLength},
		{"write plaintext in its place", func([]byte) []byte { return []byte(injected) }, codec.ReasonNotRecord},
		{"seal another value with a key of one's own", func([]byte) []byte { return alien }, codec.ReasonUnknownKey},
		{"the same, with the application's key id", func(r []byte) []byte {
			return slices.Concat(alien[:16], r[16:32], alien[32:])
		}, codec.ReasonAuthentication},
	}
}

// injected is what an attacker would like the application to read.
const injected = `{"user":"u-00666","name":"Mallory","roles":["root"]}`

// tamper changes what the server holds in every way that writing to it allows.
func (d *demo) tamper(ctx context.Context) error {
	d.out.section("Somebody on the server tampers with the first session")
	d.out.text("With every right there, but without a key of the application's.")
	d.checks("what is done to the record", "the application gets")
	victim, other := d.records[0], d.records[1]
	key, record, err := d.held(ctx, victim.name)
	if err != nil {
		return err
	}
	where, err := securecache.ParseKey(key)
	if err != nil {
		return err
	}
	alien, err := sealedElsewhere(ctx, where.Binding())
	if err != nil {
		return err
	}
	for _, f := range d.forgeries(alien) {
		if err := d.put(ctx, key, f.make(bytes.Clone(record))); err != nil {
			return err
		}
		_, err := d.app().Get(ctx, victim.name)
		d.expect(f.what, outcome(&codec.RefusedError{Reason: f.reason}), outcome(err))
	}
	if err := d.swap(ctx, victim, other, record); err != nil {
		return err
	}
	if err := d.put(ctx, key, record); err != nil {
		return err
	}
	d.expectValue(ctx, "put the record back as it was", victim)
	return nil
}

// swap exchanges two records, and leaves the second as it was.
func (d *demo) swap(ctx context.Context, victim, other demoRecord, record []byte) error {
	key, err := d.key(victim.name)
	if err != nil {
		return err
	}
	otherKey, otherRecord, err := d.held(ctx, other.name)
	if err != nil {
		return err
	}
	if err := errors.Join(d.put(ctx, key, otherRecord), d.put(ctx, otherKey, record)); err != nil {
		return err
	}
	refused := outcome(&codec.RefusedError{Reason: codec.ReasonAuthentication})
	_, err = d.app().Get(ctx, victim.name)
	d.expect("swap it with another session: this one", refused, outcome(err))
	_, err = d.app().Get(ctx, other.name)
	d.expect("swap it with another session: the other", refused, outcome(err))
	return d.put(ctx, otherKey, otherRecord)
}

// put writes to the server behind the application's back.
func (d *demo) put(ctx context.Context, key string, text []byte) error {
	return d.stage.admin.Set(ctx, key, text, redis.KeepTTL).Err()
}

// sealedElsewhere is the record of an attacker who has read FORMAT.md and knows
// where the record has to stand, but has no key of the application's.
func sealedElsewhere(ctx context.Context, where codec.Binding) (record []byte, err error) {
	s, err := createKeyring(ctx, where.Namespace, keys.Layout{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	k, err := s.openKeyring(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	c, err := codec.New(k, nil)
	if err != nil {
		return nil, err
	}
	return c.Seal(nil, where, time.Now().Add(time.Hour), []byte(injected))
}
