package session

import (
	"context"
	"errors"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// ErrDestroyed says that a session was not stored, since it was deleted while
// the request that stores it was under way.
var ErrDestroyed = errors.New("session: destroyed meanwhile")

// SCS is a store for the session manager of github.com/alexedwards/scs/v2,
// whose CtxStore it is without importing it. It is safe for concurrent use.
//
// It has no AllCtx, so that the manager's Iterate panics: tokens are stored
// nowhere, and AllCtx would have to return them.
//
// The manager's commit carries no version: of two requests that change one
// session, the last one's whole session stays. One that was deleted is kept from
// coming back by a tombstone, for Options.Idle: give no less than a request may
// take.
type SCS struct {
	cache   *securecache.Cache
	options Options
}

// NewSCS returns a store on the cache's namespace. Of the options, which may be
// nil, Idle and Realm count: how long sessions live is for the manager to say.
func NewSCS(c *securecache.Cache, o *Options) (*SCS, error) {
	if c == nil {
		return nil, errors.New("session: a cache is needed")
	}
	s := &SCS{cache: c, options: o.orDefault()}
	return s, s.options.validate()
}

// FindCtx returns what was committed under token, false where there is nothing,
// or nothing any more. A record that is refused has been reported and counts as
// nothing.
func (s *SCS) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if token == "" {
		return nil, false, nil
	}
	key, err := s.key(token)
	if err != nil {
		return nil, false, err
	}
	item, err := s.cache.ItemAt(ctx, key)
	if err != nil {
		if _, refused := errors.AsType[*securecache.RefusedError](err); refused || errors.Is(err, securecache.ErrMiss) {
			err = nil
		}
		return nil, false, err
	}
	c, ok := parseContent(item.Value)
	if !ok {
		return nil, false, errContent
	}
	return c.value, true, nil
}

// CommitCtx stores b under token until expiry, in the place of what is there;
// where that has passed, what is there goes. [ErrDestroyed] where it was deleted
// less than Options.Idle ago.
func (s *SCS) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	key, tombstone, err := s.keys(token)
	if err != nil {
		return err
	}
	now := s.cache.Now()
	ttl := expiry.Sub(now).Milliseconds()
	if ttl < 1 {
		_, err := run(ctx, s.cache, lua.Destroy, []securecache.Key{key, key}, "")
		return err
	}
	record, err := s.cache.Seal(key, expiry, content{created: now, ends: expiry, value: b}.encode())
	if err != nil {
		return err
	}
	event, err := announce(s.cache, key, "", expiry.Sub(now))
	if err != nil {
		return err
	}
	code, err := run(ctx, s.cache, lua.Commit, []securecache.Key{key, tombstone}, append([]any{record, ttl}, event...)...)
	if err == nil && code.n == 0 {
		err = ErrDestroyed
	}
	return err
}

// DeleteCtx removes what is stored under token. That there is nothing is no
// error.
func (s *SCS) DeleteCtx(ctx context.Context, token string) error {
	if token == "" {
		return nil
	}
	key, tombstone, err := s.keys(token)
	if err != nil {
		return err
	}
	_, err = run(ctx, s.cache, lua.Bury, []securecache.Key{key, tombstone}, s.options.Idle.Milliseconds())
	return err
}

// withoutContext bounds the calls that have no context of their own.
const withoutContext = 5 * time.Second

// Find is [SCS.FindCtx] with five seconds' time. The manager does not call it.
func (s *SCS) Find(token string) ([]byte, bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), withoutContext)
	defer cancel()
	return s.FindCtx(ctx, token)
}

// Commit is [SCS.CommitCtx] with five seconds' time. The manager does not call
// it.
func (s *SCS) Commit(token string, b []byte, expiry time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), withoutContext)
	defer cancel()
	return s.CommitCtx(ctx, token, b, expiry)
}

// Delete is [SCS.DeleteCtx] with five seconds' time. The manager does not call
// it.
func (s *SCS) Delete(token string) error {
	ctx, cancel := context.WithTimeout(context.Background(), withoutContext)
	defer cancel()
	return s.DeleteCtx(ctx, token)
}

// key returns where a token's record stands.
func (s *SCS) key(token string) (securecache.Key, error) {
	return s.cache.Key(codec.KindSession, qualified(s.options.Realm, token))
}

// keys returns where a token's record stands, and its tombstone.
func (s *SCS) keys(token string) (record, tombstone securecache.Key, err error) {
	if record, err = s.key(token); err == nil {
		tombstone, err = securecache.ParseKey(under(codec.KindSubject, record))
	}
	return record, tombstone, err
}
