package session

import (
	"bytes"
	"context"
	"errors"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// Touch counts as use of the sessions that tokens stand for, and answers for
// each in its place: nil where it lives on for an idle window, or until its
// absolute end; otherwise the error that [Store.Get] would have given, or why it
// could not be renewed. It takes two round trips a node, however many tokens
// there are, and seals each record anew.
//
// It is for who holds sessions open without reading them, as a server of
// WebSockets does: call it a few times in an idle window. A session that is read
// needs no touch, and one that nobody uses should have none.
func (s *Store[T]) Touch(ctx context.Context, tokens []string) []error {
	errs := make([]error, len(tokens))
	keys, at := s.parseAll(tokens, errs)
	var renewals []renewal
	var calls []securecache.Call
	for n, r := range s.cache.Read(ctx, nil, keys) {
		made, err := s.anew(keys[n], r)
		if err != nil {
			errs[at[n]] = err
			continue
		}
		renewals = append(renewals, renewal{at[n], made})
		calls = append(calls, securecache.Call{
			Keys: append([]securecache.Key{made.key, made.index}, beside(s.cache, made.key)...),
			Args: made.args(bytes.Clone(r.ETag[:])),
		})
	}
	for n, reply := range s.cache.RunMany(ctx, lua.Update, calls) {
		errs[renewals[n].at] = s.renewed(renewals[n].made, reply)
	}
	return errs
}

// renewal is a record on its way to the server, and its token's place.
type renewal struct {
	at   int
	made *sealed
}

// parseAll returns the keys of those tokens that are some, and their places; the
// others' errors go into errs.
func (s *Store[T]) parseAll(tokens []string, errs []error) (keys []securecache.Key, at []int) {
	for i, token := range tokens {
		key, err := s.parse(token)
		if err != nil {
			errs[i] = err
			continue
		}
		keys, at = append(keys, key), append(at, i)
	}
	return keys, at
}

// anew seals again what was read.
func (s *Store[T]) anew(key securecache.Key, r securecache.Result) (*sealed, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	c, ok := parseContent(r.Value)
	if !ok {
		return nil, errContent
	}
	return s.seal(key, c)
}

// renewed says what became of a renewal. Where another record is there, somebody
// has written the session since it was read, which was use of it too.
func (s *Store[T]) renewed(made *sealed, reply lua.Outcome) error {
	if reply.Err != nil {
		return reply.Err
	}
	n, err := reply.Int()
	if err == nil {
		err = outcome{n: n}.done()
	}
	if err == nil || errors.Is(err, securecache.ErrConflict) {
		s.touched.due(made.key.String(), made.written)
		return nil
	}
	return err
}
