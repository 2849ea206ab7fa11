// Package hardening holds what keeps a Redis or Valkey server, and the way to
// it, tight: the client's mutual TLS configuration and least-privileged
// users of the server, and the memory of the process that holds the keys.
package hardening
