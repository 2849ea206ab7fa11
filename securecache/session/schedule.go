package session

import (
	"strings"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
)

// Ended reads an expiry event, as expiry.Listen hands it over, and returns whose
// session has ended and its [Session.ID]; false for an event of something else.
// A session that is destroyed is not announced. Sessions are announced in
// namespaces with shards; their events carry no copy of the value.
func Ended(key securecache.Key, name string) (subject, id string, ok bool) {
	id, subject, found := strings.Cut(name, ":")
	if key.Kind() != codec.KindSession || !found || id != idOf(key) {
		return "", "", false
	}
	return subject, id, true
}

func eventName(key securecache.Key, subject string) string { return idOf(key) + ":" + subject }

// beside returns the keys of a session's shard, none where the namespace has no
// schedule.
func beside(c *securecache.Cache, key securecache.Key) []securecache.Key {
	base, scheduled := c.Shard(key)
	if !scheduled {
		return nil
	}
	return []securecache.Key{base.Part("due"), base.Part("event")}
}

// announce returns what a script needs to schedule the end of a session that is
// kept for ttl from now on: nothing where the namespace has no schedule.
func announce(c *securecache.Cache, key securecache.Key, subject string, ttl time.Duration) ([]any, error) {
	base, scheduled := c.Shard(key)
	if !scheduled {
		return nil, nil
	}
	payload, err := c.SealEvent(securecache.Event{Key: key, Name: eventName(key, subject), Deadline: c.Now().Add(ttl)})
	if err != nil {
		return nil, err
	}
	return []any{payload, base.Part("wake").String()}, nil
}
