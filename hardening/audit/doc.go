// Package audit looks at a Redis or Valkey server as whoever has to answer for
// it would: how it is reached, who may do what, what TLS it speaks, which of its
// switches are open, what it holds. It sends nothing that changes the server.
// What cannot be seen with the rights at hand is [Unknown], never [Passed].
package audit
