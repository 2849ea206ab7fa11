package token_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/token"
	"github.com/securecache/securecache-go/securecachetest"
)

// outlives issues and revokes, has something happen to the servers, and wants all
// of it remembered.
func outlives(t *testing.T, c *securecache.Cache, happens func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o := once(t, c)
	d, err := token.NewDenylist(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	code, op, id := token.Code{Text: "code"}, token.NewOperation(), token.JTI("id")
	spent := token.Code{Text: "spent"}
	for _, one := range []token.Code{code, spent} {
		_, issued := o.Issue(ctx, one, []byte("value"), time.Hour)
		err = errors.Join(err, issued)
	}
	_, consumed := o.Consume(ctx, spent)
	if err := errors.Join(err, consumed, d.Revoke(ctx, id, time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	happens()
	value, err := o.ConsumeAs(ctx, op, code)
	for err != nil && !errors.Is(err, securecache.ErrMiss) && ctx.Err() == nil {
		value, err = o.ConsumeAs(ctx, op, code)
	}
	if string(value) != "value" || err != nil {
		t.Errorf("%q, %v", value, err)
	}
	for _, one := range []token.Code{code, spent} {
		_, err := o.Consume(ctx, one)
		for err != nil && !errors.Is(err, securecache.ErrMiss) && ctx.Err() == nil {
			_, err = o.Consume(ctx, one)
		}
		if !errors.Is(err, securecache.ErrMiss) {
			t.Errorf("consumed again: %v", err)
		}
	}
	revoked, err := d.Revoked(ctx, token.Token{ID: id})
	for err != nil && ctx.Err() == nil {
		revoked, err = d.Revoked(ctx, token.Token{ID: id})
	}
	if !revoked || err != nil {
		t.Errorf("%t, %v", revoked, err)
	}
}

// inOneSlot is a view whose names share a slot, so that one move or one failover
// concerns all of them, and a key of that slot.
func inOneSlot(t *testing.T, c *securecache.Cache, tag string) (*securecache.Cache, string) {
	t.Helper()
	view := c.Tagged(tag)
	key, err := view.Key(codec.KindOnce, "any")
	if err != nil {
		t.Fatal(err)
	}
	return view, key.String()
}

func TestClusterMoves(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	ctx := t.Context()
	moved, key := inOneSlot(t, env.Cache, "moved")
	outlives(t, moved, func() {
		if _, err := env.MoveSlot(ctx, key, nil); err != nil {
			t.Fatal(err)
		}
	})
	failed, key := inOneSlot(t, env.Cache, "failed over")
	outlives(t, failed, func() {
		master, err := env.Master(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		at, err := env.Admin.MasterForKey(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := at.Wait(ctx, 1, 20*time.Second).Result(); err != nil || n < 1 {
			t.Fatalf("%d replicas, %v", n, err)
		}
		if err := errors.Join(master.Kill(), env.AwaitTakeover(ctx, master)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	if !servertest.Long() {
		t.Skip("a failover under Sentinel takes long: set SECURECACHE_LONG")
	}
	env := securecachetest.StartSentinel(t)
	ctx := t.Context()
	outlives(t, env.Cache, func() {
		if n, err := env.Admin.Wait(ctx, 2, 20*time.Second).Result(); err != nil || n != 2 {
			t.Fatalf("%d replicas, %v", n, err)
		}
		master, err := env.Master(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(master.Kill(), env.AwaitTakeover(ctx, master)); err != nil {
			t.Fatal(err)
		}
	})
}
