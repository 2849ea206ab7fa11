package session

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// idLength is that of a blinded name as it ends a Redis key.
const idLength = 22

func idOf(key securecache.Key) string {
	text := key.String()
	return text[len(text)-idLength:]
}

// qualified puts the realm, where there is one, before a name.
func qualified(realm, name string) string {
	if realm == "" {
		return name
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(realm)))
	return string(b) + realm + name
}

// parse returns the key of the session that token stands for.
func (s *Store[T]) parse(token string) (securecache.Key, error) {
	slot, name, ok := parseToken(token)
	if !ok {
		return securecache.Key{}, securecache.ErrMiss
	}
	return s.key(slot, string(name[:]))
}

func (s *Store[T]) key(slot securecache.Slot, name string) (securecache.Key, error) {
	return s.cache.InSlot(slot).Key(codec.KindSession, qualified(s.options.Realm, name))
}

// subjectKey is where subject's index stands.
func (s *Store[T]) subjectKey(subject string) (securecache.Key, error) {
	if subject == "" {
		return securecache.Key{}, fmt.Errorf("%w: a subject is needed", securecache.ErrName)
	}
	return s.cache.Tagged(subject).Key(codec.KindSubject, qualified(s.options.Realm, subject))
}

// index is what the scripts take for one: the session's own key where it has no
// subject.
func (s *Store[T]) index(key securecache.Key, subject string) (securecache.Key, error) {
	if subject == "" {
		return key, nil
	}
	return s.subjectKey(subject)
}

// member returns the key of the session that an index names. The server wrote
// the name, so it may be anything.
func member(index securecache.Key, id string) (securecache.Key, bool) {
	if raw, err := strict.DecodeString(id); err != nil || len(raw) != 16 || base64.RawURLEncoding.EncodeToString(raw) != id {
		return securecache.Key{}, false
	}
	// All but the id is the slot's.
	text := under(codec.KindSession, index)
	key, err := securecache.ParseKey(text[:len(text)-idLength] + id)
	return key, err == nil
}

// under returns what differs from a key in its kind alone.
func under(kind codec.Kind, key securecache.Key) string {
	parts := strings.SplitN(key.String(), ":", 4) // prefix and namespace have no colon
	parts[2] = kind.String()
	return strings.Join(parts, ":")
}

// outcome is what a script answered.
type outcome struct {
	n      int64
	resent bool
}

// done is nil for what was done, now or by a command whose reply was lost.
func (o outcome) done() error {
	switch {
	case o.n > 0:
		return nil
	case o.n == 0:
		return securecache.ErrConflict
	default:
		return securecache.ErrMiss
	}
}

func (s *Store[T]) run(ctx context.Context, script *lua.Script, keys []securecache.Key, args ...any) (outcome, error) {
	return run(ctx, s.cache, script, keys, args...)
}

// run calls a script on keys, the record's first, and those of its shard.
func run(ctx context.Context, c *securecache.Cache, script *lua.Script, keys []securecache.Key, args ...any) (outcome, error) {
	reply, err := c.Run(ctx, script, append(keys, beside(c, keys[0])...), args...)
	if err != nil {
		return outcome{}, err
	}
	n, err := reply.Int()
	return outcome{n, reply.Resent}, err
}

var errReply = errors.New("session: the server's reply to a script is of another form")
