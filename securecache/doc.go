// Package securecache is a cache on Redis and Valkey for what must not leak:
// sessions, tokens, personal data.
//
// Values are sealed in the process, under keys that the server never sees, and
// bound to the name they were stored under and to their own end; names are
// blinded. What the server holds, its snapshots, its replicas and its network
// carry neither. What comes back and does not authenticate is refused with a
// [RefusedError], reported to [Options.OnRefused], and never taken for a miss.
//
// [Dial] connects over mutual TLS; [New] takes a client that is there already.
// [For] gives the cache a type. [Cache.Key], [Cache.Seal], [Cache.Open] and
// [Cache.Run] are what the packages below this one, and users' own scripts, are
// built from.
package securecache
