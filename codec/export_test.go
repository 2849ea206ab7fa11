package codec

import (
	"time"

	"github.com/securecache/securecache-go/keys"
)

const (
	WriterRecords = writerRecords
	WriterAge     = time.Duration(writerAge) * time.Millisecond
	MostReaders   = readerSets * readerWays
	ReaderWays    = readerWays
)

var PaddedSize = paddedSize

// NewClock returns the clock that codecs use unless they are given one.
func NewClock() func() int64 {
	c := new(clock)
	c.begin(nil)
	return c.now
}

// NewBefore returns how codecs find out whether a record has ended, by that clock.
func NewBefore() func(end int64) bool {
	c := new(clock)
	c.begin(nil)
	return c.before
}

// Exhaust leaves a suite's writer so many records.
func (c *Codec) Exhaust(s Suite, left int64) { c.writers[s].Load().left.Store(left) }

// WriterLeft returns how many records a suite's writer may still seal.
func (c *Codec) WriterLeft(s Suite) int64 { return c.writers[s].Load().left.Load() }

// Readers counts the sub-keys that are cached, of one key or, for the zero id,
// of all.
func (c *Codec) Readers(of keys.ID) int {
	n := 0
	for s := range c.readers.sets {
		for i := range c.readers.sets[s] {
			if rd := c.readers.sets[s][i].Load(); rd != nil && (of == keys.ID{} || rd.key() == of) {
				n++
			}
		}
	}
	return n
}

// Writers counts the writers of a key.
func (c *Codec) Writers(of keys.ID) int {
	n := 0
	for i := range c.writers {
		if w := c.writers[i].Load(); w != nil && w.key == of {
			n++
		}
	}
	return n
}

// Scratch returns what a scratch buffer of the pool still holds.
func Scratch() []byte {
	s := borrow()
	defer s.release()
	return append(append([]byte(nil), s.inner[:cap(s.inner)]...), s.content[:cap(s.content)]...)
}
