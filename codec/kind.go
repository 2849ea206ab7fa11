package codec

import (
	"encoding/hex"
	"errors"
)

// Kind says what a record is for. It is part of every binding, so that a value
// cannot be passed off as a session, and the third part of every Redis key.
type Kind byte

// The kinds of FORMAT.md. From 0x80 up a kind is the application's own.
const (
	KindValue    Kind = 'v' // a cached value
	KindHash     Kind = 'h' // a field of a hash
	KindSession  Kind = 's' // a session
	KindDenylist Kind = 'd' // an entry of a denylist
	KindOnce     Kind = 'o' // a once-token
	KindJob      Kind = 'q' // the payload of a job
	KindExpiry   Kind = 'x' // the payload of an expiry event
	KindLock     Kind = 'l' // a lock; script state, holds no records
	KindLimit    Kind = 'r' // a rate limit; script state, holds no records
	KindSubject  Kind = 'u' // the index of a subject; script state, holds no records
	KindSchedule Kind = 'e' // the expiry schedule; script state, holds no records
)

const firstUserKind Kind = 0x80

// String returns the kind as it is written in a Redis key: its letter, or
// "x80" to "xff" for the application's own.
func (k Kind) String() string {
	switch {
	case k >= firstUserKind:
		return "x" + hex.EncodeToString([]byte{byte(k)})
	case rules[k] != 0:
		return string([]byte{byte(k)}) // which the runtime has at hand
	}
	return "invalid"
}

// ParseKind reads what [Kind.String] writes, in lower case.
func ParseKind(s string) (Kind, error) {
	if len(s) == 1 {
		if k := Kind(s[0]); k.String() == s {
			return k, nil
		}
	}
	if len(s) == 3 && s[0] == 'x' {
		raw, err := hex.DecodeString(s[1:])
		if err == nil && Kind(raw[0]).String() == s {
			return Kind(raw[0]), nil
		}
	}
	return 0, errors.New("codec: unknown kind of record")
}

// What records of a kind may be. The zero rules are those of no kind.
const (
	holdsRecords = 1 << iota
	holdsState
	mayBeCompressed
	alwaysPadded
)

// rules has a kind's, by its byte: they are looked up for every record.
var rules = func() (r [256]byte) {
	for k := int(firstUserKind); k < len(r); k++ {
		r[k] = holdsRecords
	}
	// A kind that mixes an attacker's choice with a secret must not be
	// compressed: the length would tell one from the other.
	for _, k := range []Kind{KindValue, KindHash, KindJob} {
		r[k] = holdsRecords | mayBeCompressed
	}
	for _, k := range []Kind{KindSession, KindDenylist, KindOnce, KindExpiry} {
		r[k] = holdsRecords | alwaysPadded
	}
	for _, k := range []Kind{KindLock, KindLimit, KindSubject, KindSchedule} {
		r[k] = holdsState
	}
	return r
}()

// HoldsRecords reports whether records of the kind exist. The others are the
// state of server-side scripts, which hold nothing sealed.
func (k Kind) HoldsRecords() bool { return rules[k]&holdsRecords != 0 }

func (k Kind) compressible() bool { return rules[k]&mayBeCompressed != 0 }

func (k Kind) padded() bool { return rules[k]&alwaysPadded != 0 }
