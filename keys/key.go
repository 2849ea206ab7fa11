package keys

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Size is the length of a data key and of a names key, in bytes.
const Size = 32

// ID names a key. It is derived from the key's own bytes and its namespace, so
// it commits to the key; it is no secret and stands in every record's header.
// The zero ID belongs to no key.
type ID [16]byte

// ParseID reads the 32 lower-case hex digits that [ID.String] writes.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != hex.EncodedLen(len(id)) {
		return ID{}, errors.New("keys: a key id is 32 hex digits")
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, errors.New("keys: a key id is 32 hex digits")
	}
	if id.String() != s {
		return ID{}, errors.New("keys: a key id is written in lower case")
	}
	return id, nil
}

// String returns the id as 32 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the id as String does.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// Key is a data key: it seals and opens records, through the sub-keys that
// [Key.Expand] derives. Its bytes cannot be read out, and under every fmt verb,
// in slog and in JSON it shows its id alone. A Key is immutable and safe for
// concurrent use.
type Key struct {
	id                 ID
	activates, retired time.Time
	// The bytes live in a closure: fmt and reflection-driven encoders print a
	// func field as an address, whatever the verb and however deep the struct.
	expand deriver
}

// ID returns the key's id.
func (k *Key) ID() ID { return k.id }

// Activates returns the time from which the key seals.
func (k *Key) Activates() time.Time { return k.activates }

// Retired returns the time after which no process seals with the key, zero
// while it has no successor.
func (k *Key) Retired() time.Time { return k.retired }

// Expand derives length bytes for the purpose that label and parts name, with
// HKDF-Expand-SHA256 (RFC 5869). Label and parts are length-prefixed, so two
// different lists never meet. The label should say which application asks.
func (k *Key) Expand(length int, label string, parts ...[]byte) ([]byte, error) {
	return k.expand(length, label, parts)
}

// Format prints the id under every verb.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.id.String()) }

// LogValue logs the id.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.id.String()) }

// MarshalText writes the id.
func (k *Key) MarshalText() ([]byte, error) { return k.id.MarshalText() }

// deriver is HKDF-Expand-SHA256 under a key that it keeps to itself.
type deriver func(length int, label string, parts [][]byte) ([]byte, error)

// expander returns the derivation of key, which it keeps a copy of.
func expander(key []byte) deriver {
	own := [Size]byte(key)
	return func(length int, label string, parts [][]byte) ([]byte, error) {
		info := appendLP(nil, label)
		for _, p := range parts {
			info = appendLP(info, p)
		}
		return hkdf.Expand(sha256.New, own[:], string(info), length)
	}
}

// appendLP appends x behind its length in four bytes.
func appendLP[T ~string | ~[]byte](dst []byte, x T) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(x)))
	return append(dst, x...)
}
