package codec

import (
	"slices"
	"sync"
	"unsafe"
)

// scratch is the working memory of one call.
type scratch struct {
	associated []byte // begins with domain
	inner      []byte // a record's inside, as far as it does not go straight to dst
	content    []byte
}

// Buffers beyond this are left to the garbage collector.
const maxPooled = 1 << 20

var scratches = sync.Pool{New: func() any { return &scratch{associated: append(make([]byte, 0, 256), domain...)} }}

func borrow() *scratch { return scratches.Get().(*scratch) }

// release clears what may have held plaintext and gives s back.
func (s *scratch) release() {
	if len(s.inner)+len(s.content) != 0 {
		s.inner, s.content = wipe(s.inner), wipe(s.content)
	}
	scratches.Put(s)
}

// wipe clears all that b has held, which is its length at most, and empties it.
func wipe(b []byte) []byte {
	clear(b)
	if cap(b) > maxPooled {
		return nil
	}
	return b[:0]
}

// room returns b with the length n, whatever it holds.
func room(b []byte, n int) []byte { return slices.Grow(b[:0], n)[:n] }

// overlap reports whether a and b share memory. Nothing but a comparison is
// done with the addresses.
func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	return uintptr(unsafe.Pointer(&a[0])) <= uintptr(unsafe.Pointer(&b[len(b)-1])) &&
		uintptr(unsafe.Pointer(&b[0])) <= uintptr(unsafe.Pointer(&a[len(a)-1]))
}
