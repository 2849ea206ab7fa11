package securecache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

func TestOpenEventRefuses(t *testing.T) {
	t.Parallel()
	var refused refusals
	s := startScheduled(t, &securecache.Options{OnRefused: refused.add})
	ctx := t.Context()
	set(t, s.Cache, "a", "x", time.Minute)
	base, id := s.place(t, s.Cache, "a")
	payload, err := s.env.Admin.HGet(ctx, base.Part("event").String(), id).Bytes()
	ok(t, err)
	value, err := s.Key(codec.KindValue, "a")
	ok(t, err)
	content := func(b ...byte) []byte {
		t.Helper()
		record, err := s.Seal(value.Event(), time.Now().Add(time.Hour), b)
		ok(t, err)
		return record
	}
	good := []byte{'v', 0, 0, 1, 0x9c, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0}
	with := func(at int, b byte) []byte {
		bad := append([]byte(nil), good...)
		bad[at] = b
		return content(bad...)
	}
	if e, err := s.OpenEvent(ctx, base, id, content(good...)); err != nil || e.Name != "a" {
		t.Fatalf("%+v, %v", e, err)
	}
	for name, tc := range map[string]struct {
		field   string
		payload []byte
		reason  codec.Reason
	}{
		"under another id":    {id[:len(id)-1] + "_", payload, codec.ReasonAuthentication},
		"of another shard":    {"{0f}" + id[4:], payload, codec.ReasonAuthentication},
		"no field":            {"", payload, codec.ReasonAuthentication},
		"no record":           {id, []byte("text"), codec.ReasonNotRecord},
		"a value's record":    {id, []byte(s.env.Admin.Get(ctx, value.String()).Val()), codec.ReasonAuthentication},
		"too short":           {id, content(good[:13]...), codec.ReasonContent},
		"no such kind":        {id, with(0, 'e'), codec.ReasonContent},
		"deadline of no time": {id, with(1, 1), codec.ReasonContent},
		"no name":             {id, with(12, 0), codec.ReasonContent},
		"name past the end":   {id, with(12, 3), codec.ReasonContent},
		"another mark":        {id, with(14, 2), codec.ReasonContent},
		"more behind it":      {id, content(append(good, 0)...), codec.ReasonContent},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.OpenEvent(ctx, base, tc.field, tc.payload)
			var r *securecache.RefusedError
			if !errors.As(err, &r) || r.Reason != tc.reason {
				t.Errorf("%v, want %s", err, tc.reason)
			}
			if all := refused.take(); len(all) != 1 || all[0].Err != r {
				t.Errorf("reported: %v", all)
			}
		})
	}
}

func TestResealEvents(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), startResealerIn(t, keys.Layout{Shards: 1}, false)
	for i := range 50 {
		set(t, r.Cache, fmt.Sprint(i), "x", time.Minute)
	}
	base := r.Shards()[0]
	events, dead := base.Part("event"), base.Part("dead")
	all, err := r.env.Admin.HGetAll(ctx, events.String()).Result()
	ok(t, err)
	for id, payload := range all { // as a dead letter has it
		ok(t, r.env.Admin.HSet(ctx, dead.String(), id+":00", payload).Err())
	}
	primary := r.rotate(t)
	got, err := r.Reseal(ctx, []securecache.Key{events, dead, base.Part("due")})
	ok(t, err)
	got.Bytes = 0
	if want := (securecache.Resealed{Sealed: 100, Other: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, hash := range []securecache.Key{events, dead} {
		all, err := r.env.Admin.HGetAll(ctx, hash.String()).Result()
		ok(t, err)
		for field, payload := range all {
			h, err := codec.ParseHeader([]byte(payload))
			ok(t, err)
			if _, err := r.OpenEvent(ctx, base, field, []byte(payload)); err != nil || h.KeyID != primary {
				t.Fatalf("under %s: %v", h.KeyID, err)
			}
		}
	}
}

// TestScheduledWritesAreOneRoundTrip counts what is sent.
func TestScheduledWritesAreOneRoundTrip(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, nil)
	trips := 0
	s.env.Client.AddHook(counting(func() { trips++ }))
	ctx := t.Context()
	for name, tc := range map[string]struct {
		run  func() error
		want int
	}{
		"Set":    {func() error { return s.Set(ctx, "a", nil, time.Minute, securecache.MaxLife(time.Hour)) }, 1},
		"Touch":  {func() error { _, err := s.Touch(ctx, "a", 2*time.Minute); return err }, 1},
		"Delete": {func() error { _, err := s.Delete(ctx, "b"); return err }, 1},
		"SetMany": {func() error {
			return errors.Join(s.SetMany(ctx, []securecache.Entry{{Name: "c"}, {Name: "d"}, {Name: "e"}}, time.Minute)...)
		}, 1},
		"TouchMany": {func() error { return s.TouchMany(ctx, []string{"a", "a"}, 2*time.Minute)[1].Err }, 1},
	} {
		ok(t, s.Set(ctx, "a", nil, time.Minute, securecache.MaxLife(time.Hour)))
		trips = 0
		ok(t, tc.run())
		if trips != tc.want {
			t.Errorf("%s: %d round trips", name, trips)
		}
	}
}

// counting calls itself for every script and every pipeline of scripts.
type counting func()

func (counting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}

func (c counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count(cmds[0])
		return next(ctx, cmds)
	}
}

func (c counting) count(cmd redis.Cmder) {
	if cmd.Name() == "evalsha" {
		c()
	}
}

// TestRunManyGivesUp runs a script that nobody may load.
func TestRunManyGivesUp(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, nil)
	servertest.Real(t, s.env.Server)
	ctx := t.Context()
	ok(t, s.env.Admin.Do(ctx, "acl", "setuser", s.env.Client.Options().Username, "-script|load").Err())
	s.env.Admin.ScriptFlush(ctx)
	for _, err := range s.SetMany(ctx, []securecache.Entry{{Name: "a"}, {Name: "b"}}, time.Minute) {
		if !errors.Is(err, lua.ErrNotLoaded) || errors.Is(err, securecache.ErrOutcomeUnknown) {
			t.Errorf("%v", err)
		}
	}
}
