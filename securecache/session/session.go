package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// Store keeps sessions whose values are of type T. It is safe for concurrent
// use as far as its marshaler is. Errors are those of securecache:
// [securecache.ErrMiss], [securecache.ErrConflict] and
// [securecache.ErrOutcomeUnknown] where a caller branches.
type Store[T any] struct {
	cache   *securecache.Cache
	m       codec.Marshaler[T]
	options Options
	touched *touched
}

// New returns the sessions of the cache's namespace whose values m writes. o may
// be nil. The tag of a cache is of no account. It is an error where no record of
// the namespace may live as long as the timeouts say.
func New[T any](c *securecache.Cache, m codec.Marshaler[T], o *Options) (*Store[T], error) {
	if c == nil || m == nil {
		return nil, errors.New("session: a cache and a marshaler are needed")
	}
	options := o.orDefault()
	if err := options.validate(); err != nil {
		return nil, err
	}
	s := &Store[T]{cache: c, m: m, options: options, touched: newTouched(options.Idle / 10)}
	return s, s.trial()
}

// trial seals what could be a session, and throws it away.
func (s *Store[T]) trial() error {
	key, err := s.key(randomSlot(), "trial")
	if err != nil {
		return err
	}
	now := s.now()
	if _, err = s.seal(key, content{created: now, ends: now.Add(s.options.Absolute)}); err != nil {
		return fmt.Errorf("session: Options.Idle and Options.Absolute: %w", err)
	}
	return nil
}

// Session is a session as it was read. It is not safe for concurrent use.
type Session[T any] struct {
	// Value is the caller's own; [Store.Update] writes what it is then.
	Value T

	key           securecache.Key
	etag          codec.ETag
	content       []byte // as it was sealed
	written, ends time.Time
	expires       time.Time // the record's end
}

// Subject returns whose session it is, "" for nobody's.
func (s *Session[T]) Subject() string { return string(s.parts().subject) }

// Created returns when the session was created: no update moves it, nor a new
// token.
func (s *Session[T]) Created() time.Time { return s.parts().created }

// Written returns when the record was last sealed: by a write, or because the
// session was in use while an idle window went by.
func (s *Session[T]) Written() time.Time { return s.written }

// Ends returns the absolute end.
func (s *Session[T]) Ends() time.Time { return s.ends }

// parts are what the content holds. They are not kept, since most that is read is
// gone before anybody asks.
func (s *Session[T]) parts() content {
	c, _ := parseContent(s.content)
	return c
}

// ID returns the name by which [Store.Revoke] knows the session. It can be
// shown to the subject: it is no token, and nobody can make one of it.
func (s *Session[T]) ID() string { return idOf(s.key) }

// Create begins a session of subject, "" for nobody's, and returns its token.
func (s *Store[T]) Create(ctx context.Context, subject string, value T) (string, error) {
	token, _, err := s.begin(ctx, subject, value)
	return token, err
}

// begin is Create, and returns the session as Get would.
func (s *Store[T]) begin(ctx context.Context, subject string, value T) (string, *Session[T], error) {
	b, err := s.encode(value)
	if err != nil {
		return "", nil, err
	}
	slot := randomSlot()
	if subject != "" {
		if slot, _, err = s.cache.Tagged(subject).Slot(); err != nil {
			return "", nil, err
		}
	}
	for attempt := 1; ; attempt++ {
		now := s.now()
		token, made, err := s.create(ctx, slot, content{[]byte(subject), now, now.Add(s.options.Absolute), b})
		// What was perhaps created is nobody's: its token was told to no one, and
		// it ends when it has been idle. Sent again, the command could bring back a
		// session that was destroyed meanwhile.
		if errors.Is(err, securecache.ErrOutcomeUnknown) && attempt < attempts && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		made.Value = value
		return token, made, nil
	}
}

// attempts is how often something is tried that others keep from succeeding.
const attempts = 8

func (s *Store[T]) create(ctx context.Context, slot securecache.Slot, c content) (string, *Session[T], error) {
	token, made, err := s.place(slot, c)
	if err != nil {
		return "", nil, err
	}
	code, err := s.run(ctx, lua.Create, []securecache.Key{made.key, made.index}, made.args()...)
	switch {
	case err != nil:
		return "", nil, err
	case code.n != 1:
		return "", nil, errors.New("session: the new token is in use: see to the random source")
	}
	return token, s.adopt(made, c), nil
}

