package session

import (
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
)

// sealed is a session's record on its way to the server.
type sealed struct {
	key, index      securecache.Key // the key twice where there is no subject
	content, record []byte
	written         time.Time
	expires         time.Time
	ttl             int64 // the server's, in milliseconds
	event           []any // what schedules its end
}

// args are a script's arguments: those given, and what it is to write.
func (r *sealed) args(first ...any) []any {
	return append(append(first, r.record, r.ttl), r.event...)
}

// indexOf is the index for a script whose record stands under key so far.
func (r *sealed) indexOf(key securecache.Key) securecache.Key {
	if r.index == r.key {
		return key
	}
	return r.index
}

// place seals c for a token that is made for it.
func (s *Store[T]) place(slot securecache.Slot, c content) (string, *sealed, error) {
	token, name := newToken(slot)
	key, err := s.key(slot, name)
	if err != nil {
		return "", nil, err
	}
	made, err := s.seal(key, c)
	return token, made, err
}

// seal makes the record of c that is to stand under key from now on:
// [securecache.ErrMiss] where the session has ended.
func (s *Store[T]) seal(key securecache.Key, c content) (*sealed, error) {
	now, ends := s.now(), s.ends(c)
	left := ends.Sub(now)
	if left < time.Millisecond {
		return nil, securecache.ErrMiss
	}
	made := &sealed{
		key: key, content: c.encode(), written: now,
		expires: earlier(ends, now.Add(2*s.options.Idle)), ttl: min(s.options.Idle, left).Milliseconds(),
	}
	var err error
	if made.index, err = s.index(key, string(c.subject)); err != nil {
		return nil, err
	}
	if made.record, err = s.cache.Seal(key, made.expires, made.content); err != nil {
		return nil, err
	}
	made.event, err = announce(s.cache, key, string(c.subject), min(s.options.Idle, left))
	return made, err
}

// adopt is the session, as yet without its value, whose record the server has
// just taken.
func (s *Store[T]) adopt(made *sealed, c content) *Session[T] {
	s.touched.due(made.key.String(), made.written)
	tag, _ := codec.ETagOf(made.record)
	return &Session[T]{
		key: made.key, etag: tag, content: made.content,
		written: made.written, expires: made.expires, ends: s.ends(c),
	}
}

// now is the cache's time as records hold it.
func (s *Store[T]) now() time.Time { return s.cache.Now().UTC() }

// ends is a session's absolute end: the one that it was created with, unless the
// timeout has become shorter.
func (s *Store[T]) ends(c content) time.Time {
	return earlier(c.ends, c.created.Add(s.options.Absolute))
}
