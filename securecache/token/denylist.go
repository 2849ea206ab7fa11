package token

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// ErrNoLife says that Options.Life is needed to revoke by subject.
var ErrNoLife = errors.New("token: Options.Life, the longest life of a token, is needed to revoke by subject")

// ErrID says that an ID is empty or that a text is no JWT.
var ErrID = errors.New("token: no such token can be")

// Options tune a [Denylist]; nil and the zero value mean the defaults.
type Options struct {
	// Life is the longest that any token of the namespace lives. Every process
	// must give the same. A subject's cut-off is kept for that long; 0 means that
	// subjects are not revoked.
	Life time.Duration
	// FailOpen has a check that gets no answer say "not revoked".
	FailOpen bool
}

func (o *Options) orDefault() Options {
	if o == nil {
		return Options{}
	}
	return *o
}

func (o Options) validate() error {
	if o.Life < 0 {
		return errors.New("token: Options.Life is negative")
	}
	return nil
}

// ID names a token to the denylist. The zero ID names none. It does not print
// what it was made of.
type ID struct{ name func() string }

// Opaque names a token by its exact bytes. One that can be written in several
// ways, as a JWT can, slips through: see [JWT] and [JTI].
func Opaque(token string) ID { return newID(0x01, token) }

// JTI names a JWT by its jti claim (RFC 7519, 4.1.7).
func JTI(jti string) ID { return newID(0x02, jti) }

// JWT names a JWT without jti by its signing input, all before the last dot:
// the signature behind it can be written in several ways. The zero ID where the
// text has no dot.
func JWT(compact string) ID {
	dot := strings.LastIndexByte(compact, '.')
	if dot < 0 {
		return ID{}
	}
	return newID(0x04, compact[:dot])
}

func newID(form byte, text string) ID {
	if text == "" {
		return ID{}
	}
	return ID{func() string { return string(form) + text }}
}

func subjectID(subject string) ID { return newID(0x03, subject) }

// Denylist keeps what has been revoked until it would have ended by itself. It
// is safe for concurrent use.
type Denylist struct {
	cache   *securecache.Cache
	options Options
}

// NewDenylist returns the denylist of the cache's namespace. o may be nil.
func NewDenylist(c *securecache.Cache, o *Options) (*Denylist, error) {
	options := o.orDefault()
	if c == nil {
		return nil, errors.New("token: a cache is needed")
	}
	return &Denylist{c, options}, options.validate()
}

// Revoke has the token counted as revoked until the given time, at which it
// ends by itself; a time that has passed needs no entry and is no error. An
// earlier revocation that lasts longer stands. The error wraps [ErrID] for an ID
// that names nothing.
func (d *Denylist) Revoke(ctx context.Context, id ID, until time.Time) error {
	if !until.After(d.cache.Now()) {
		return nil
	}
	return d.store(ctx, id, until, nil)
}

// RevokeSubject has all tokens counted as revoked that were issued to subject
// before the given time, by their iat claim in whole seconds or finer. A later
// cut-off replaces an earlier one, never the other way round.
func (d *Denylist) RevokeSubject(ctx context.Context, subject string, before time.Time) error {
	if d.options.Life == 0 {
		return ErrNoLife
	}
	ends := before.Add(d.options.Life)
	if !ends.After(d.cache.Now()) {
		return nil // whatever was issued before then has ended
	}
	return d.store(ctx, subjectID(subject), ends, binary.BigEndian.AppendUint64(nil, uint64(before.UnixMilli())))
}

func (d *Denylist) store(ctx context.Context, id ID, until time.Time, content []byte) error {
	key, err := d.key(id)
	if err != nil {
		return err
	}
	record, err := d.cache.Seal(key, until, content)
	if err != nil {
		return err
	}
	ttl := max(until.Sub(d.cache.Now()).Milliseconds(), 1)
	reply, err := d.cache.Run(ctx, lua.Revoke, []securecache.Key{key}, record, ttl)
	if err == nil {
		_, err = reply.Int() // any: an earlier entry may last longer
	}
	return err
}

func (d *Denylist) key(id ID) (securecache.Key, error) {
	if id.name == nil {
		return securecache.Key{}, fmt.Errorf("%w: it is empty, or no JWT", ErrID)
	}
	return d.cache.Key(codec.KindDenylist, id.name())
}

// Token is what a check is about.
type Token struct {
	// ID names the token; the zero ID where only its subject is looked at.
	ID ID
	// Subject is whom the token was issued to, "" where that is not looked at.
	Subject string
	// Issued is when; the zero time counts as before every cut-off.
	Issued time.Time
}

// Revoked reports whether a token has been revoked, by itself or with all of
// its subject's, in one round trip (one a node on a cluster). The answer is to be
// acted on with an error too: it is then what Options.FailOpen says, but true
// where an entry is there and does not open.
func (d *Denylist) Revoked(ctx context.Context, t Token) (bool, error) {
	var room [2]securecache.Key
	var answers [2]securecache.Result
	keys := room[:0]
	for _, id := range [...]ID{t.ID, subjectID(t.Subject)} {
		if id.name == nil {
			continue
		}
		key, err := d.key(id)
		if err != nil {
			return !d.options.FailOpen, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return true, fmt.Errorf("%w: neither a token nor a subject is given", ErrID)
	}
	revoked, failed := false, error(nil)
	for i, r := range d.cache.Read(ctx, answers[:0], keys) {
		bySubject := t.Subject != "" && i == len(keys)-1
		one, err := d.verdict(r, bySubject, t.Issued)
		revoked = revoked || one
		if err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return revoked, failed
}

// verdict reads one entry.
func (d *Denylist) verdict(r securecache.Result, bySubject bool, issued time.Time) (bool, error) {
	switch {
	case r.Err != nil:
		return d.unread(r.Err)
	case !bySubject:
		return true, nil
	case len(r.Value) != 8:
		return true, errors.New("token: a subject's entry is of a form that this version does not know")
	default:
		before := time.UnixMilli(int64(binary.BigEndian.Uint64(r.Value)))
		return issued.Before(before), nil
	}
}

// unread is the verdict on an entry that was not read.
func (d *Denylist) unread(err error) (bool, error) {
	if errors.Is(err, securecache.ErrMiss) {
		return false, nil
	}
	_, refused := errors.AsType[*securecache.RefusedError](err)
	return refused || !d.options.FailOpen, err
}