// Get returns the session that token stands for: [securecache.ErrMiss] where
// there is none, or none any more, or token is no token; a
// [*securecache.RefusedError] where what is there does not open. It counts as
// use of the session.
func (s *Store[T]) Get(ctx context.Context, token string) (*Session[T], error) {
	key, err := s.parse(token)
	if err != nil {
		return nil, err
	}
	found, now, err := s.find(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := s.renew(ctx, found, now); err != nil {
		return nil, err
	}
	return found, nil
}

// Update writes the session's value if nobody has written it since it was read,
// and else fails with [securecache.ErrConflict] and writes nothing.
// [securecache.ErrMiss] says that it was destroyed or has ended: it stays so.
// After [securecache.ErrOutcomeUnknown] read it again. It counts as use of the
// session, and can be called again with the same one.
func (s *Store[T]) Update(ctx context.Context, session *Session[T]) error {
	b, err := s.encode(session.Value)
	if err != nil {
		return err
	}
	next := session.parts()
	next.value = b
	return s.retry(ctx, session, func() error { return s.write(ctx, session, next) })
}

// Regenerate gives the session another token, for when what it may do changes;
// the old one stands for nothing any more. Value, subject, creation and absolute
// end stay. [securecache.ErrMiss] where there is no session. After
// [securecache.ErrOutcomeUnknown] the old token may be gone.
func (s *Store[T]) Regenerate(ctx context.Context, token string) (string, error) {
	token, _, err := s.move(ctx, token)
	return token, err
}

// move is Regenerate, and returns the session as Get would.
func (s *Store[T]) move(ctx context.Context, token string) (string, *Session[T], error) {
	key, err := s.parse(token)
	if err != nil {
		return "", nil, err
	}
	slot, _, _ := parseToken(token)
	for range attempts {
		found, _, err := s.find(ctx, key)
		if err != nil {
			return "", nil, err
		}
		token, moved, err := s.moveOne(ctx, slot, found)
		if !errors.Is(err, securecache.ErrConflict) {
			return token, moved, err
		}
	}
	return "", nil, securecache.ErrConflict
}

func (s *Store[T]) moveOne(ctx context.Context, slot securecache.Slot, from *Session[T]) (string, *Session[T], error) {
	c := from.parts()
	token, made, err := s.place(slot, c)
	if err != nil {
		return "", nil, err
	}
	code, err := s.run(ctx, lua.Regenerate, []securecache.Key{from.key, made.indexOf(from.key), made.key}, made.args(bytes.Clone(from.etag[:]))...)
	if err == nil {
		// Nobody knows the new token yet, so after a lost reply, too, another
		// record under the old key says that the session was not moved.
		err = code.done()
	}
	if err != nil {
		return "", nil, err
	}
	moved := s.adopt(made, c)
	moved.Value = from.Value
	return token, moved, nil
}

// Login begins a session of subject and ends the one before it, which may be
// nil: a visitor's, whose token somebody else may have planted. It fails with
// [securecache.ErrConflict], and ends nothing, where somebody has written that
// session since it was read.
func (s *Store[T]) Login(ctx context.Context, before *Session[T], subject string, value T) (string, error) {
	token, _, err := s.login(ctx, before, subject, value)
	return token, err
}

func (s *Store[T]) login(ctx context.Context, before *Session[T], subject string, value T) (string, *Session[T], error) {
	token, made, err := s.begin(ctx, subject, value)
	if err != nil || before == nil {
		return token, made, err
	}
	err = s.retry(ctx, before, func() error { return s.end(ctx, before, bytes.Clone(before.etag[:])) })
	if err == nil || errors.Is(err, securecache.ErrMiss) {
		return token, made, nil
	}
	_ = s.Destroy(ctx, token) // nobody knows it: it ends by itself otherwise
	return "", nil, err
}

// Destroy ends the session that token stands for. That there is none is no
// error. It does not need the record to open.
func (s *Store[T]) Destroy(ctx context.Context, token string) error {
	key, err := s.parse(token)
	if errors.Is(err, securecache.ErrMiss) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.run(ctx, lua.Destroy, []securecache.Key{key, key}, "")
	return err
}

// end destroys a session that was read; with an etag, only if it is still that.
func (s *Store[T]) end(ctx context.Context, session *Session[T], etag []byte) error {
	index, err := s.index(session.key, session.Subject())
	if err != nil {
		return err
	}
	code, err := s.run(ctx, lua.Destroy, []securecache.Key{session.key, index}, etag)
	if err == nil && code.n == 0 {
		err = securecache.ErrConflict
	}
	return err
}

// find reads the session at key without renewing it, and says when it lived.
func (s *Store[T]) find(ctx context.Context, key securecache.Key) (*Session[T], time.Time, error) {
	item, err := s.cache.ItemAt(ctx, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	now := s.now()
	session, err := s.decode(key, item, now)
	return session, now, err
}

var errContent = errors.New("session: a record is of a form that this version does not know")

// decode reads what was opened.
func (s *Store[T]) decode(key securecache.Key, item securecache.Item, now time.Time) (*Session[T], error) {
	c, ok := parseContent(item.Value)
	if !ok {
		return nil, errContent
	}
	session := &Session[T]{
		key: key, etag: item.ETag, content: item.Value, written: item.Written, expires: item.Expires,
		ends: s.ends(c),
	}
	if !now.Before(session.ends) {
		return nil, securecache.ErrMiss
	}
	if s.m.Unmarshal(c.value, &session.Value) != nil {
		// What a marshaler says may quote the value.
		return nil, fmt.Errorf("session: the stored value is no %T", session.Value)
	}
	return session, nil
}

// renew keeps a session that was read alive, unless this process did so of late.
func (s *Store[T]) renew(ctx context.Context, session *Session[T], now time.Time) error {
	if !s.touched.due(session.key.String(), now) {
		return nil
	}
	var err error
	if session.expires.Sub(now) < s.options.Idle && session.expires.Before(session.ends) {
		err = s.write(ctx, session, session.parts())
	} else {
		err = s.touch(ctx, session, now)
	}
	switch {
	case errors.Is(err, securecache.ErrMiss):
		return err // destroyed since it was read
	case err != nil && !errors.Is(err, securecache.ErrConflict) && s.options.OnError != nil:
		s.options.OnError(err)
	}
	return nil
}

func (s *Store[T]) touch(ctx context.Context, session *Session[T], now time.Time) error {
	ttl := max(min(s.options.Idle, session.ends.Sub(now)), time.Millisecond)
	_, err := s.cache.TouchAt(ctx, session.key, eventName(session.key, session.Subject()), ttl, securecache.Shorten())
	return err
}

// write seals c anew and puts it in the place of the session's record, which
// must be the one that was read.
func (s *Store[T]) write(ctx context.Context, session *Session[T], c content) error {
	made, err := s.seal(session.key, c)
	if err != nil {
		return err
	}
	code, err := s.run(ctx, lua.Update, []securecache.Key{made.key, made.index}, made.args(bytes.Clone(session.etag[:]))...)
	if err == nil {
		err = code.done()
	}
	switch {
	case errors.Is(err, securecache.ErrConflict) && code.resent:
		return securecache.ErrOutcomeUnknown // somebody may have followed on our own write
	case err != nil:
		return err
	}
	value := session.Value
	*session = *s.adopt(made, c)
	session.Value = value
	return nil
}

// retry does something to a session that was read. Where its record has been
// sealed anew meanwhile and says the same, by a reader or after a rotation of
// keys, nothing was lost, and it is done to that one.
func (s *Store[T]) retry(ctx context.Context, session *Session[T], do func() error) error {
	err := do()
	for n := 1; n < attempts && errors.Is(err, securecache.ErrConflict); n++ {
		item, readErr := s.cache.ItemAt(ctx, session.key)
		if readErr != nil {
			return readErr
		}
		if !bytes.Equal(item.Value, session.content) {
			return err
		}
		session.etag, session.expires = item.ETag, item.Expires
		err = do()
	}
	return err
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (s *Store[T]) encode(value T) ([]byte, error) {
	b, err := s.m.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("session: a %T could not be marshaled", value)
	}
	return b, nil
}
