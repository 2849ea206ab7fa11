package codec

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/securecache/securecache-go/keys"
)

const (
	readerSets = 1024
	readerWays = 4
)

// reader is a sub-key that opens, and what a ring says of its key.
type reader struct {
	suite   Suite
	keySalt [prefixSize - keyAt]byte // key id and salt, as they stand in a header
	subkey  subkey

	bounds
	revision uint64 // of the ring that had the key
	kept     bool   // it is in the cache
}

func (r *reader) key() keys.ID { return keys.ID(r.keySalt[:len(keys.ID{})]) }

// readers is a bounded cache of them, without locks: a set-associative table
// that the salt, which is random, indexes. It takes a sub-key only after a
// record has authenticated under it, so that planted salts cost an attacker's
// victim one derivation each and evict nothing.
type readers struct {
	sets [readerSets][readerWays]atomic.Pointer[reader]
	turn atomic.Uint32
}

func (r *readers) set(keySalt *[prefixSize - keyAt]byte) *[readerWays]atomic.Pointer[reader] {
	return &r.sets[binary.LittleEndian.Uint32(keySalt[saltAt-keyAt:])%readerSets]
}

// find returns the sub-key of a suite, a key and a salt, nil where the cache
// has none.
func (r *readers) find(s Suite, keySalt *[prefixSize - keyAt]byte) *reader {
	set := r.set(keySalt)
	for i := range set {
		if rd := set[i].Load(); rd != nil && rd.keySalt == *keySalt && rd.suite == s {
			return rd
		}
	}
	return nil
}

// replace puts next in the place of rd, if that is still there.
func (r *readers) replace(rd, next *reader) {
	set := r.set(&rd.keySalt)
	for i := range set {
		if set[i].CompareAndSwap(rd, next) {
			return
		}
	}
}

// keep caches rd, in a free place of its set or in another's, and returns a
// function that takes it out again. Two goroutines that keep the same sub-key
// may both find room; that wastes a place and nothing else.
func (r *readers) keep(rd *reader) (undo func()) {
	set := r.set(&rd.keySalt)
	for i := range set {
		if set[i].CompareAndSwap(nil, rd) {
			return func() { set[i].CompareAndSwap(rd, nil) }
		}
	}
	place := &set[r.turn.Add(1)%readerWays]
	place.Store(rd)
	return func() { place.CompareAndSwap(rd, nil) }
}

// drop forgets the sub-keys of the keys that are gone.
func (r *readers) drop(gone func(keys.ID) bool) {
	for s := range r.sets {
		for i := range r.sets[s] {
			place := &r.sets[s][i]
			if rd := place.Load(); rd != nil && gone(rd.key()) {
				place.CompareAndSwap(rd, nil)
			}
		}
	}
}
