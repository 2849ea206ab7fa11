// Package server starts real servers for development, demonstrations and
// tests: Redis or Valkey as child processes, alone, as a cluster or under
// Sentinel, and an in-process fallback where neither is installed.
//
// Every server speaks mutual TLS only, on the loopback interface, with its
// default user switched off and the application's user rendered by
// hardening.ACL: what runs against it runs under production's rules. A child
// lives in a directory of mode 0700 and dies with its parent.
package server
