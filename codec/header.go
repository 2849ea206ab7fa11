package codec

import (
	"encoding/binary"
	"time"

	"github.com/securecache/securecache-go/keys"
)

const (
	// HeaderSize is the length of a record before its ciphertext, in bytes.
	HeaderSize = 60
	// TagSize is the length of the authentication tag behind the ciphertext.
	TagSize = 16
	// Overhead is what a record that is neither compressed nor padded takes
	// beyond its content, in bytes.
	Overhead = HeaderSize + TagSize
)

const (
	magic   = "SC"
	version = 1
	mark    = 'S'<<56 | 'C'<<48 | version<<40 // both, at the top of a word of eight bytes

	formAt     = 3
	writtenAt  = 4
	expiresAt  = 10
	keyAt      = 16
	saltAt     = 32
	prefixSize = 48 // of the header, what is authenticated as it stands
	nonceSize  = HeaderSize - prefixSize

	suiteBits        = 0x0f
	compressionShift = 4
	compressionBits  = 0x30
	paddedBit        = 0x40

	maxMillis = 1<<48 - 1
)

// Header is what a record says of itself in clear. All integers are big-endian
// and times are Unix milliseconds:
//
//	 0        2   3   4         10        16       32      48       60
//	┌────────┬───┬───┬─────────┬─────────┬────────┬───────┬────────┬────────────┬─────┐
//	│ "SC"   │ 1 │ f │ written │ expires │ key id │ salt  │ nonce  │ ciphertext │ tag │
//	└────────┴───┴───┴─────────┴─────────┴────────┴───────┴────────┴────────────┴─────┘
//	 f, the form: bits 0–3 suite, 4–5 compression, 6 padded, 7 zero
//
// Nothing in it is to be believed before [Codec.Open] has authenticated the
// record, and Open does not need to be told any of it.
type Header struct {
	Suite       Suite
	Compression Compression // never CompressionAuto
	Padded      bool
	Written     time.Time
	Expires     time.Time // zero where the record does not expire
	KeyID       keys.ID
	Size        int // of the ciphertext, in bytes
}

// ParseHeader reads a record's header without any key. A record that has not
// the form of one is a [*RefusedError].
func ParseHeader(record []byte) (Header, error) {
	if reason := misform(record); reason != 0 {
		return Header{}, &RefusedError{Reason: reason}
	}
	form, written, expires := record[formAt], millis(record[writtenAt:]), millis(record[expiresAt:])
	h := Header{
		Suite:       suiteOf(form),
		Compression: compressionOf(form),
		Padded:      form&paddedBit != 0,
		Written:     time.UnixMilli(written).UTC(),
		KeyID:       keys.ID(record[keyAt:saltAt]),
		Size:        len(record) - Overhead,
	}
	if expires != 0 {
		h.Expires = time.UnixMilli(expires).UTC()
	}
	return h, nil
}

func suiteOf(form byte) Suite { return Suite(form & suiteBits) }

func compressionOf(form byte) Compression {
	return CompressionNone + Compression(form&compressionBits>>compressionShift)
}

// formOf is the inverse of what is read from the form byte above.
func formOf(s Suite, how Compression, padded bool) byte {
	form := byte(s) | byte(how-CompressionNone)<<compressionShift
	if padded {
		form |= paddedBit
	}
	return form
}

// wellFormed reports whether form is of a suite and a compression that exist, and
// of nothing else.
func wellFormed(form byte) bool {
	s := suiteOf(form)
	return (s == AES256GCM || s == ChaCha20Poly1305) && compressionOf(form) <= CompressionZstd &&
		form&^(suiteBits|compressionBits|paddedBit) == 0
}

// misform returns what is wrong with the form of a record, 0 for nothing.
func misform(record []byte) Reason {
	switch {
	case len(record) < len(magic) || string(record[:len(magic)]) != magic:
		return ReasonNotRecord
	case len(record) <= formAt:
		return ReasonLength
	case record[len(magic)] != version:
		return ReasonVersion
	case !wellFormed(record[formAt]):
		return ReasonForm
	case len(record) < Overhead:
		return ReasonLength
	}
	return 0
}

func millis(b []byte) int64 {
	return int64(binary.BigEndian.Uint16(b))<<32 | int64(binary.BigEndian.Uint32(b[2:]))
}

// ETag is an entity tag: a record's header, in which the random salt and nonce
// make every sealing differ. A script may replace a record only while its
// first HeaderSize bytes are still these.
type ETag [HeaderSize]byte

// ETagOf returns the entity tag of a record, false where record is too short
// to have one. It does not look at what the bytes say.
func ETagOf(record []byte) (ETag, bool) {
	if len(record) < HeaderSize {
		return ETag{}, false
	}
	return ETag(record), true
}
