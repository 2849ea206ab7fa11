package expiry

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/securecache/securecache-go/securecache"
)

// Event says that a deadline was set and has passed.
type Event struct {
	// ID is the same for all deliveries of an event, and no other event has it:
	// what a handler remembers to act only once. It is blinded, unless the
	// namespace has plain names. Empty for the doorbell's.
	ID string
	// Key is where the value stood, a blinded name unless the namespace has plain
	// names.
	Key securecache.Key
	// Name is the value's name, which is not blinded. Under a tag, names are
	// others than without it. Empty for the doorbell's.
	Name string
	// Deadline is when the value's TTL ended, by the clock of the process that set
	// it. Zero for the doorbell's.
	Deadline time.Time
	// Value is the copy of the value that [securecache.Schedule] asked for, nil
	// where there is none.
	Value []byte
	// Attempt counts the claims of this event, from 1. Zero for the doorbell's.
	Attempt int
}

// Handler is called for each event, several at once. When it returns nil, the
// event is acknowledged; when it returns an error or panics, the event comes
// back. Its context ends with Listen's, and when the event's visibility does.
type Handler func(ctx context.Context, e Event) error

var (
	// ErrNoSchedule says that a namespace was created without shards, and so
	// keeps no schedule.
	ErrNoSchedule = errors.New("expiry: the namespace has no schedule: it was created without shards")

	// ErrNoNotifications says that a server does not send the keyspace events that
	// the doorbell hears.
	ErrNoNotifications = errors.New("expiry: the server sends no events of expired keys: its notify-keyspace-events must have E and x")

	// ErrEarly says that an event was claimed whose deadline is still ahead: the
	// server gave it out before its time, or a clock is wrong.
	ErrEarly = errors.New("expiry: an event came before its deadline and was refused")
)

// PanicError is a panic of a handler.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("expiry: a handler panicked: %v", e.Value) }

// Notifier delivers the expiry events of a namespace. It is safe for concurrent
// use, and holds nothing that needs closing.
type Notifier struct {
	cache   *securecache.Cache
	options Options
	shards  []shard
	counts  counts
}

// shard names the Redis keys of one shard of the schedule, and its channel.
type shard struct{ base, due, events, tries, dead, wake securecache.Key }

// New returns a notifier for c's namespace: [ErrNoSchedule] where that has no
// shards, unless the doorbell was asked for. The cache remains the caller's to
// close, after Listen has returned.
func New(c *securecache.Cache, o *Options) (*Notifier, error) {
	if c == nil {
		return nil, errors.New("expiry: a cache is needed")
	}
	n := &Notifier{cache: c, options: o.orDefault()}
	if err := n.options.validate(); err != nil {
		return nil, err
	}
	for _, base := range c.Shards() {
		n.shards = append(n.shards, shard{
			base: base, due: base.Part("due"), events: base.Part("event"), tries: base.Part("tries"),
			dead: base.Part("dead"), wake: base.Part("wake"),
		})
	}
	if len(n.shards) == 0 && !n.options.Doorbell {
		return nil, ErrNoSchedule
	}
	return n, nil
}

// Listen is [New] and [Notifier.Listen].
func Listen(ctx context.Context, c *securecache.Cache, handle Handler, o *Options) error {
	n, err := New(c, o)
	if err != nil {
		return err
	}
	return n.Listen(ctx, handle)
}

// Listen delivers events to handle until ctx ends, and returns ctx's error. It
// waits for the handlers that are running; what it has claimed and not begun, it
// gives back for others to take at once. It returns early only where it cannot
// work at all: [ErrNoNotifications].
func (n *Notifier) Listen(ctx context.Context, handle Handler) error {
	if handle == nil {
		return errors.New("expiry: a handler is needed")
	}
	if n.options.Doorbell {
		return n.ring(ctx, handle)
	}
	return newListener(n, handle).run(ctx)
}

// event makes an Event of what the schedule held.
func event(e securecache.Event, attempt int) Event {
	return Event{
		ID:  e.Key.Binding().ID + "@" + strconv.FormatInt(e.Deadline.UnixMilli(), 10),
		Key: e.Key, Name: e.Name, Deadline: e.Deadline, Value: e.Value, Attempt: attempt,
	}
}
