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
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestServerThatLies does with records what somebody who owns the server can do.
func TestServerThatLies(t *testing.T) {
	var told refusals
	env, c := start(t, &securecache.Options{OnRefused: told.add})
	ctx, admin := t.Context(), env.Admin
	for name, tc := range map[string]struct {
		tamper func(a, b string) error
		want   codec.Reason
	}{
		"swaps two records": {func(a, b string) error {
			return errors.Join(admin.Rename(ctx, a, "x").Err(), admin.Rename(ctx, b, a).Err(), admin.Rename(ctx, "x", b).Err())
		}, codec.ReasonAuthentication},
		"flips a bit of the content":   {func(a, _ string) error { return flip(ctx, admin, a) }, codec.ReasonAuthentication},
		"lengthens its life":           {func(a, _ string) error { return admin.SetRange(ctx, a, 10, "\x7f").Err() }, codec.ReasonAuthentication},
		"backdates it":                 {func(a, _ string) error { return admin.SetRange(ctx, a, 4, "\x00").Err() }, codec.ReasonAuthentication},
		"names another key":            {func(a, _ string) error { return admin.SetRange(ctx, a, 16, "0123456789abcdef").Err() }, codec.ReasonUnknownKey},
		"writes plaintext":             {func(a, _ string) error { return admin.Set(ctx, a, `{"admin":true}`, 0).Err() }, codec.ReasonNotRecord},
		"cuts it off":                  {func(a, _ string) error { return admin.Set(ctx, a, "SC\x01\x01", 0).Err() }, codec.ReasonLength},
		"claims a version to come":     {func(a, _ string) error { return admin.SetRange(ctx, a, 2, "\x02").Err() }, codec.ReasonVersion},
		"claims an unknown suite":      {func(a, _ string) error { return admin.SetRange(ctx, a, 3, "\x0f").Err() }, codec.ReasonForm},
		"claims another known suite":   {func(a, _ string) error { return admin.SetRange(ctx, a, 3, "\x02").Err() }, codec.ReasonAuthentication},
		"puts it under another kind's": {func(a, b string) error { return admin.Copy(ctx, b, a, 0, true).Err() }, codec.ReasonAuthentication},
	} {
		t.Run(name, func(t *testing.T) {
			set(t, c, "a", "first", time.Minute)
			set(t, c, "b", "second", time.Minute)
			told.take()
			ok(t, tc.tamper(keyOf(t, c, "a"), keyOf(t, c, "b")))
			_, err := c.Get(ctx, "a")
			var refused *securecache.RefusedError
			if name == "claims another known suite" && errors.As(err, &refused) && refused.Reason == codec.ReasonFIPS {
				return // FIPS 140-only mode refuses the suite before anything else
			}
			if !errors.As(err, &refused) || refused.Reason != tc.want {
				t.Fatalf("%v, want %v", err, tc.want)
			}
			heard := told.take()
			if len(heard) != 1 || heard[0].Key != keyOf(t, c, "a") || heard[0].Err.Reason != tc.want {
				t.Errorf("OnRefused was told %v", heard)
			}
		})
	}
	if s := c.Stats(); s.Refused != 11 || s.Misses != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// flip changes a bit of a record's content, whatever byte the encryption made
// of it.
func flip(ctx context.Context, admin *redis.Client, key string) error {
	const at = 61
	is, err := admin.GetRange(ctx, key, at, at).Bytes()
	if err != nil {
		return err
	}
	if len(is) != 1 {
		return fmt.Errorf("a record without byte %d", at)
	}
	return admin.SetRange(ctx, key, at, string([]byte{is[0] ^ 1})).Err()
}

func TestServerThatKeepsRecordsAlive(t *testing.T) {
	for name, keep := range map[string]func(t *testing.T, env *securecachetest.Env, key string){
		"PERSIST": func(t *testing.T, env *securecachetest.Env, key string) {
			ok(t, env.Admin.Persist(t.Context(), key).Err())
		},
		"EXPIRE": func(t *testing.T, env *securecachetest.Env, key string) {
			ok(t, env.Admin.Expire(t.Context(), key, time.Hour).Err())
		},
		"DUMP and RESTORE": func(t *testing.T, env *securecachetest.Env, key string) {
			dump, err := env.Admin.Dump(t.Context(), key).Result()
			ok(t, err)
			ok(t, env.Admin.RestoreReplace(t.Context(), key, 0, dump).Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := servertest.NewClock(time.Now())
			env, c := start(t, &securecache.Options{Codec: codec.Options{Now: now.Now}})
			set(t, c, "token", "v", time.Minute)
			keep(t, env, keyOf(t, c, "token"))
			now.Advance(time.Minute - time.Millisecond)
			if _, err := c.Get(t.Context(), "token"); err != nil {
				t.Errorf("before its end: %v", err)
			}
			now.Advance(time.Millisecond)
			if _, err := c.Get(t.Context(), "token"); !errors.Is(err, securecache.ErrMiss) {
				t.Errorf("at its end: %v", err)
			}
			if s := c.Stats(); s.Outlived != 1 || s.Refused != 0 {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

func TestTouchOfWhatIsNoRecord(t *testing.T) {
	var told refusals
	env, c := start(t, &securecache.Options{OnRefused: told.add})
	ok(t, env.Admin.Set(t.Context(), keyOf(t, c, "a"), "plaintext", 0).Err())
	_, err := c.Touch(t.Context(), "a", time.Minute)
	var refused *securecache.RefusedError
	if !errors.As(err, &refused) || refused.Reason != codec.ReasonNotRecord || len(told.take()) != 1 {
		t.Errorf("%v", err)
	}
}

// TestErrorsAreFreeOfSecrets looks for names, values and keys in all that a
// caller is told.
func TestErrorsAreFreeOfSecrets(t *testing.T) {
	env, c := start(t, nil)
	const name, value = "alice@example.org", "4111 1111 1111 1111"
	ctx := t.Context()
	set(t, c, name, value, time.Minute)
	ok(t, flip(ctx, env.Admin, keyOf(t, c, name)))
	_, refusal := c.Get(ctx, name)
	typed := securecache.For(c, codec.JSON[int]())
	set(t, c, name+"2", value, time.Minute)
	_, unmarshal := typed.Get(ctx, name+"2")
	servertest.Real(t, env.Server)
	ok(t, env.Server.Stop())
	_, down := c.Get(ctx, name)
	setDown := c.Set(ctx, name, []byte(value), time.Minute)
	_, touchDown := c.Touch(ctx, name, time.Minute)
	for _, err := range []error{refusal, unmarshal, down, setDown, touchDown} {
		if err == nil {
			t.Error("no error where one was due")
			continue
		}
		for _, secret := range []string{name, value, "4111", keyOf(t, c, name)} {
			if contains(err, secret) {
				t.Errorf("an error quotes %q: %v", secret, err)
			}
		}
	}
}

// TestErrorsOfRenamedCommands: Redis quotes the arguments of commands that it
// does not know.
func TestErrorsOfRenamedCommands(t *testing.T) {
	const name, value = "alice@example.org", "4111 1111 1111 1111"
	env := securecachetest.Start(t, securecachetest.WithLayout(keys.Layout{Plain: true}),
		securecachetest.WithConfig(`rename-command UNLINK ""`, `rename-command SET ""`, `rename-command EVALSHA ""`))
	servertest.Real(t, env.Server)
	c := open(t, env, nil)
	_, del := c.Delete(t.Context(), name)
	_, touch := c.Touch(t.Context(), name, time.Minute)
	for _, err := range []error{del, touch, c.Set(t.Context(), name, []byte(value), time.Minute)} {
		if err == nil || !contains(err, "unknown command") {
			t.Errorf("a renamed command: %v", err)
		}
		for _, secret := range []string{"alice", "sc:test"} {
			if contains(err, secret) {
				t.Errorf("an error quotes %q: %v", secret, err)
			}
		}
	}
}
