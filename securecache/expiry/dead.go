package expiry

import (
	"context"
	"errors"
	"iter"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// DeadLetter is an event that was claimed too often without being acknowledged.
type DeadLetter struct {
	// Event is what it says; zero where Err is not nil.
	Event Event
	// Err says why it does not open, where that is so: a [*securecache.RefusedError].
	Err error

	shard int
	field string
}

// portion is how many dead letters are read at once, about.
const portion = 100

// Dead returns the dead letters, in no order. Letters that come or go meanwhile
// may be there or not, and one may come twice. A letter is kept for as long as
// its event would be; those that are past it are removed on the way. An error
// ends it.
func (n *Notifier) Dead(ctx context.Context) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		for i := range n.shards {
			for cursor := "0"; ; {
				letters, next, err := n.letters(ctx, i, cursor)
				if err != nil {
					yield(DeadLetter{}, err)
					return
				}
				for _, letter := range letters {
					if !yield(letter, nil) {
						return
					}
				}
				if cursor = next; cursor == "0" {
					break
				}
			}
		}
	}
}

// letters reads a portion of a shard's dead letters.
func (n *Notifier) letters(ctx context.Context, shard int, cursor string) (letters []DeadLetter, next string, err error) {
	s := n.shards[shard]
	reply, err := n.cache.Run(ctx, lua.DeadLetters, []securecache.Key{s.dead}, cursor, portion)
	if err != nil {
		return nil, "", err
	}
	page, _ := reply.Value.([]any)
	if len(page) != 2 {
		return nil, "", errReply
	}
	next, ok1 := page[0].(string)
	list, ok2 := page[1].([]any)
	if !ok1 || !ok2 || len(list)%2 != 0 {
		return nil, "", errReply
	}
	for i := 0; i < len(list); i += 2 {
		field, ok1 := list[i].(string)
		payload, ok2 := list[i+1].(string)
		if !ok1 || !ok2 {
			return nil, "", errReply
		}
		letter := DeadLetter{shard: shard, field: field}
		e, err := n.cache.OpenEvent(ctx, s.base, field, []byte(payload))
		var refused *securecache.RefusedError
		switch {
		case errors.Is(err, securecache.ErrMiss):
			if _, err := n.Drop(ctx, letter); err != nil {
				return nil, "", err
			}
			continue
		case errors.As(err, &refused):
			letter.Err = err
		case err != nil:
			return nil, "", err
		default:
			letter.Event = event(e, n.options.MaxClaims)
		}
		letters = append(letters, letter)
	}
	return letters, next, nil
}

// Requeue makes dead letters due again, as if they had never been claimed, and
// returns how many were still dead. It may be repeated.
func (n *Notifier) Requeue(ctx context.Context, letters ...DeadLetter) (int, error) {
	return n.bury(ctx, lua.Requeue, letters, func(s shard) securecache.Call {
		return securecache.Call{Keys: []securecache.Key{s.due, s.events, s.dead}, Args: []any{s.wake.String()}}
	})
}

// Drop removes dead letters for good, and returns how many were still there. It
// may be repeated.
func (n *Notifier) Drop(ctx context.Context, letters ...DeadLetter) (int, error) {
	return n.bury(ctx, lua.DropLetters, letters, func(s shard) securecache.Call {
		return securecache.Call{Keys: []securecache.Key{s.dead}}
	})
}

// bury runs a script on the letters of each shard, some at a time.
func (n *Notifier) bury(ctx context.Context, script *lua.Script, letters []DeadLetter, start func(shard) securecache.Call) (int, error) {
	var calls []securecache.Call
	open := make(map[int]int) // by shard, the call that still has room
	for _, letter := range letters {
		i, there := open[letter.shard]
		if !there || len(calls[i].Args) > portion {
			i = len(calls)
			open[letter.shard] = i
			calls = append(calls, start(n.shards[letter.shard]))
		}
		calls[i].Args = append(calls[i].Args, letter.field)
	}
	total := 0
	var first error
	for _, outcome := range n.cache.RunMany(ctx, script, calls) {
		count, err := outcome.Int()
		if outcome.Err != nil {
			err = outcome.Err
		}
		if err != nil && first == nil {
			first = err
		}
		total += int(count)
	}
	return total, first
}
