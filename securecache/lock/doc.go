// Package lock gives one process at a time the right to do something, for as
// long as it is alive to do it.
//
// [Locker.Obtain] waits for a lock, [Locker.Try] does not, [Locker.Do] runs a
// function under one. A lock lasts for its TTL and is extended by itself until
// it is released. Whoever waits is woken by a message; nobody polls. The name
// of a lock is blinded.
//
// # What a lock is worth
//
// Every lock comes with a fence, a number greater than that of every holder
// before. A process may stall (a collection, a paused virtual machine, a slow
// disk) between looking at its lock and acting on it; only what it acts upon
// can tell then that a later holder has come. Hand [Lock.Fence] to that store
// and have it refuse smaller numbers than it has seen, as [Lock.GuardedSet]
// does for the cache itself. Without that, a lock saves work; it does not
// protect data.
//
// [Lock.Context] ends when the lock may be another's: when the server says so,
// or the TTL, counted from before it was asked for on this process' monotonic
// clock, is up but for an allowance of 1 % and 2 ms for clocks that do not run
// alike. Linux stops that clock while the machine sleeps.
//
// Locks resist crashes: of holders, of waiters, and of a server that comes back
// with its data. They do not resist
//
//   - a hostile server or whoever may write to it, who can free a lock, give it
//     twice, or give any fence. [ErrFence] keeps fences out that would lock the
//     true ones out for good;
//   - an asynchronous failover. A replica that has not heard of a lock gives it
//     again, while the first holder goes on until his TTL. The second fence is
//     greater all the same, since no fence is less than the server's clock in
//     microseconds;
//   - lost data: FLUSHALL, eviction (locks want maxmemory-policy noeviction), or
//     a restart without persistence. As above;
//   - a server's clock that steps ahead, which ends locks early. One that steps
//     back, or a replica's that is behind, keeps them longer, and fences still
//     rise, since the last one is kept for 24 hours; only where that is lost too
//     does a fence come that is not greater than an older one.
//
// # When Redis does not answer
//
// Away, slow, loading, read-only, busy or out of memory: nothing is obtained, and
// the error says why, within the context's deadline. Where the lock may have
// been obtained and the reply lost, the error matches
// securecache.ErrOutcomeUnknown and the lock is given back in the background;
// where that fails too, it is free after its TTL. A lock that is held is extended
// again until its TTL is up, then its context ends. Out of memory, locks are
// still extended and released, and none is obtained. There is no choice of
// going on without a lock, except in [Locker.Middleware], where the caller says what
// is answered. A waiter whose subscription is cut off asks again when the lock
// that it waits for would end, and as soon as it is subscribed again.
package lock
