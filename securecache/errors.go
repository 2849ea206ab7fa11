package securecache

import (
	"errors"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
)

var (
	// ErrMiss says that nothing is stored under the name, or that what is has
	// reached its end, whatever the server made of its TTL.
	ErrMiss = errors.New("securecache: miss")

	// ErrConflict says that a value was not replaced, since it is no longer the
	// one that was read.
	ErrConflict = errors.New("securecache: the value has changed since it was read")

	// ErrNoTTL says that a value was to be stored without a TTL, which
	// [Options.AllowNoTTL] has to permit.
	ErrNoTTL = errors.New("securecache: a TTL is needed")

	// ErrName says that a name is empty, or a text no Redis key of the format.
	ErrName = errors.New("securecache: no such name can be")

	// ErrOutcomeUnknown says that a write was sent, its reply was lost, and what
	// the server holds now does not tell whether it took effect.
	ErrOutcomeUnknown = lua.ErrOutcomeUnknown
)

// RefusedError says that a record is there and was refused: tampered with,
// moved, sealed under a key that the keyring does not have, or no record.
type RefusedError = codec.RefusedError

// Refusal is what [Options.OnRefused] is told.
type Refusal struct {
	// Key is the Redis key, for the command's inspect. It is blinded, unless the
	// namespace has plain names.
	Key string
	Err *RefusedError
}
