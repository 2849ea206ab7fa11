package main

import (
	"context"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache/session"
)

// login SUBJECT VALUE [REALM] begins a session as a service would, and sets
// $TOKEN to its token and $ID to its id.
func login(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: login SUBJECT VALUE [REALM]")
	}
	o := &session.Options{}
	if len(args) > 2 {
		o.Realm = args[2]
	}
	ctx, file := context.Background(), strings.TrimPrefix(ts.Getenv("SECURECACHE_KEYRING"), "file:")
	c, stop, err := openCache(ctx, rigOf(ts).server, file)
	ts.Check(err)
	defer stop()
	s, err := session.New(c, codec.Bytes(), o)
	ts.Check(err)
	token, err := s.Create(ctx, args[0], []byte(args[1]))
	ts.Check(err)
	found, err := s.Get(ctx, token)
	ts.Check(err)
	ts.Setenv("TOKEN", token)
	ts.Setenv("ID", found.ID())
}
