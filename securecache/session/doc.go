// Package session keeps login sessions: sealed, under names that the server
// cannot read, with an idle and an absolute timeout that hold whatever the
// server makes of its TTLs.
//
// [Store] creates a session and returns its token, which is stored nowhere:
// what the server holds neither opens without the keyring nor shows the token.
// [Store.Update] is a compare-and-set, so a lost update is an error its caller
// sees, and a session that was destroyed stays destroyed, whatever else was
// under way. [Store.DestroyAll] logs a subject out everywhere.
// [Store.Handler] is middleware for net/http; [SCS] is a store for
// github.com/alexedwards/scs.
//
// # Timeouts
//
// The record carries its own end, which is authenticated: the session's
// absolute end, or two idle windows ahead where that comes first. The server's
// TTL is one idle window. Reading a session is one GET; where this process has
// not renewed it for a tenth of the idle timeout it renews the TTL, and seals
// the record anew where less than one window of it is left. A session may
// therefore end a tenth of a window early, and a tenth more for each renewal that
// failed, of which [Options.OnError] is told. A server that keeps it alive gains
// at most one window, and never passes the absolute end.
//
// [Store.Touch] does the same for many sessions at once that are held open and
// not read. Nothing else renews several: who reads a session has renewed it.
//
// # When Redis fails
//
// Away, slow, loading, busy or paused: every call ends with an error, at its
// context's deadline at the latest. No session is ever taken for valid without
// an answer; what to show instead is the caller's choice, and
// [Options.OnFailure] the middleware's. Read-only, or out of memory without
// eviction: sessions are read, with Get's failure to renew them told to
// [Options.OnError]; Create, Update, Regenerate, Login and Touch fail. Destroy
// and DestroyAll need no memory. A server that evicts, or that lost its data,
// has logged people out. One that loses acknowledged writes, as an asynchronous
// failover may, can undo a logout or an update; so can whoever may write to the
// server, by putting an older record back before its end.
//
// Two sessions of one subject can be seen to belong together: they share the
// subject's blinded tag.
package session
