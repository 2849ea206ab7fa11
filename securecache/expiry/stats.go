package expiry

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// Stats counts what a [Notifier] did since it was made.
type Stats struct {
	// Claimed counts events that were taken, Delivered those whose handler
	// returned nil, Failed those whose handler did not.
	Claimed, Delivered, Failed int64
	// Returned counts events that were given back unhandled.
	Returned int64
	// Buried counts events that became dead letters.
	Buried int64
	// Refused counts payloads that did not open, Early events whose deadline was
	// still ahead. Both are an attack, a broken writer or a wrong clock.
	Refused, Early int64
	// Expired counts events that nobody had taken while they were kept, Lost those
	// whose payload was gone.
	Expired, Lost int64
	// Dropped counts events of the doorbell that came faster than they were
	// handled.
	Dropped int64
	// Lag is how long the oldest event of the latest claim had been due.
	Lag time.Duration
}

type counts struct {
	claimed, delivered, failed, returned, buried, refused, early, expired, lost, dropped, lag atomic.Int64
}

// Stats returns the counts, each taken by itself.
func (n *Notifier) Stats() Stats {
	c := &n.counts
	return Stats{
		Claimed: c.claimed.Load(), Delivered: c.delivered.Load(), Failed: c.failed.Load(), Returned: c.returned.Load(),
		Buried: c.buried.Load(), Refused: c.refused.Load(), Early: c.early.Load(), Expired: c.expired.Load(),
		Lost: c.lost.Load(), Dropped: c.dropped.Load(), Lag: time.Duration(c.lag.Load()),
	}
}

// Depth is what the schedule holds at one time.
type Depth struct {
	// Scheduled counts all deadlines, those of Due and Claimed included.
	Scheduled int64
	// Due counts events that wait to be claimed.
	Due int64
	// Claimed counts events that were claimed and not acknowledged, whether a
	// handler is at work or they wait to come back.
	Claimed int64
	// Dead counts dead letters.
	Dead int64
	// Lag is how long the oldest event has been due, 0 where none is.
	Lag time.Duration
}

// Depth asks the server what the schedule holds, in one round trip a node.
func (n *Notifier) Depth(ctx context.Context) (Depth, error) {
	calls := make([]securecache.Call, len(n.shards))
	for i, s := range n.shards {
		calls[i].Keys = []securecache.Key{s.due, s.tries, s.dead}
	}
	var d Depth
	for _, outcome := range n.cache.RunMany(ctx, lua.ScheduleDepth, calls) {
		if outcome.Err != nil {
			return Depth{}, outcome.Err
		}
		row, err := integers(outcome.Value, 5)
		if err != nil {
			return Depth{}, err
		}
		d.Scheduled += row[0]
		d.Due += row[1]
		d.Claimed += row[2]
		d.Dead += row[3]
		d.Lag = max(d.Lag, time.Duration(row[4])*time.Millisecond)
	}
	return d, nil
}

var errReply = errors.New("expiry: the server answered a script with something else than it gives")

// integers reads the first n elements of a script's reply.
func integers(value any, n int) ([]int64, error) {
	list, _ := value.([]any)
	if len(list) < n {
		return nil, errReply
	}
	out := make([]int64, n)
	for i := range out {
		var ok bool
		if out[i], ok = list[i].(int64); !ok {
			return nil, errReply
		}
	}
	return out, nil
}
