package codec

import (
	"errors"

	"github.com/securecache/securecache-go/keys"
)

var (
	// ErrExpired is returned for a record that authenticates and whose time
	// is over: a miss, whether the server has removed it yet or not.
	ErrExpired = errors.New("codec: the record has expired")
	// ErrNamespace is returned for a binding of another namespace than the
	// ring's.
	ErrNamespace = errors.New("codec: the binding is of another namespace than the keyring")
	// ErrKind is returned for a binding of a kind that holds no records.
	ErrKind = errors.New("codec: the kind holds no records")
	// ErrLifetime is returned by Seal for an expiry that is missing, not in
	// the future, or further ahead than the namespace's max_life.
	ErrLifetime = errors.New("codec: the expiry is missing, past, or beyond the namespace's max_life")
	// ErrTooLarge is returned by Seal for content beyond Options.MaxValue.
	ErrTooLarge = errors.New("codec: the content is larger than allowed")
)

// Reason is why a record was refused. The zero Reason is none. Its values are
// for this process: store the String.
type Reason uint8

// The reasons, in the order in which they are looked for. Up to UnknownKey
// anybody can cause one by writing to the server. The last four can only come
// from somebody who holds the key, or from a broken writer.
const (
	ReasonNotRecord      Reason = iota + 1 // the magic is missing
	ReasonVersion                          // a version this package does not know
	ReasonForm                             // an unknown suite or compression, or a reserved bit
	ReasonLength                           // shorter than a record can be
	ReasonFIPS                             // a suite that FIPS 140-only mode does not allow
	ReasonUnknownKey                       // no key of the ring has its id
	ReasonDestroyedKey                     // its key has been destroyed
	ReasonAuthentication                   // wrong key, tag or binding
	ReasonRetiredKey                       // times beyond what its retired key may seal
	ReasonExpiry                           // no expiry in a namespace where records must have one
	ReasonContent                          // malformed padding or compression, or not as its kind demands
	ReasonTooLarge                         // more content than Options.MaxValue
)

var reasons = [...]struct{ class, words string }{
	{"none", "not refused"},
	ReasonNotRecord:      {"not-record", "it is not a record"},
	ReasonVersion:        {"version", "its version is unknown"},
	ReasonForm:           {"form", "its suite or compression is unknown"},
	ReasonLength:         {"length", "it is shorter than a record can be"},
	ReasonFIPS:           {"fips", "its suite is not allowed in FIPS 140-only mode"},
	ReasonUnknownKey:     {"unknown-key", "its key is not in the keyring"},
	ReasonDestroyedKey:   {"destroyed-key", "its key has been destroyed"},
	ReasonAuthentication: {"authentication", "it does not authenticate under its key and in its place"},
	ReasonRetiredKey:     {"retired-key", "its times are beyond what its retired key may seal"},
	ReasonExpiry:         {"expiry", "it never expires, which its namespace does not allow"},
	ReasonContent:        {"content", "its padding or compression is malformed or not as its kind demands"},
	ReasonTooLarge:       {"too-large", "its content is larger than allowed"},
}

// String returns a short name for logs and metrics, such as "authentication".
func (r Reason) String() string {
	if int(r) >= len(reasons) {
		return "unknown"
	}
	return reasons[r].class
}

// RefusedError says that something stands where a record was looked for and
// that it was not opened. It is never a miss.
type RefusedError struct {
	Reason Reason
	// KeyID is the key that the record names: an attacker's claim unless the
	// reason is found after authentication. Zero where there is no header.
	KeyID keys.ID
}

// Error names the reason. It contains nothing of the record.
func (e *RefusedError) Error() string {
	if int(e.Reason) >= len(reasons) {
		return "codec: record refused"
	}
	return "codec: record refused: " + reasons[e.Reason].words
}
