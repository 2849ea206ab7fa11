package expiry

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// clockAllowance is FORMAT.md's.
const clockAllowance = 5 * time.Minute

// verdict is what becomes of a claim.
type verdict int

const (
	leave    verdict = iota // it comes back when its visibility ends
	ack                     // it is removed
	giveBack                // it is due at once, as if it had not been claimed
)

type settlement struct {
	claim
	verdict
}

// handleAll handles claims until there will be no more.
func (l *listener) handleAll(ctx context.Context, handling *sync.WaitGroup) {
	var at *claim
	defer func() {
		if at != nil { // the handler ended its goroutine
			l.counts.failed.Add(1)
			l.settled <- settlement{*at, leave}
			handling.Go(func() { l.handleAll(ctx, handling) })
		}
	}()
	for c := range l.work {
		at = &c
		v := l.handleOne(ctx, c)
		at = nil
		if v == giveBack {
			l.counts.returned.Add(1)
		}
		l.settled <- settlement{c, v}
	}
}

func (l *listener) handleOne(ctx context.Context, c claim) verdict {
	if ctx.Err() != nil || time.Now().After(c.begin) {
		return giveBack
	}
	e, err := l.cache.OpenEvent(ctx, l.shards[c.shard].base, c.field, c.payload)
	var refused *securecache.RefusedError
	switch {
	case errors.Is(err, securecache.ErrMiss):
		l.counts.expired.Add(1)
		return ack
	case errors.As(err, &refused): // the cache has reported it
		l.counts.refused.Add(1)
		return leave
	case err != nil:
		l.options.OnError(err)
		return giveBack
	case e.Deadline.After(l.cache.Now().Add(clockAllowance)):
		l.counts.early.Add(1)
		l.options.OnError(ErrEarly)
		return leave
	}
	handling, cancel := context.WithDeadline(ctx, c.until)
	defer cancel()
	switch err := call(handling, l.handle, event(e, c.try)); {
	case err == nil:
		l.counts.delivered.Add(1)
		return ack
	case ctx.Err() != nil:
		return giveBack
	default:
		l.counts.failed.Add(1)
		l.options.OnError(err)
		return leave
	}
}

// call runs a handler and turns its panic into an error.
func call(ctx context.Context, handle Handler, e Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	if err := handle(ctx, e); err != nil {
		return fmt.Errorf("expiry: a handler failed: %w", err)
	}
	return nil
}

// settleAll tells the server what became of the claims, all that wait at once,
// until there will be no more. When ctx has ended it goes on, but tries nothing
// twice.
func (l *listener) settleAll(ctx context.Context) {
	var waiting []settlement
	pause := leastPause
	for open := true; open || len(waiting) > 0; {
		if len(waiting) == 0 {
			var s settlement
			if s, open = <-l.settled; !open {
				return
			}
			waiting = append(waiting, s)
		}
		waiting, open = l.collect(waiting, open)
		count := len(waiting)
		waiting = l.settle(waiting)
		if ctx.Err() != nil {
			waiting = nil
		}
		l.plan.settled(count - len(waiting))
		if len(waiting) == 0 {
			pause = leastPause
			continue
		}
		wait(ctx, pause, nil)
		pause = min(2*pause, longestPause)
	}
}

// collect adds what is there without waiting.
func (l *listener) collect(waiting []settlement, open bool) ([]settlement, bool) {
	for open {
		select {
		case s, more := <-l.settled:
			if !more {
				return waiting, false
			}
			waiting = append(waiting, s)
		default:
			return waiting, true
		}
	}
	return waiting, false
}

// settle returns what is worth another try: what the server could not be told
// and has not yet given to others.
func (l *listener) settle(all []settlement) (again []settlement) {
	ctx, cancel := context.WithTimeout(context.Background(), replyTimeout)
	defer cancel()
	acks, backs := make(map[int][]settlement), make(map[int][]settlement)
	for _, s := range all {
		switch s.verdict {
		case ack:
			acks[s.shard] = append(acks[s.shard], s)
		case giveBack:
			backs[s.shard] = append(backs[s.shard], s)
		}
	}
	again = l.tell(ctx, lua.Ack, acks, func(s shard, list []settlement) securecache.Call {
		call := securecache.Call{Keys: []securecache.Key{s.due, s.events, s.tries, s.dead}}
		for _, one := range list {
			call.Args = append(call.Args, one.field)
		}
		return call
	})
	return append(again, l.tell(ctx, lua.Unclaim, backs, func(s shard, list []settlement) securecache.Call {
		call := securecache.Call{Keys: []securecache.Key{s.due, s.tries}, Args: []any{s.wake.String()}}
		for _, one := range list {
			call.Args = append(call.Args, one.field, one.try)
		}
		return call
	})...)
}

// tell runs a script on every shard that has settlements.
func (l *listener) tell(ctx context.Context, script *lua.Script, by map[int][]settlement, make func(shard, []settlement) securecache.Call) (again []settlement) {
	if len(by) == 0 {
		return nil
	}
	var calls []securecache.Call
	var lists [][]settlement
	for i, list := range by {
		calls = append(calls, make(l.shards[i], list))
		lists = append(lists, list)
	}
	for i, outcome := range l.cache.RunMany(ctx, script, calls) {
		if outcome.Err == nil {
			continue
		}
		l.options.OnError(outcome.Err)
		for _, s := range lists[i] {
			if time.Now().Before(s.until) {
				again = append(again, s)
			}
		}
	}
	return again
}
