package keys

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"sync"
)

// Names blinds names with a namespace's names key, so that the server sees
// neither a name nor whether two namespaces share one. It is immutable, safe
// for concurrent use, and shows its id alone under every fmt verb.
type Names struct {
	id ID
	// hashers keeps HMACs under the names key. A function, for the reason given in
	// Key.
	hashers func() *sync.Pool
}

const (
	tagByte   = 0x00
	fieldByte = 0x01
)

// ID returns the id of the names key.
func (n *Names) ID() ID { return n.id }

// Blind returns the blinded form of a name under a record kind.
func (n *Names) Blind(kind byte, name string) (blind [16]byte) {
	n.mac(blind[:], kind, name, "", false)
	return blind
}

// Tag returns the blinded form of a slot tag. Collisions only share a slot.
func (n *Names) Tag(tag string) (blind [8]byte) {
	n.mac(blind[:], tagByte, tag, "", false)
	return blind
}

// Field returns the blinded form of a field of the hash called name.
func (n *Names) Field(name, field string) (blind [16]byte) {
	n.mac(blind[:], fieldByte, name, field, true)
	return blind
}

// mac fills out from HMAC-SHA256(Kn, first ‖ lp(a) ‖ lp(b)), without the last
// part unless two is set.
func (n *Names) mac(out []byte, first byte, a, b string, two bool) {
	pool := n.hashers()
	h := pool.Get().(*hasher)
	copy(out, h.sum(first, a, b, two))
	pool.Put(h)
}

// Format prints the id under every verb.
func (n *Names) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, n.id.String()) }

// LogValue logs the id.
func (n *Names) LogValue() slog.Value { return slog.StringValue(n.id.String()) }

// MarshalText writes the id.
func (n *Names) MarshalText() ([]byte, error) { return n.id.MarshalText() }

// longestKept bounds what one long name may leave allocated in the pool.
const longestKept = 4 << 10

// hasher is an HMAC and its input, reused: setting one up costs more than a name.
type hasher struct {
	mac hash.Hash
	buf []byte
}

// sum returns the HMAC, in memory that the next sum overwrites: it is copied before
// h goes back to the pool.
func (h *hasher) sum(first byte, a, b string, two bool) []byte {
	h.buf = appendLP(append(h.buf[:0], first), a)
	if two {
		h.buf = appendLP(h.buf, b)
	}
	h.mac.Reset()
	h.mac.Write(h.buf)
	clear(h.buf)
	h.buf = h.mac.Sum(h.buf[:0])
	sum := h.buf
	if cap(sum) > longestKept {
		h.buf = nil
	}
	return sum
}

// newNames takes the derivation of the names key.
func newNames(namespace string, id ID, derive deriver) (*Names, error) {
	kn, err := derive(sha256.Size, "securecache v1 name", [][]byte{[]byte(namespace)})
	if err != nil {
		return nil, err
	}
	pool := &sync.Pool{New: func() any { return &hasher{mac: hmac.New(sha256.New, kn)} }}
	return &Names{id: id, hashers: func() *sync.Pool { return pool }}, nil
}
