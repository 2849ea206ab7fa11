package codec

import "encoding/binary"

// Binding says where a record stands. It is authenticated with the record but
// not stored in it: a record that the server moves to another place does not
// open there.
type Binding struct {
	// Namespace is the ring's.
	Namespace string
	Kind      Kind
	// ID is the exact text behind "<prefix>:<namespace>:<kind>:" in the Redis
	// key, braces and any ":<part>" included. It is never normalised.
	ID string
	// FieldID is the field's name in a Redis hash, empty where there is none.
	FieldID string
}

// domain is what every record's associated data begins with.
const domain = "securecache v1"

// associate puts into s what a record at b is authenticated with, and returns
// the place in it of the record's first prefixSize bytes, which are to follow.
func (s *scratch) associate(b *Binding) *[prefixSize]byte {
	room := append(s.associated[:len(domain)+prefixSize], byte(b.Kind))
	room = appendLP(room, b.Namespace)
	room = appendLP(room, b.ID)
	s.associated = appendLP(room, b.FieldID)
	return (*[prefixSize]byte)(s.associated[len(domain):])
}

func appendLP(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	if s == "" { // as most field ids; spares a call for every record
		return dst
	}
	return append(dst, s...)
}
