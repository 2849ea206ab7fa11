package codec

import (
	"errors"
	"slices"
	"time"
)

// Seal appends to dst the record that holds plaintext at b until expires, and
// returns the extended slice. Times are truncated to milliseconds. The zero
// expires means that the record does not expire, which only a namespace whose
// max_life is 0 allows. plaintext may be empty.
//
// With room in dst nothing is allocated; a record takes Overhead bytes more
// than its content, and padding up to 12 % or 64 bytes on top. plaintext may
// overlap dst's spare capacity, in which case it is overwritten; it must not
// be modified during the call.
//
// Errors: the source's, ErrNamespace, ErrKind, ErrLifetime, ErrTooLarge, and
// plain ones for a clock outside of what a record can hold and for a ring whose
// primary is retired. The result is then nil. dst[:len(dst)] is never changed.
func (c *Codec) Seal(dst []byte, b Binding, expires time.Time, plaintext []byte) ([]byte, error) {
	return c.seal(dst, &b, c.now(), expires, plaintext)
}

// SealFor is [Codec.Seal] for a record that expires when life has passed, cut to
// milliseconds, by the very reading of the clock that says when it was written.
// 0 means that the record does not expire; less than a millisecond is
// ErrLifetime.
func (c *Codec) SealFor(dst []byte, b Binding, life time.Duration, plaintext []byte) ([]byte, error) {
	now, expires := c.now(), time.Time{}
	if life != 0 {
		expires = time.UnixMilli(now).Add(life)
	}
	return c.seal(dst, &b, now, expires, plaintext)
}

func (c *Codec) seal(dst []byte, b *Binding, now int64, expires time.Time, plaintext []byte) ([]byte, error) {
	ring, err := c.ring(b)
	if err != nil {
		return nil, err
	}
	end, err := lifetime(now, expires, ring.Layout().MaxLife)
	if err != nil {
		return nil, err
	}
	if len(plaintext) > c.options.MaxValue {
		return nil, ErrTooLarge
	}
	w, err := c.writer(ring, now, c.options.Suite)
	if err != nil {
		return nil, err
	}
	s := borrow()
	body, how := c.compress(s, b.Kind, plaintext)
	padded := c.options.Pad || b.Kind.padded()
	st := stamp{formOf(c.options.Suite, how, padded), now, end}
	size := len(body)
	if padded {
		size = paddedSize(size)
	}
	dst = w.record(dst, s, b, st, body, size)
	s.release()
	return dst, nil
}

// lifetime checks an expiry and returns it as it goes into the header.
func lifetime(now int64, expires time.Time, maxLife time.Duration) (int64, error) {
	if now < 0 || now > maxMillis {
		return 0, errors.New("codec: the clock shows a time that a record cannot hold")
	}
	if expires.IsZero() {
		if maxLife != 0 {
			return 0, ErrLifetime
		}
		return 0, nil
	}
	seconds, end := expires.Unix(), expires.UnixMilli() // which may overflow
	if seconds < 0 || seconds > maxMillis/1000 || end <= now || end > maxMillis || maxLife != 0 && end-now > maxLife.Milliseconds() {
		return 0, ErrLifetime
	}
	return end, nil
}

// record appends a record with body inside, padded where size is beyond it.
func (w *writer) record(dst []byte, s *scratch, b *Binding, st stamp, body []byte, size int) []byte {
	dst = slices.Grow(dst, Overhead+size)
	rec := dst[len(dst) : len(dst)+Overhead+size : len(dst)+Overhead+size]
	if st.form&paddedBit != 0 && size > len(body) || overlap(rec, body) {
		// Moved to where the sub-key's cipher writes, before anything else is
		// written: it takes its plaintext from there or from afar.
		inner := rec[prefixSize : prefixSize+size]
		if n := copy(inner, body); n < size {
			pad(inner, n)
		}
		body = inner
	}
	w.putPrefix((*[prefixSize]byte)(rec), st)
	w.putPrefix(s.associate(b), st)
	w.subkey().Seal(rec[:prefixSize], nil, body, s.associated)
	return dst[:len(dst)+len(rec)]
}

// Reseal appends to dst the record at b, sealed anew with the primary key and
// a fresh nonce. Both its times stay, and so do suite, compression and padding
// with all that is inside. What Open would not open, Reseal does not touch:
// it answers with the same errors, or with one of Seal's. record and dst's
// spare capacity may overlap, in which case record is overwritten.
//
// After a leak of a key, do not re-seal what it sealed: that would make an
// attacker's records the new key's own.
func (c *Codec) Reseal(dst []byte, b Binding, record []byte) ([]byte, error) {
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
	defer s.release()
	*s.associate(&b) = [prefixSize]byte(record)
	body, err := c.verify(s, rd, b.Kind, record)
	if err == nil && compressionOf(record[formAt]) != CompressionNone {
		s.content, err = c.expand(s.content[:0], record, body)
	}
	if err != nil {
		return nil, err
	}
	w, err := c.writer(ring, c.now(), suiteOf(record[formAt]))
	if err != nil {
		return nil, err
	}
	st := stamp{record[formAt], millis(record[writtenAt:]), millis(record[expiresAt:])}
	return w.record(dst, s, &b, st, s.inner, len(s.inner)), nil
}
