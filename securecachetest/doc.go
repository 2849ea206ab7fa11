// Package securecachetest starts, in one call of a test, what securecache runs
// against: a real Redis or Valkey server under mutual TLS with a certificate
// authority of its own and the least-privileged application user, a client
// that is logged in, and a keyring. Faults (stop, kill, restart, pause) can be
// brought upon the server.
//
// Everything listens on the loopback interface, on free ports, lives in
// temporary directories and ends with the test. The server is valkey-server or
// redis-server, whichever is on the PATH; the environment variable
// SECURECACHE_SERVER chooses (valkey-server, redis-server, a path, or embedded).
// Where none is installed it is the one embedded in the test's process; what that
// lacks, [Server.Lacks] says, so that a test which needs it can skip. A cluster or
// Sentinel needs a real one: such a test is skipped. With CI=true a missing server
// is a failure.
package securecachetest
