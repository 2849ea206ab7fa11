// Package token revokes tokens and hands out those that can be used once.
//
// A [Denylist] says whether a token has been revoked: an opaque one, a JWT by
// its jti or by its text, or everything that was issued to a subject before a
// given time. A check is one round trip. Neither a token nor a subject stands
// in a key or a value in clear.
//
// [Once] issues records that exactly one consumer gets: magic links, one-time
// codes, idempotency keys. A lost reply can be asked for again under the same
// [Operation] and has the same answer.
//
// # When Redis does not answer
//
// Away, slow, loading or busy: a check that gets no answer says "revoked" together
// with the error, unless Options.FailOpen is set. A revocation or an issue that
// gets none is an error, and nothing else; asking again is safe. A consumption
// that gets none is an error that matches securecache.ErrOutcomeUnknown where it
// may have taken place; ask again with the same Operation. Nothing is ever
// consumed without the server, so there is no other policy to choose.
//
// Read-only, checks are answered and all else is an error. Out of memory, codes
// can be consumed too; a revocation that is refused then has not happened.
//
// # What it does not promise
//
// A server that deletes an entry un-revokes a token, and one that restores a
// consumed record lets it be consumed again, as does a failover to a replica
// that had not heard of it, or eviction: give these records a server whose
// maxmemory-policy is noeviction. Entries that are there and do not open count
// as revoked.
package token
