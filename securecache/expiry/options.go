package expiry

import (
	"errors"
	"time"

	"github.com/securecache/securecache-go/codec"
)

// Options tune a [Notifier]; nil and the zero value mean the defaults.
type Options struct {
	// Visibility is how long a handler has. An event that is not acknowledged by
	// then comes back, here or in another process. 30 seconds unless set.
	Visibility time.Duration

	// MaxClaims is how often an event is claimed before it becomes a dead letter.
	// 5 unless set.
	MaxClaims int

	// Concurrency is how many handlers run at once. 16 unless set.
	Concurrency int

	// Batch is how many events may be claimed ahead of those that are being
	// handled. They wait within their Visibility, so choose a small one for slow
	// handlers. 64 unless set.
	Batch int

	// Doorbell listens to the server's keyspace events in the place of the
	// schedule. MaxClaims and Visibility then mean nothing.
	Doorbell bool

	// EnableNotifications has the doorbell switch the keyspace events on that it
	// needs, on every master, until the server restarts. It takes a login that may
	// CONFIG GET and CONFIG SET. Without it, a server that does not send them is
	// an error.
	EnableNotifications bool

	// Kinds are the kinds of keys that the doorbell tells of, values unless set.
	Kinds []codec.Kind

	// OnError is told what goes wrong while Listen goes on: troubles with the
	// server, handlers' errors, panics as [*PanicError]. It is called from many
	// goroutines and should be quick.
	OnError func(error)
}

const (
	defaultVisibility  = 30 * time.Second
	defaultMaxClaims   = 5
	defaultConcurrency = 16
	defaultBatch       = 64
	largestBatch       = 1024
	largestConcurrency = 4096
)

func (o *Options) orDefault() Options {
	var out Options
	if o != nil {
		out = *o
	}
	set(&out.Visibility, defaultVisibility)
	set(&out.MaxClaims, defaultMaxClaims)
	set(&out.Concurrency, defaultConcurrency)
	set(&out.Batch, defaultBatch)
	if out.Kinds == nil {
		out.Kinds = []codec.Kind{codec.KindValue}
	}
	if out.OnError == nil {
		out.OnError = func(error) {}
	}
	return out
}

func set[T time.Duration | int](field *T, preset T) {
	if *field == 0 {
		*field = preset
	}
}

func (o Options) validate() error {
	switch {
	case o.Visibility < time.Millisecond:
		return errors.New("expiry: Options.Visibility is under a millisecond")
	case o.MaxClaims < 1:
		return errors.New("expiry: Options.MaxClaims is not positive")
	case o.Concurrency < 1 || o.Concurrency > largestConcurrency:
		return errors.New("expiry: Options.Concurrency is not between 1 and 4096")
	case o.Batch < 1 || o.Batch > largestBatch:
		return errors.New("expiry: Options.Batch is not between 1 and 1024")
	case o.EnableNotifications && !o.Doorbell:
		return errors.New("expiry: Options.EnableNotifications is the doorbell's: the schedule needs none")
	}
	return nil
}
