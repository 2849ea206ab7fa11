package securecache

import "sync/atomic"

// Stats counts what a [Cache] did since it was made. Reads that were answered
// are hits, misses or refusals; those that were not are errors.
type Stats struct {
	Hits, Misses, Refused int64
	// Outlived counts the misses whose record was still there after its own end,
	// as when somebody on the server removed its TTL.
	Outlived int64
	Sets     int64
	// Loads counts what Fetch had loaded, Shared what it answered from a load
	// that another caller had asked for.
	Loads, Shared int64
	// Errors counts operations that failed for want of an answer: the server's,
	// the network's, the keyring's or the caller's context.
	Errors int64
}

type counters struct {
	hits, misses, refused, outlived, sets, loads, shared, errors atomic.Int64
}

// Stats returns the counts, each taken by itself. The views that [Cache.Tagged]
// gives share them.
func (c *Cache) Stats() Stats {
	n := c.counters
	return Stats{
		Hits: n.hits.Load(), Misses: n.misses.Load(), Refused: n.refused.Load(), Outlived: n.outlived.Load(),
		Sets: n.sets.Load(), Loads: n.loads.Load(), Shared: n.shared.Load(), Errors: n.errors.Load(),
	}
}
