// Package expiry tells a program what has expired in a cache: every value that
// was stored with a TTL, at the end of that TTL, at least once.
//
// It needs a namespace that was created with shards. There the cache keeps a
// schedule beside its values: whatever Set, SetMany, Touch, Replace and Fetch
// store has its deadline and a sealed event written in the same script, and
// Delete withdraws them. [Listen] sleeps until the next deadline, or until a
// write brings one forward, claims what is due, calls the handler and
// acknowledges. Nothing is polled. Any number of processes may listen; each
// event goes to one of them.
//
// What it promises, as long as Redis keeps its data: every deadline that passes
// is delivered at least once. An event that is not acknowledged, since its
// handler failed, or its process died, comes back after [Options.Visibility];
// all its deliveries have the same [Event.ID]. One that was claimed
// [Options.MaxClaims] times in vain becomes a dead letter. A touch moves the
// deadline, and the event comes once, at the new one. What is deleted before its
// deadline is not announced. What is stored anew after its deadline is announced
// for the old deadline, and later for the new one.
//
// An event says that a deadline was set and has passed, and that is
// authenticated. It does not say that nothing is stored under the name: somebody
// may have stored it again. Consumers may be away for as long as the cache keeps
// events ([securecache.Schedule]), a day unless set. The schedule roughly
// doubles the memory that small values take on the server.
//
// # When Redis is in trouble
//
// Away, slow, loading, busy or read-only: Listen tells [Options.OnError], tries
// again after a pause that grows to five seconds, and catches up by itself. What
// was handled and could not be acknowledged is delivered again. Out of memory:
// values are stored together with their events or not at all; what is due is
// delivered all the same, since a claim frees memory before it takes some.
// Evicted: a server that evicts may drop a shard's schedule; run without eviction.
// After a failover, the last writes may be lost, the schedule's with the values';
// a lost acknowledgement is one more delivery. When a slot has moved to another
// node, its shard's events come from there. A server that deletes withholds
// events; it cannot make one up, change it, or bring it before its deadline.
//
// There is nothing to be chosen between open and closed: what is not delivered
// waits. How far behind it is, [Notifier.Depth] and [Notifier.Stats] say in
// numbers; the program examples/worker reads them, and takes up dead letters.
//
// # The doorbell
//
// With [Options.Doorbell], Listen hears the server's own keyspace events
// instead. That needs no shards and covers keys that others write. But the
// server sends those events when it gets round to deleting, late, once, and to
// whoever happens to be connected: at most once. They carry a blinded key and
// no name. They need a login of its own, since whoever hears them hears every
// tenant's key names: hardening.Doorbell.
package expiry
