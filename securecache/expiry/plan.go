package expiry

import (
	"math/rand/v2"
	"sync"
	"time"
)

// recheck is how long a shard is left alone where nobody says otherwise. It
// covers the messages that were lost while a subscription was broken; after a
// reconnect each shard is looked at anyway.
const recheck = 30 * time.Second

// plan says when to look at each shard, and how many events may be claimed. The
// claims, the messages and the ends of events write it.
type plan struct {
	mu     sync.Mutex
	at     []time.Time
	free   int // claims that may still be in hand
	window int // all of them
	least  int // free claims that are worth a round trip
	from   int // the shard to begin with: each gets its turn

	changed chan struct{} // capacity 1
}

func newPlan(shards, window, least int) *plan {
	return &plan{
		at: make([]time.Time, shards), free: window, window: window, least: least,
		changed: make(chan struct{}, 1),
	}
}

// take returns the shards to look at now, and for each how many events may be
// claimed; none where it is too early or too much is in hand. Then next says how
// long to wait, unless changed is signalled before.
func (p *plan) take(now time.Time) (which []int, each int, next time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free < p.least && p.free < p.window {
		return nil, 0, recheck
	}
	next = recheck
	for i := range p.at {
		shard := (p.from + i) % len(p.at)
		if wait := p.at[shard].Sub(now); wait > 0 {
			next = min(next, wait)
		} else if len(which) < p.free {
			which = append(which, shard)
		}
	}
	if len(which) == 0 {
		return nil, 0, next
	}
	p.from = (which[len(which)-1] + 1) % len(p.at)
	for _, shard := range which {
		// What is told meanwhile may come before what the claim will answer.
		p.at[shard] = now.Add(recheck/2 + rand.N(recheck))
	}
	return which, p.free / len(which), 0
}

// look has a shard looked at in a while, or before if that is planned.
func (p *plan) look(shard int, in time.Duration) {
	p.mu.Lock()
	at := time.Now().Add(in)
	sooner := at.Before(p.at[shard])
	if sooner {
		p.at[shard] = at
	}
	p.mu.Unlock()
	if sooner {
		p.signal()
	}
}

// claimed takes n claims into hand.
func (p *plan) claimed(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free -= n
}

// settled lets go of n claims.
func (p *plan) settled(n int) {
	p.mu.Lock()
	p.free += n
	worth := p.free >= p.least || p.free == p.window
	p.mu.Unlock()
	if worth {
		p.signal()
	}
}

func (p *plan) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
