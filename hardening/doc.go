// Package hardening holds what keeps a Redis or Valkey server, and the way to
// it, tight: the client's mutual TLS configuration and the application's
// least-privileged user.
package hardening
