// Package limit says whether one more of something is within its limit, for all
// processes together: requests of a user, attempts at a password, jobs that run
// at a time.
//
// A [Limiter] counts what happens against a [Rate]; [Limiter.Allow] takes one and
// says so, in one round trip. [Leases] limit how many go on at the same time. The
// server's clock alone decides, and the names are blinded. Names of one algorithm
// share one room in a namespace, whatever the limiter: give them a prefix of
// their own ("login of ").
//
// # What is let through
//
// With [GCRA] a name has a bucket that holds Burst and fills at an even rate: in
// any stretch of time of length t no more is let through than
//
//	Burst + t × Count / Period
//
// The interval between two is rounded up to whole microseconds, so it is never
// more than that and may be less: at 700,000 a second the interval is 2 µs and not
// 1.43. This is the generic cell rate algorithm of ITU-T I.371; its state is one
// number.
//
// With [FixedWindow] a window of length Period begins when something is first
// taken, and lets Count through. The end of one window and the beginning of the
// next may lie close to each other: in a stretch shorter than a Period as much as
// 2 × Count may come.
//
// With [SlidingWindow] windows of length Period follow each other, and what was
// taken in the one before counts by the share of it that lies less than Period
// back, as if it had been spread evenly. No more is let through than
//
//	Count + t × Count / Period
//
// in any stretch of length t, and in most of them Count.
//
// A refusal takes nothing and writes nothing: who is refused and keeps asking is
// let through no later for it. What a lowered Count or Burst leaves behind
// counts as used up, not as more than that. Counters have a TTL always; one that
// lost it is given one, a bucket's by the next that is let through.
//
// Limits resist crashes, of clients and of a server that comes back with its
// data. They do not resist
//
//   - a hostile server, or whoever may write to it;
//   - lost data: FLUSHALL, eviction, a restart without persistence or an
//     asynchronous failover lets through again what was lost, up to Burst or
//     Count for each name;
//   - a server's clock that steps: ahead, it fills buckets and ends windows
//     early, by that step; back, a bucket counts as empty and a window begins anew.
//
// # When Redis does not answer
//
// Away, slow, loading, read-only, busy or out of memory: the caller chose with
// [Options].WhenAway. [FailClosed] refuses, [FailOpen] lets through, [Local]
// counts in this process against its share of the rate. The error, which matches
// [ErrNoAnswer], comes in each case, and the [Result] is to be acted upon all the
// same: it is what the policy says. It is also told to Options.OnError. A caller
// that hangs up (context.Canceled) is refused under every policy, or hanging up
// would be a way through.
//
// How long that takes is up to the context and Options.Timeout. A take whose
// reply was lost may have been counted; it is not sent again, and is no answer.
// Where the server counted it, less is let through, never more. What Local lets
// through is not carried over, nor is what was counted on the server: for each
// time that the server goes away or comes back, Local may let through its
// own burst beside the server's.
//
// Read-only or out of memory, a look and a refusal still work, since they write
// nothing; out of memory, so do Reset and Release. A server that was restarted,
// or cut its connections, costs each pooled connection one take without an
// answer.
package limit
