package securecache

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
)

// Schedule says what the events of a namespace with shards carry: the package
// expiry delivers them. All processes of a namespace should have it alike.
// Where there are no shards there are no events, and it does nothing.
type Schedule struct {
	// Retention is how long after its deadline an event can be delivered; what
	// nobody has taken by then is lost. 24 hours, or a quarter of the namespace's
	// longest life where that is less, unless set. No TTL may come closer to that
	// longest life.
	Retention time.Duration
	// CopyValue has an event carry a copy of the value, which stays readable as
	// long as the event is. It makes values twice as large on the server.
	CopyValue bool
}

const longestRetention = 24 * time.Hour

func (s Schedule) withDefaults(maxLife time.Duration) Schedule {
	if s.Retention == 0 {
		s.Retention = longestRetention
		if maxLife > 0 {
			s.Retention = min(s.Retention, maxLife/4)
		}
	}
	return s
}

func (s Schedule) validate(maxLife time.Duration) error {
	switch {
	case s.Retention < 0:
		return errors.New("securecache: Schedule.Retention is negative")
	case maxLife > 0 && s.Retention >= maxLife:
		return errors.New("securecache: Schedule.Retention leaves no room for a TTL within the namespace's longest life")
	}
	return nil
}

// schedule is how a cache keeps the deadlines of what it stores. It is nil in a
// namespace without shards.
type schedule struct {
	Schedule
	maxLife time.Duration
	shards  []shard
}

// shard has the Redis keys of one shard. Its base is a name only.
type shard struct {
	base              Key
	due, events, wake string
}

func newSchedule(ring *keys.Ring, s Schedule) (*schedule, error) {
	layout := ring.Layout()
	if layout.Shards == 0 {
		return nil, nil
	}
	s = s.withDefaults(layout.MaxLife)
	if err := s.validate(layout.MaxLife); err != nil {
		return nil, err
	}
	sched := &schedule{Schedule: s, maxLife: layout.MaxLife, shards: make([]shard, layout.Shards)}
	for i := range sched.shards {
		text := fmt.Sprintf("%s:%s:%s:{%02x}", layout.Prefix, ring.Namespace(), codec.KindSchedule, i)
		base, err := ParseKey(text)
		if err != nil {
			return nil, err
		}
		sched.shards[i] = shard{
			base: base,
			due:  base.Part("due").text, events: base.Part("event").text, wake: base.Part("wake").text,
		}
	}
	return sched, nil
}

// Shards returns the keys of the namespace's expiry schedule, one a shard: names
// whose parts are the Redis keys and the channel that FORMAT.md lists. Nil where
// the namespace has no schedule.
func (c *Cache) Shards() []Key {
	if c.schedule == nil {
		return nil
	}
	bases := make([]Key, len(c.schedule.shards))
	for i := range bases {
		bases[i] = c.schedule.shards[i].base
	}
	return bases
}

// of returns the shard of a key, which stands in its braces.
func (s *schedule) of(k Key) *shard {
	var n [1]byte
	_, _ = hex.Decode(n[:], []byte(k.text[k.start+1:k.start+3]))
	return &s.shards[int(n[0])&(len(s.shards)-1)]
}

// longest is the longest TTL, which leaves room for the event's retention.
func (s *schedule) longest() time.Duration {
	if s.maxLife == 0 {
		return math.MaxInt64
	}
	return s.maxLife - s.Retention
}

func (s *shard) keys(k Key) []string { return []string{k.text, s.due, s.events} }

// Event is what an expiry event says: a deadline was set for what stood under
// Key, and it has passed. What it says is authenticated.
type Event struct {
	// Key is where the value stood.
	Key Key
	// Name is the value's name, which is not blinded.
	Name string
	// Deadline is when the value's TTL was to end, in whole milliseconds, by the
	// clock of the process that set it.
	Deadline time.Time
	// Value is the copy of the value, nil where none was taken.
	Value []byte
}

// Event returns the place of the event that announces what is stored under k.
// It is no Redis key, but what the event's payload is bound to.
func (k Key) Event() Key {
	return k.sibling(codec.KindExpiry, k.text[k.start:])
}

// eventUnder is the place of the event that a hash of the schedule k holds under
// field: behind a colon stands what tells an event that is owed from the next.
func (k Key) eventUnder(field string) Key {
	id, _, _ := strings.Cut(field, ":")
	return k.sibling(codec.KindExpiry, id)
}

// sibling is a key of the same namespace.
func (k Key) sibling(kind codec.Kind, id string) Key {
	text := k.text[:k.stem()] + ":" + kind.String() + ":" + id
	return Key{text: text, start: len(text) - len(id), kind: kind}
}

// holdsEvents reports whether k is a hash of events.
func (k Key) holdsEvents() bool {
	if k.kind != codec.KindSchedule {
		return false
	}
	_, part, _ := strings.Cut(k.text[k.start:], ":")
	return part == "event" || part == "dead"
}

// sealEvent makes the payload of e.
func (c *Cache) sealEvent(e Event) ([]byte, error) {
	b := make([]byte, 0, eventFixed+len(e.Name)+len(e.Value))
	b = append(b, byte(e.Key.kind))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Deadline.UnixMilli()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Name)))
	b = append(b, e.Name...)
	if e.Value == nil {
		b = append(b, 0)
	} else {
		b = append(append(b, 1), e.Value...)
	}
	return c.codec.Seal(nil, e.Key.Event().Binding(), e.Deadline.Add(c.schedule.Retention), b)
}

// eventFixed is what the content of a payload takes beyond name and value.
const eventFixed = 1 + 8 + 4 + 1

// OpenEvent opens a payload as the schedule of shard holds it under field.
// [ErrMiss] says that its retention has ended; a [*RefusedError] is reported and
// counted before it is returned.
func (c *Cache) OpenEvent(ctx context.Context, shard Key, field string, payload []byte) (Event, error) {
	place := shard.eventUnder(field)
	content, err := c.open(ctx, nil, &place, payload)
	var refused *RefusedError
	switch {
	case errors.Is(err, codec.ErrExpired):
		return Event{}, ErrMiss
	case errors.As(err, &refused):
		return Event{}, c.refuse(place, refused)
	case err != nil:
		return Event{}, c.failed(err)
	}
	event, ok := parseEvent(place, content)
	if !ok {
		return Event{}, c.refuse(place, &RefusedError{Reason: codec.ReasonContent})
	}
	return event, nil
}

// parseEvent reads what sealEvent wrote, false where it is not that.
func parseEvent(place Key, b []byte) (Event, bool) {
	if len(b) < eventFixed {
		return Event{}, false
	}
	kind, deadline, length := codec.Kind(b[0]), binary.BigEndian.Uint64(b[1:]), uint64(binary.BigEndian.Uint32(b[9:]))
	b = b[13:]
	if !kind.HoldsRecords() || deadline >= 1<<48 || length == 0 || length >= uint64(len(b)) {
		return Event{}, false
	}
	event := Event{Key: place.sibling(kind, place.text[place.start:]), Name: string(b[:length]), Deadline: time.UnixMilli(int64(deadline)).UTC()}
	mark, value := b[length], b[length+1:]
	switch {
	case mark == 1:
		event.Value = value
	case mark != 0 || len(value) > 0:
		return Event{}, false
	}
	return event, true
}
