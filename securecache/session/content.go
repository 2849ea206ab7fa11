package session

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/securecache/securecache-go/securecache"
)

// A token is 43 characters, base64url of 32 bytes:
//
//	0          8                        32
//	┌──────────┬────────────────────────┐
//	│ slot     │ name, random           │
//	└──────────┴────────────────────────┘
//
// The slot is the subject's blinded tag, or random where there is no subject.
const (
	slotSize    = len(securecache.Slot{})
	nameSize    = 24
	tokenLength = (8*(slotSize+nameSize) + 5) / 6
)

func newToken(slot securecache.Slot) (token, name string) {
	var raw [nameSize]byte
	_, _ = rand.Read(raw[:]) // never fails
	return tokenOf(slot, string(raw[:])), string(raw[:])
}

func tokenOf(slot securecache.Slot, name string) string {
	return base64.RawURLEncoding.EncodeToString(append(slot[:], name...))
}

func randomSlot() (s securecache.Slot) {
	_, _ = rand.Read(s[:])
	return s
}

// parseToken is false for what newToken cannot have returned.
func parseToken(token string) (slot securecache.Slot, name [nameSize]byte, ok bool) {
	var raw [slotSize + nameSize]byte
	if len(token) != tokenLength {
		return slot, name, false
	}
	// The decoder passes over line breaks, and then gives fewer bytes.
	n, err := strict.Decode(raw[:], []byte(token))
	if err != nil || n != len(raw) {
		return slot, name, false
	}
	return securecache.Slot(raw[:slotSize]), [nameSize]byte(raw[slotSize:]), true
}

// strict takes one spelling of a token alone.
var strict = base64.RawURLEncoding.Strict()

// content is what is sealed in a session's record:
//
//	lp(subject) ‖ created-at (6 bytes) ‖ ends-at (6 bytes) ‖ value
//
// The times are Unix milliseconds, ends-at the session's absolute end.
type content struct {
	subject       []byte
	created, ends time.Time
	value         []byte
}

const contentFixed = 4 + 6 + 6

func (c content) encode() []byte {
	b := make([]byte, 0, contentFixed+len(c.subject)+len(c.value))
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.subject)))
	b = append(b, c.subject...)
	b = appendMillis(b, c.created)
	b = appendMillis(b, c.ends)
	return append(b, c.value...)
}

// parseContent is false for what encode cannot have returned. Subject and value
// share b's memory.
func parseContent(b []byte) (content, bool) {
	if len(b) < contentFixed {
		return content{}, false
	}
	length := uint64(binary.BigEndian.Uint32(b))
	if length > uint64(len(b)-contentFixed) {
		return content{}, false
	}
	subject, times := b[4:4+length], b[4+length:]
	return content{
		subject: subject, created: millis(times), ends: millis(times[6:]), value: times[12:],
	}, true
}

func appendMillis(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	b = binary.BigEndian.AppendUint16(b, uint16(ms>>32))
	return binary.BigEndian.AppendUint32(b, uint32(ms))
}

func millis(b []byte) time.Time {
	ms := int64(binary.BigEndian.Uint16(b))<<32 | int64(binary.BigEndian.Uint32(b[2:]))
	return time.UnixMilli(ms).UTC()
}
