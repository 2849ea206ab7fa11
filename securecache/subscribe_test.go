package securecache_test

import (
	"testing"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

func TestSubscribe(t *testing.T) {
	env, c := start(t, nil)
	key, err := c.Key(codec.KindLock, "name")
	ok(t, err)
	sub := c.Subscribe(t.Context(), key)
	t.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(t.Context()); err != nil { // the confirmation
		t.Fatal(err)
	}
	announce := lua.New("announce", `return redis.call('PUBLISH', KEYS[1], ARGV[1])`)
	if _, err := c.Run(t.Context(), announce, []securecache.Key{key}, "free"); err != nil {
		t.Fatal(err)
	}
	m, err := sub.ReceiveMessage(t.Context())
	if err != nil || m.Channel != key.String() || m.Payload != "free" {
		t.Errorf("%v, %v", m, err)
	}
	if env.Server.Lacks() == nil {
		foreign := c.Subscribe(t.Context())
		t.Cleanup(func() { _ = foreign.Close() })
		ok(t, foreign.Subscribe(t.Context(), "sc:other:l:{x}"))
		if _, err := foreign.Receive(t.Context()); err == nil {
			t.Error("the application may hear another namespace")
		}
	}
}
