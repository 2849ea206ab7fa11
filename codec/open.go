package codec

import (
	"crypto/fips140"
	"slices"
	"time"

	"github.com/securecache/securecache-go/keys"
)

// Open appends to dst the content of the record at b and returns the extended
// slice. It authenticates before it looks at anything but the header's form:
// a flipped bit in the expiry is a refusal, not a miss.
//
// With room in dst for len(record) − Overhead bytes, or for the content where
// that was compressed, nothing is allocated. record and dst's spare capacity
// may overlap, in which case record is overwritten. Nothing that Open returns
// shares memory with anything but dst.
//
// Errors: the source's, ErrNamespace, ErrKind, ErrExpired, and [*RefusedError]
// for all else. No plaintext is left in dst then.
func (c *Codec) Open(dst []byte, b Binding, record []byte) ([]byte, error) {
	ring, err := c.ring(&b)
	if err != nil {
		return nil, err
	}
	if err := c.misformed(record); err != nil {
		return nil, err
	}
	rd, err := c.reader(ring, record)
	if err != nil {
		return nil, err
	}
	s := borrow()
	*s.associate(&b) = [prefixSize]byte(record)
	if compressionOf(record[formAt]) != CompressionNone || collide(dst, record) {
		dst, err = c.openApart(s, dst, rd, b.Kind, record)
		s.release()
		return dst, err
	}
	dst = slices.Grow(dst, len(record)-Overhead)
	inner, err := rd.inside(s, dst[len(dst):], record, &c.clock)
	scratches.Put(s) // with nothing to clear
	if err != nil {
		return nil, err
	}
	c.keep(rd)
	body, err := c.body(b.Kind, record, inner)
	if err != nil {
		clear(inner)
		return nil, err
	}
	return dst[:len(dst)+len(body)], nil
}

// InPlace returns the empty dst that has Open decrypt a record where it stands.
// Whatever Open returns, nothing but the header's times, form and key id is left
// of the record then: take an [ETag] before.
func InPlace(record []byte) []byte {
	at := min(prefixSize, len(record))
	return record[at:at:len(record)]
}

// inPlace reports whether free begins with the record's nonce, which is where the
// ciphers may write over what they read.
func inPlace(free, record []byte) bool {
	return len(free) >= len(record)-prefixSize && &free[0] == &record[prefixSize]
}

// collide reports whether a record cannot be decrypted into dst's spare capacity
// because it stands there.
func collide(dst, record []byte) bool {
	free := dst[len(dst):cap(dst)]
	return overlap(free, record) && !inPlace(free, record)
}

// openApart opens by way of scratch, for where a record cannot be decrypted
// straight into dst.
func (c *Codec) openApart(s *scratch, dst []byte, rd *reader, k Kind, record []byte) ([]byte, error) {
	body, err := c.verify(s, rd, k, record)
	if err != nil {
		return nil, err
	}
	return c.expand(dst, record, body)
}

// verify puts what a record holds into s.inner and returns as much of it as is
// not padding.
func (c *Codec) verify(s *scratch, rd *reader, k Kind, record []byte) (body []byte, err error) {
	if s.inner, err = rd.inside(s, s.inner[:0], record, &c.clock); err != nil {
		return nil, err
	}
	c.keep(rd)
	return c.body(k, record, s.inner)
}

// misformed makes the checks that need no key.
func (c *Codec) misformed(record []byte) error {
	if reason := misform(record); reason != 0 {
		return &RefusedError{Reason: reason}
	}
	if suiteOf(record[formAt]) == ChaCha20Poly1305 && fips140.Enforced() {
		return refuse(record, ReasonFIPS)
	}
	return nil
}

// refuse refuses what has the form of a record.
func refuse(record []byte, r Reason) error {
	return &RefusedError{Reason: r, KeyID: keys.ID(record[keyAt:saltAt])}
}

