package codec

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securecache/securecache-go/keys"
)

// Source gives the keys of one namespace. *keys.Keyring is one. Ring is called
// for every record and must be cheap and safe for concurrent use; its error,
// such as keys.ErrStale, is returned as it is.
type Source interface {
	Ring() (*keys.Ring, error)
}

const (
	defaultMaxValue = 16 << 20
	largestMaxValue = 512 << 20 // a Redis string ends there
)

// Options configure a Codec. A nil *Options and every zero field mean the
// default.
type Options struct {
	// Suite seals new records, AES256GCM by default. Records of both suites
	// are opened, except that ChaCha20Poly1305 is refused in FIPS 140-only
	// mode.
	Suite Suite
	// Compression is tried on the kinds that allow it (value, hash, job) and
	// kept where it saves a sixteenth. It makes a record's length depend on
	// its content: where single values mix what an attacker chooses with a
	// secret, use CompressionNone (the attack is known as CRIME).
	Compression Compression
	// Pad hides the exact length of the kinds that are not always padded.
	// Sessions, denylist entries, once-tokens and expiry payloads always are.
	Pad bool
	// MaxValue is the largest content to seal or open, in bytes; 16 MiB by
	// default and 512 MiB at most.
	MaxValue int
	// Now is the clock, the system's by default. That one is read through its
	// monotonic clock, and a step of it is noticed 10 ms late, as is the time that
	// passed while the process was stopped. In a bubble of testing/synctest that
	// holds for a codec that is made and used in that bubble alone.
	Now func() time.Time
}

func (o *Options) validate() error {
	switch {
	case o.Suite != AES256GCM && o.Suite != ChaCha20Poly1305:
		return errors.New("codec: Options.Suite is not a suite")
	case o.Suite == ChaCha20Poly1305 && fips140.Enforced():
		return errors.New("codec: Options.Suite: ChaCha20-Poly1305 is not allowed in FIPS 140-only mode")
	case o.Compression > CompressionZstd:
		return errors.New("codec: Options.Compression is not a compression")
	case o.MaxValue < 0 || o.MaxValue > largestMaxValue:
		return fmt.Errorf("codec: Options.MaxValue is not between 0 and %d", largestMaxValue)
	}
	return nil
}

// withDefaults returns a copy of o, which may be nil, with everything set.
func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	if out.Suite == 0 {
		out.Suite = AES256GCM
	}
	if out.MaxValue == 0 {
		out.MaxValue = defaultMaxValue
	}
	return out
}

// Codec seals and opens the records of one namespace. It is safe for
// concurrent use, holds no goroutine and needs no Close. It prints nothing of
// its keys.
type Codec struct {
	// What every record needs stands in front, in few cache lines.
	source   Source
	clock    clock
	readers  *readers
	revision atomic.Uint64                  // of the newest ring that has been followed
	writers  [suites]atomic.Pointer[writer] // by suite
	options  Options

	rotating sync.Mutex // held while a writer is replaced
	zstd     zstdCodec
}

// New returns a codec for the source's namespace. o may be nil.
func New(source Source, o *Options) (*Codec, error) {
	if source == nil {
		return nil, errors.New("codec: no source of keys")
	}
	options := o.withDefaults()
	if err := options.validate(); err != nil {
		return nil, err
	}
	z, err := newZstd(options.MaxValue)
	if err != nil {
		return nil, err
	}
	c := &Codec{source: source, options: options, zstd: z, readers: new(readers)}
	c.clock.begin(options.Now)
	return c, nil
}

// now returns the time in Unix milliseconds.
func (c *Codec) now() int64 { return c.clock.now() }

// Now returns the time by the clock that records are written and read by, in
// whole milliseconds.
func (c *Codec) Now() time.Time { return time.UnixMilli(c.now()) }

// Format prints the type's name under every verb.
func (c *Codec) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "codec.Codec") }

// ring returns the keys for a binding.
func (c *Codec) ring(b *Binding) (*keys.Ring, error) {
	ring, err := c.source.Ring()
	if err != nil {
		return nil, err
	}
	if ring.Namespace() != b.Namespace {
		return nil, ErrNamespace
	}
	if !b.Kind.HoldsRecords() {
		return nil, ErrKind
	}
	if ring.Revision() > c.revision.Load() {
		c.follow(ring)
	}
	return ring, nil
}

// follow forgets the sub-keys of keys that ring does not have any more.
func (c *Codec) follow(ring *keys.Ring) {
	for {
		seen := c.revision.Load()
		if ring.Revision() <= seen {
			return
		}
		// The revision goes first: whoever caches a sub-key looks at it
		// afterwards (remember), so one of the two sees the other.
		if c.revision.CompareAndSwap(seen, ring.Revision()) {
			break
		}
	}
	for i := range c.writers {
		if w := c.writers[i].Load(); w != nil && ring.Key(w.key) == nil {
			c.writers[i].CompareAndSwap(w, nil)
		}
	}
	c.readers.drop(func(id keys.ID) bool { return ring.Key(id) == nil })
}
