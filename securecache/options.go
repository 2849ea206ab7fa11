package securecache

import (
	"errors"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
)

// Options tune a [Cache]; nil and the zero value mean the defaults.
type Options struct {
	// Codec says how records are made: suite, compression, padding, size limit
	// and clock.
	Codec codec.Options

	// Batch lets concurrent callers share round trips. Every caller's deadline
	// still holds; one whose context ends returns at once and leaves its command to
	// run.
	Batch bool

	// AllowNoTTL permits a TTL of 0, which stores a value without an end. It
	// needs a namespace whose records need not expire.
	AllowNoTTL bool

	// Schedule says what expiry events carry, in a namespace with shards.
	Schedule Schedule

	// OnRefused is called for every record that is there and was refused. It runs
	// on the caller's goroutine, from many at once, and should be quick.
	OnRefused func(Refusal)
}

func (o *Options) orDefault() Options {
	if o == nil {
		return Options{}
	}
	return *o
}

func (o Options) validate(ring *keys.Ring) error {
	if o.AllowNoTTL && ring.Layout().MaxLife > 0 {
		return errors.New("securecache: AllowNoTTL needs a namespace that was created without a maximum life")
	}
	return nil
}

// SetOption tunes one write.
type SetOption func(*write)

// MaxLife lets the value's TTL be renewed with [Cache.Touch] until d after the
// write, which becomes the record's own end. Without it that end is the TTL
// given, and a touch cannot pass it.
func MaxLife(d time.Duration) SetOption {
	return func(w *write) { w.life = d }
}

// write is how long one record lives: ttl on the server, life by its own word.
type write struct{ ttl, life time.Duration }

func (c *Cache) newWrite(ttl time.Duration, options []SetOption) (write, error) {
	w := write{ttl: ttl, life: ttl}
	if len(options) > 0 {
		w = w.with(options)
	}
	switch {
	case ttl == 0 && w.life == 0 && c.options.AllowNoTTL:
		return w, nil
	case ttl == 0 && w.life == 0:
		return w, ErrNoTTL
	case ttl < time.Millisecond:
		return w, fmt.Errorf("%w: of a millisecond at least", ErrNoTTL)
	case w.life < ttl:
		return w, fmt.Errorf("%w: not longer than the maximum life", ErrNoTTL)
	}
	return w, nil
}

// with applies options, which move w to the heap: hence a function of its own.
func (w write) with(options []SetOption) write {
	for _, o := range options {
		o(&w)
	}
	return w
}