// inside appends what a record holds, once it has authenticated with the
// associated data in s and its times hold; otherwise it leaves nothing behind.
func (r *reader) inside(s *scratch, dst, record []byte, c *clock) ([]byte, error) {
	out, err := r.subkey().Open(dst, nil, record[prefixSize:], s.associated)
	if err != nil {
		return dst, refuse(record, ReasonAuthentication)
	}
	written, expires := millis(record[writtenAt:]), millis(record[expiresAt:])
	if expires <= r.expires && written <= r.written && c.before(expires) {
		return out, nil
	}
	if err := r.untimely(record, written, expires); err != nil {
		clear(out[len(dst):])
		return dst, err
	}
	return out, nil
}

// reader returns the sub-key that a record names: the cached one, where the
// ring is the one that had its key, or a new one.
func (c *Codec) reader(ring *keys.Ring, record []byte) (*reader, error) {
	suite, keySalt := suiteOf(record[formAt]), (*[prefixSize - keyAt]byte)(record[keyAt:])
	rd := c.readers.find(suite, keySalt)
	if rd != nil && rd.revision == ring.Revision() {
		return rd, nil
	}
	key := ring.Key(keys.ID(record[keyAt:saltAt]))
	if key == nil {
		if ring.Destroyed(keys.ID(record[keyAt:saltAt])) {
			return nil, refuse(record, ReasonDestroyedKey)
		}
		return nil, refuse(record, ReasonUnknownKey)
	}
	next := &reader{suite: suite, keySalt: *keySalt, revision: ring.Revision(), bounds: boundsOf(key, ring.Layout().MaxLife)}
	if rd != nil {
		next.subkey, next.kept = rd.subkey, true
		c.readers.replace(rd, next)
		return next, nil
	}
	var err error
	next.subkey, err = derive(key, ring.Namespace(), suite, record[saltAt:prefixSize])
	return next, err
}

// keep caches a sub-key under which a record has authenticated, unless it is
// cached already.
func (c *Codec) keep(rd *reader) {
	if !rd.kept {
		c.remember(*rd)
	}
}

func (c *Codec) remember(rd reader) {
	rd.kept = true
	undo := c.readers.keep(&rd)
	if c.revision.Load() != rd.revision {
		undo() // a newer ring may have dropped the key meanwhile
	}
}

// bounds are what a record's times must keep to under a key, in Unix
// milliseconds.
type bounds struct {
	written, expires int64 // no later than these
	finite           bool  // the record must expire
	retired          bool
}

func boundsOf(key *keys.Key, maxLife time.Duration) bounds {
	b := bounds{written: maxMillis, expires: maxMillis, finite: maxLife != 0}
	if retired := key.Retired(); !retired.IsZero() {
		b.retired = true
		b.written = retired.Add(keys.ClockAllowance).UnixMilli()
		if b.finite {
			b.expires = retired.Add(maxLife).UnixMilli()
		}
	}
	return b
}

// untimely says what is wrong with an authenticated record's times, if anything
// is.
func (b *bounds) untimely(record []byte, written, expires int64) error {
	endless := expires == 0
	switch {
	case written > b.written || expires > b.expires || b.retired && b.finite && endless:
		return refuse(record, ReasonRetiredKey)
	case b.finite && endless:
		return refuse(record, ReasonExpiry)
	case !endless:
		return ErrExpired
	}
	return nil
}

// body returns what an authenticated record holds without its padding, and checks
// its form against its kind's.
func (c *Codec) body(k Kind, record, inner []byte) ([]byte, error) {
	if record[formAt]&^suiteBits == 0 && !k.padded() && len(inner) <= c.options.MaxValue {
		return inner, nil
	}
	return c.unwrap(k, record, inner)
}

// unwrap is body for what is compressed, padded or refused.
func (c *Codec) unwrap(k Kind, record, inner []byte) ([]byte, error) {
	how, padded := compressionOf(record[formAt]), record[formAt]&paddedBit != 0
	if how != CompressionNone && !k.compressible() || k.padded() && !padded {
		return nil, refuse(record, ReasonContent)
	}
	if padded {
		var ok bool
		if inner, ok = unpad(inner); !ok {
			return nil, refuse(record, ReasonContent)
		}
	}
	if how == CompressionNone && len(inner) > c.options.MaxValue {
		return nil, refuse(record, ReasonTooLarge)
	}
	return inner, nil
}
