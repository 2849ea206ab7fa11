package session

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// List returns the sessions of subject at one moment, the oldest first. It does
// not count as use of them. What is in the subject's index and is not theirs, or
// does not open, is left out. A server that takes a session out of its index
// keeps it from being listed.
func (s *Store[T]) List(ctx context.Context, subject string) ([]*Session[T], error) {
	index, err := s.subjectKey(subject)
	if err != nil {
		return nil, err
	}
	entries, err := s.entries(ctx, []securecache.Key{index})
	if err != nil {
		return nil, err
	}
	var list []*Session[T]
	for _, e := range entries {
		item, theirs, err := s.open(ctx, e, subject)
		if err != nil {
			return nil, err
		}
		if !theirs {
			continue
		}
		session, err := s.decode(e.key, item, s.now())
		switch {
		case errors.Is(err, securecache.ErrMiss):
		case err != nil:
			return nil, err
		default:
			list = append(list, session)
		}
	}
	slices.SortStableFunc(list, func(a, b *Session[T]) int { return a.Created().Compare(b.Created()) })
	return list, nil
}

// DestroyAll ends all sessions of subject and returns how many there were. A
// session that is created meanwhile is ended, or was created after it. What is
// in the subject's index and does not open is removed too. It knows of no
// session that the server has taken out of the index.
func (s *Store[T]) DestroyAll(ctx context.Context, subject string) (int, error) {
	return s.RevokeBefore(ctx, subject, time.UnixMilli(math.MaxInt64))
}

// RevokeBefore is [Store.DestroyAll] for the sessions that were created before
// t, whatever has been written to them since.
func (s *Store[T]) RevokeBefore(ctx context.Context, subject string, t time.Time) (int, error) {
	index, err := s.subjectKey(subject)
	if err != nil {
		return 0, err
	}
	keys := []securecache.Key{index}
	for range patience {
		entries, err := s.entries(ctx, keys)
		if err != nil {
			return 0, err
		}
		end, stay, err := s.sort(ctx, entries, subject, t)
		if err != nil {
			return 0, err
		}
		shard := beside(s.cache, index)
		reply, err := s.cache.Run(ctx, lua.DestroyAll, slices.Concat([]securecache.Key{index}, shard, end, stay), len(end), len(shard)/2)
		if err != nil {
			return 0, err
		}
		whole, rest, err := pair(reply)
		if n, ok := rest.(int64); whole && ok {
			return int(n), nil
		}
		if err == nil {
			keys, err = members(index, rest)
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, securecache.ErrConflict
}

// sort tells what is to end from what is to stay.
func (s *Store[T]) sort(ctx context.Context, entries []entry, subject string, t time.Time) (end, stay []securecache.Key, err error) {
	for _, e := range entries {
		ends, err := s.before(ctx, e, subject, t)
		switch {
		case err != nil:
			return nil, nil, err
		case ends:
			end = append(end, e.key)
		default:
			stay = append(stay, e.key)
		}
	}
	return end, stay, nil
}

// patience is how often an index is read that others keep changing: a session of
// the subject was created each time.
const patience = 100

// before reports whether what an index names is to end: subject's session of
// before t, or what does not open. Another's is left alone.
func (s *Store[T]) before(ctx context.Context, e entry, subject string, t time.Time) (bool, error) {
	if e.record == nil {
		return true, nil
	}
	content, err := s.cache.Open(ctx, e.key, e.record)
	var refused *securecache.RefusedError
	if errors.Is(err, securecache.ErrMiss) || errors.As(err, &refused) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	c, ok := parseContent(content)
	return !ok || string(c.subject) == subject && c.created.Before(t), nil
}

// Revoke ends one session of subject, by its [Session.ID], and reports whether
// there was one.
func (s *Store[T]) Revoke(ctx context.Context, subject, id string) (bool, error) {
	index, err := s.subjectKey(subject)
	if err != nil {
		return false, err
	}
	key, ok := member(index, id)
	if !ok {
		return false, nil
	}
	code, err := s.run(ctx, lua.Destroy, []securecache.Key{key, index}, "")
	return code.n == 1 || code.resent, err
}

// entry is what an index names: the record there, nil where there is none.
type entry struct {
	key    securecache.Key
	record []byte
}

// entries reads the whole of a subject's index, and what stands under each key,
// at one moment. keys are the index and the members that are known.
func (s *Store[T]) entries(ctx context.Context, keys []securecache.Key) ([]entry, error) {
	for range patience {
		reply, err := s.cache.Run(ctx, lua.Sessions, keys)
		if err != nil {
			return nil, err
		}
		whole, rest, err := pair(reply)
		if list, ok := rest.([]any); whole && ok && len(list) == len(keys)-1 {
			return zip(keys[1:], list), nil
		}
		if err == nil {
			keys, err = members(keys[0], rest)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, securecache.ErrConflict
}

// members are the keys that an index's members name, behind the index itself.
func members(index securecache.Key, reply any) ([]securecache.Key, error) {
	list, ok := reply.([]any)
	if !ok {
		return nil, errReply
	}
	keys := []securecache.Key{index}
	for _, m := range list {
		id, _ := m.(string)
		key, ok := member(index, id)
		if !ok {
			return nil, errors.New("session: the subject's index names what is no session")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func zip(keys []securecache.Key, records []any) []entry {
	entries := make([]entry, len(keys))
	for i, k := range keys {
		entries[i].key = k
		if record, ok := records[i].(string); ok {
			entries[i].record = []byte(record)
		}
	}
	return entries
}

// open opens what an index names, and reports whether it is subject's.
func (s *Store[T]) open(ctx context.Context, e entry, subject string) (securecache.Item, bool, error) {
	if e.record == nil {
		return securecache.Item{}, false, nil
	}
	value, err := s.cache.Open(ctx, e.key, e.record)
	var refused *securecache.RefusedError
	if errors.Is(err, securecache.ErrMiss) || errors.As(err, &refused) {
		return securecache.Item{}, false, nil
	}
	if err != nil {
		return securecache.Item{}, false, err
	}
	header, err := codec.ParseHeader(e.record)
	if err != nil {
		return securecache.Item{}, false, err
	}
	tag, _ := codec.ETagOf(e.record)
	c, _ := parseContent(value)
	return securecache.Item{Value: value, Written: header.Written, Expires: header.Expires, ETag: tag}, string(c.subject) == subject, nil
}

// pair reads a reply: whether the index was as it was known, and what follows
// from that.
func pair(reply lua.Reply) (whole bool, rest any, err error) {
	list, _ := reply.Value.([]any)
	if len(list) != 2 {
		return false, nil, errReply
	}
	return list[0] == int64(1), list[1], nil
}
