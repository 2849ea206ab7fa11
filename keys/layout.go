package keys

import (
	"errors"
	"fmt"
	"time"
)

const (
	// ClockAllowance is how far the clocks of a namespace's processes may stand
	// apart.
	ClockAllowance = 5 * time.Minute
	// Forever, as a Layout's MaxLife, says that records need not expire.
	Forever time.Duration = -1

	defaultPrefix     = "sc"
	defaultMaxLife    = 90 * 24 * time.Hour
	defaultRefresh    = time.Minute
	defaultMaxOffline = time.Hour
	maxShards         = 256
	// A duration of nanoseconds ends at 292 years; sums of a time and two of
	// these stay inside the 48 bits of a record's times.
	longest = 100 * 365 * 24 * time.Hour
)

// Layout is what all processes of a namespace must agree on. It is fixed by
// [Create] and never changes afterwards. As [Ring.Layout] returns it, every
// field is filled in, and a MaxLife of 0 means that records need not expire.
type Layout struct {
	// Prefix is the first part of every Redis key: [a-z0-9._-]{1,32}, "" for "sc".
	Prefix string
	// Plain leaves the names of values and hashes readable on the server.
	Plain bool
	// Shards spreads names over so many cluster slots: 0, or a power of two up
	// to 256, in a namespace with scheduled expiry events.
	Shards int
	// MaxLife is the longest life of a record, in whole milliseconds up to 100
	// years; 0 is 90 days, Forever is without limit.
	MaxLife time.Duration
	// Refresh is the longest interval between two refreshes that any process
	// may use; 0 is one minute, or half of a MaxOffline that is shorter than two.
	// Rotations are announced two of them ahead.
	Refresh time.Duration
	// MaxOffline is the longest time that any process may serve without a
	// refresh; 0 is one hour. Not under Refresh.
	MaxOffline time.Duration
}

// filled returns l with its defaults, in the form that rings carry.
func (l Layout) filled() (Layout, error) {
	if l.Prefix == "" {
		l.Prefix = defaultPrefix
	}
	if l.Refresh == 0 {
		l.Refresh = refreshWithin(defaultRefresh, l.MaxOffline)
	}
	if l.MaxOffline == 0 {
		l.MaxOffline = max(defaultMaxOffline, l.Refresh)
	}
	switch l.MaxLife {
	case 0:
		l.MaxLife = defaultMaxLife
	case Forever:
		l.MaxLife = 0
	}
	if err := l.check(); err != nil {
		return l, fmt.Errorf("keys: %w", err)
	}
	return l, nil
}

// refreshWithin returns interval, or what leaves room for a second attempt
// within maxOffline, where that is set.
func refreshWithin(interval, maxOffline time.Duration) time.Duration {
	if maxOffline <= 0 {
		return interval
	}
	return min(interval, (maxOffline / 2).Truncate(time.Millisecond))
}

// check judges a layout that is filled in.
func (l Layout) check() error {
	if !isName(l.Prefix, 32) {
		return errors.New("the prefix must be 1 to 32 of a-z, 0-9, '.', '_' and '-'")
	}
	if l.Shards < 0 || l.Shards > maxShards || l.Shards&(l.Shards-1) != 0 {
		return errors.New("the number of shards must be 0 or a power of two up to 256")
	}
	if l.MaxLife != 0 {
		if err := checkDuration("the maximal life", l.MaxLife); err != nil {
			return err
		}
	}
	if err := checkDuration("the refresh interval", l.Refresh); err != nil {
		return err
	}
	if err := checkDuration("the offline time", l.MaxOffline); err != nil {
		return err
	}
	if l.MaxOffline < l.Refresh {
		return errors.New("the offline time must not be under the refresh interval")
	}
	return nil
}

func checkDuration(what string, d time.Duration) error {
	if d <= 0 || d > longest || d%time.Millisecond != 0 {
		return fmt.Errorf("%s must be whole milliseconds, more than 0 and up to 100 years", what)
	}
	return nil
}

func checkNamespace(namespace string) error {
	if !isName(namespace, 64) {
		return errors.New("the namespace must be 1 to 64 of a-z, 0-9, '.', '_' and '-'")
	}
	return nil
}

// isName reports whether s is [a-z0-9._-]{1,longest}.
func isName(s string, longest int) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= longest
}
