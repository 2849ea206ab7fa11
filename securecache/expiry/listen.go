package expiry

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

const (
	// pace is the least time between two rounds of claims: what falls due within
	// it is claimed together.
	pace = 10 * time.Millisecond

	// replyTimeout bounds one round trip.
	replyTimeout = 5 * time.Second

	leastPause, longestPause = 50 * time.Millisecond, 5 * time.Second
)

// listener is one call of Listen: one goroutine hears messages, one claims,
// some handle, and one acknowledges.
type listener struct {
	*Notifier
	handle  Handler
	plan    *plan
	work    chan claim
	settled chan settlement
	byName  map[string]int // shards, by their channel
}

// claim is one event in hand.
type claim struct {
	shard   int
	field   string
	payload []byte
	try     int
	begin   time.Time // no later: then there is too little time left
	until   time.Time // then it comes back
}

func newListener(n *Notifier, handle Handler) *listener {
	window := n.options.Concurrency + n.options.Batch
	l := &listener{
		Notifier: n, handle: handle,
		plan: newPlan(len(n.shards), window, max(1, n.options.Batch/2)),
		// All that may be in hand fits, so nobody waits at either.
		work: make(chan claim, window), settled: make(chan settlement, window),
		byName: make(map[string]int, len(n.shards)),
	}
	for i, s := range n.shards {
		l.byName[s.wake.String()] = i
	}
	return l
}

func (l *listener) run(ctx context.Context) error {
	channels := make([]securecache.Key, len(l.shards))
	for i, s := range l.shards {
		channels[i] = s.wake
	}
	sub := l.cache.Subscribe(ctx, channels...)
	var hearing, handling, settling sync.WaitGroup
	hearing.Go(func() { l.hear(ctx, sub) })
	for range l.options.Concurrency {
		handling.Go(func() { l.handleAll(ctx, &handling) })
	}
	settling.Go(func() { l.settleAll(ctx) })

	l.claimAll(ctx)
	_ = sub.Close() // its only error is that it is closed
	hearing.Wait()
	close(l.work)
	handling.Wait()
	close(l.settled)
	settling.Wait()
	return context.Cause(ctx)
}

// hear follows the messages of writers.
func (l *listener) hear(ctx context.Context, sub *redis.PubSub) {
	messages := sub.ChannelWithSubscriptions()
	for {
		select {
		case <-ctx.Done():
			return
		case m, open := <-messages:
			if !open {
				return
			}
			l.told(m)
		}
	}
}

func (l *listener) told(message any) {
	switch m := message.(type) {
	case *redis.Subscription: // what was said before it is lost
		if i, known := l.byName[m.Channel]; known {
			l.plan.look(i, 0)
		}
	case *redis.Message:
		i, known := l.byName[m.Channel]
		ms, err := strconv.ParseInt(m.Payload, 10, 64)
		if known && err == nil && ms >= 0 && ms < recheck.Milliseconds() {
			l.plan.look(i, time.Duration(ms+1)*time.Millisecond)
		}
	}
}

// claimAll claims what is due whenever it is, until ctx ends.
func (l *listener) claimAll(ctx context.Context) {
	pause := leastPause
	for ctx.Err() == nil {
		which, each, next := l.plan.take(time.Now())
		if len(which) == 0 {
			wait(ctx, next, l.plan.changed)
			continue
		}
		err := l.claim(ctx, which, each)
		if err == nil || ctx.Err() != nil {
			pause = leastPause
			wait(ctx, pace, nil)
			continue
		}
		l.options.OnError(err)
		for _, i := range which {
			l.plan.look(i, pause)
		}
		wait(ctx, pause, nil)
		pause = min(2*pause, longestPause)
	}
}

// wait ends after d, with ctx, or when changed is signalled.
func wait(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-ctx.Done():
	}
}

// claim makes one round of claims. It returns the first error; what other
// shards gave is under way all the same.
func (l *listener) claim(ctx context.Context, which []int, each int) error {
	// Where the keyring has failed closed nothing opens: the events are better
	// left where they are.
	if _, _, err := l.cache.Slot(); err != nil {
		return err
	}
	calls := make([]securecache.Call, len(which))
	for n, i := range which {
		s := l.shards[i]
		calls[n] = securecache.Call{
			Keys: []securecache.Key{s.due, s.events, s.tries, s.dead},
			Args: []any{l.options.Visibility.Milliseconds(), l.options.MaxClaims, min(each, largestBatch)},
		}
	}
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	asked := time.Now()
	var first error
	var lag time.Duration
	outcomes := l.cache.RunMany(ctx, lua.Claim, calls)
	begin, until := l.times(asked, time.Now())
	for n, outcome := range outcomes {
		err := outcome.Err
		if err == nil {
			var late time.Duration
			late, err = l.claimed(claim{shard: which[n], begin: begin, until: until}, outcome.Value)
			lag = max(lag, late)
		}
		if err != nil && first == nil {
			first = err
		}
	}
	l.counts.lag.Store(int64(lag))
	return first
}

// times are those of claims that were asked for and answered then. The server
// counts from somewhere in between. However long the answer took, a handler has
// a third of the time, at the risk that another one begins as well: or events
// from a slow server would be given back for ever.
func (l *listener) times(asked, answered time.Time) (begin, until time.Time) {
	third := l.options.Visibility / 3
	until = asked.Add(l.options.Visibility)
	if least := answered.Add(2 * third); until.Before(least) {
		until = least
	}
	return answered.Add(third), until
}

// claimed hands out what one shard gave, and says how late that was.
func (l *listener) claimed(c claim, reply any) (time.Duration, error) {
	head, err := integers(reply, 5)
	if err != nil {
		return 0, err
	}
	next, late, lost, buried := head[0], head[2], head[3], head[4]
	l.counts.lost.Add(lost)
	l.counts.buried.Add(buried)
	for rest := reply.([]any)[5:]; len(rest) > 0; rest = rest[3:] {
		if len(rest) < 3 {
			return 0, errReply
		}
		field, ok1 := rest[0].(string)
		payload, ok2 := rest[1].(string)
		try, ok3 := rest[2].(int64)
		if !ok1 || !ok2 || !ok3 {
			return 0, errReply
		}
		l.plan.claimed(1)
		l.counts.claimed.Add(1)
		c.field, c.payload, c.try = field, []byte(payload), int(try)
		l.work <- c
	}
	if next >= 0 && next < recheck.Milliseconds() {
		l.plan.look(c.shard, time.Duration(next)*time.Millisecond)
	}
	return time.Duration(late) * time.Millisecond, nil
}
