package lock

import (
	"errors"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/securecache"
)

// Options tune a [Locker]; nil and the zero value mean the defaults.
type Options struct {
	// Fixed leaves locks to end with their TTL, unless [Lock.Extend] is called.
	// Otherwise they are extended by themselves, every third of it.
	Fixed bool

	// Now is the clock that a fence is judged by, time.Now where it is nil.
	Now func() time.Time
}

func (o *Options) orDefault() Options {
	var set Options
	if o != nil {
		set = *o
	}
	if set.Now == nil {
		set.Now = time.Now
	}
	return set
}

const (
	minTTL = 10 * time.Millisecond
	// maxTTL is how long the server remembers a fence after the last sign of its
	// holder.
	maxTTL = 24 * time.Hour
)

var (
	// ErrNotObtained says that somebody else has the lock.
	ErrNotObtained = errors.New("lock: held by somebody else")

	// ErrLost says that the lock is not this holder's any more, or was another's
	// in between. It is also the cause of the end of a lock's context.
	ErrLost = errors.New("lock: lost")

	// ErrFenced says that a later holder of the lock has written, and that nothing
	// was.
	ErrFenced = errors.New("lock: a later holder has written")

	// ErrFence says that the server gave a fence that cannot be: of 2^53 or more,
	// or further ahead of this process' clock than 24 hours. A store that has seen
	// it would refuse everybody for as long. The lock was given back.
	ErrFence = errors.New("lock: the server's fence is out of range")

	// ErrTTL says that a TTL is not from 10 ms to 24 h.
	ErrTTL = errors.New("lock: a TTL is from 10ms to 24h")

	// ErrClosed says that the locker was closed.
	ErrClosed = errors.New("lock: the locker is closed")

	// ErrOutcomeUnknown says that the server was asked and its reply was lost.
	ErrOutcomeUnknown = securecache.ErrOutcomeUnknown
)

func validTTL(ttl time.Duration) error {
	if ttl < minTTL || ttl > maxTTL {
		return fmt.Errorf("%w, not %v", ErrTTL, ttl)
	}
	return nil
}

// drift is what a TTL is shortened by on this side, for a clock that runs slower
// than the server's. The numbers are Redlock's.
func drift(ttl time.Duration) time.Duration { return ttl/100 + 2*time.Millisecond }
