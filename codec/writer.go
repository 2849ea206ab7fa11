package codec

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/securecache/securecache-go/keys"
)

const (
	// A writer seals so many records, for so long: random 96-bit nonces under
	// one sub-key stay far below the 2^32 that SP 800-38D allows.
	writerRecords = 1 << 28
	writerAge     = int64(time.Hour / time.Millisecond)
)

// writer is a sub-key that seals, chosen by a random salt.
type writer struct {
	key     keys.ID
	keySalt [prefixSize - keyAt]byte // key id and salt, as they stand in a header
	subkey  subkey

	// The key is the primary of the ring with these two, which no other ring has,
	// from the one to before the other, in Unix milliseconds.
	names       *keys.Names
	revision    uint64
	from, until int64

	_    [64]byte // left is written for every record, what stands above only read
	left atomic.Int64
}

// stamp is what differs from record to record in a writer's prefix.
type stamp struct {
	form             byte
	written, expires int64 // Unix milliseconds
}

// writer returns the writer of a suite under the ring's primary, a new one
// where the last is used up.
func (c *Codec) writer(ring *keys.Ring, now int64, s Suite) (*writer, error) {
	if w := c.writers[s].Load(); w != nil && w.serves(ring, now) {
		return w, nil
	}
	c.rotating.Lock()
	defer c.rotating.Unlock()
	if w := c.writers[s].Load(); w != nil && w.serves(ring, now) {
		return w, nil
	}
	w, err := newWriter(ring, now, s)
	if err != nil {
		return nil, err
	}
	c.writers[s].Store(w)
	return w, nil
}

func newWriter(ring *keys.Ring, now int64, s Suite) (*writer, error) {
	clock := time.UnixMilli(now)
	key := ring.Primary(clock)
	if retired := key.Retired(); !retired.IsZero() && clock.After(retired) {
		// Its successor was destroyed before it was active. Every reader would
		// refuse the record.
		return nil, errors.New("codec: the primary key has been retired and has no successor; rotate the keys")
	}
	w := &writer{key: key.ID(), names: ring.Names(), revision: ring.Revision()}
	w.from, w.until = span(ring, key, now)
	w.left.Store(writerRecords - 1) // one is for whoever asked
	*(*keys.ID)(w.keySalt[:]) = w.key
	salt := w.keySalt[saltAt-keyAt:]
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	var err error
	w.subkey, err = derive(key, ring.Namespace(), s, salt)
	return w, err
}

// span returns from when to before when a writer made now may seal: within
// writerAge, whichever way the clock goes, and while key is the ring's primary.
func span(ring *keys.Ring, key *keys.Key, now int64) (from, until int64) {
	from, until = now-writerAge+1, now+writerAge
	if active := key.Activates().UnixMilli(); active <= now {
		from = max(from, active)
	}
	for _, k := range ring.Keys() {
		if at := k.Activates.UnixMilli(); at > now && !k.Destroyed {
			until = min(until, at)
		}
	}
	if retired := key.Retired(); !retired.IsZero() {
		until = min(until, retired.UnixMilli()+1)
	}
	return from, until
}

// serves reports whether w may seal one more record at now under ring's
// primary, and counts it.
func (w *writer) serves(ring *keys.Ring, now int64) bool {
	return w.revision == ring.Revision() && w.names == ring.Names() && w.from <= now && now < w.until && w.left.Add(-1) >= 0
}

// putPrefix writes the first prefixSize bytes of a record.
func (w *writer) putPrefix(dst *[prefixSize]byte, st stamp) {
	binary.BigEndian.PutUint64(dst[:], mark|uint64(st.form)<<32|uint64(st.written)>>16)
	binary.BigEndian.PutUint64(dst[expiresAt-2:], uint64(st.written)<<48|uint64(st.expires))
	*(*[prefixSize - keyAt]byte)(dst[keyAt:]) = w.keySalt
}
