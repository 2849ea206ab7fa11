package codec

import (
	"crypto/rand"
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
	key    keys.ID
	prefix [prefixSize]byte // without form and times
	born   int64            // Unix milliseconds
	subkey subkey

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
	clock, slot := time.UnixMilli(now), &c.writers[s]
	key := ring.Primary(clock)
	if retired := key.Retired(); !retired.IsZero() && clock.After(retired) {
		// Its successor was destroyed before it was active. Every reader would
		// refuse the record.
		return nil, errors.New("codec: the primary key has been retired and has no successor; rotate the keys")
	}
	if w := slot.Load(); w != nil && w.serves(key.ID(), now) {
		return w, nil
	}
	c.rotating.Lock()
	defer c.rotating.Unlock()
	if w := slot.Load(); w != nil && w.serves(key.ID(), now) {
		return w, nil
	}
	w, err := newWriter(key, ring.Namespace(), now, s)
	if err != nil {
		return nil, err
	}
	slot.Store(w)
	return w, nil
}

func newWriter(key *keys.Key, namespace string, now int64, s Suite) (*writer, error) {
	w := &writer{key: key.ID(), born: now}
	w.left.Store(writerRecords - 1) // one is for whoever asked
	copy(w.prefix[:], magic)
	w.prefix[len(magic)] = version
	copy(w.prefix[keyAt:], w.key[:])
	salt := w.prefix[saltAt:]
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	var err error
	w.subkey, err = derive(key, namespace, s, salt)
	return w, err
}

// serves takes one record off the writer's allowance, where it may seal under
// the key and at the time.
func (w *writer) serves(id keys.ID, now int64) bool {
	age := now - w.born
	// A clock that has stepped back far must not keep a writer for ever.
	return w.key == id && age < writerAge && age > -writerAge && w.left.Add(-1) >= 0
}

// putPrefix writes the first prefixSize bytes of a record.
func (w *writer) putPrefix(dst *[prefixSize]byte, st stamp) {
	*dst = w.prefix
	dst[formAt] = st.form
	putMillis(dst[writtenAt:], st.written)
	putMillis(dst[expiresAt:], st.expires)
}
