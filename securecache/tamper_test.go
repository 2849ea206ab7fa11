package securecache_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
		"flips a bit of the content": {func(a, _ string) error { return flip(ctx, admin, a) }, codec.ReasonAuthentication},
		"lengthens its life":         {func(a, _ string) error { return admin.SetRange(ctx, a, 10, "\x7f").Err() }, codec.ReasonAuthentication},
		"backdates it":               {func(a, _ string) error { return admin.SetRange(ctx, a, 4, "\x00").Err() }, codec.ReasonAuthentication},
		"names another key":          {func(a, _ string) error { return admin.SetRange(ctx, a, 16, "0123456789abcdef").Err() }, codec.ReasonUnknownKey},
		"writes plaintext":           {func(a, _ string) error { return admin.Set(ctx, a, `{"admin":true}`, 0).Err() }, codec.ReasonNotRecord},
		"cuts it off":                {func(a, _ string) error { return admin.Set(ctx, a, "SC\x01\x01", 0).Err() }, codec.ReasonLength},
		"claims a version to come":   {func(a, _ string) error { return admin.SetRange(ctx, a, 2, "\x02").Err() }, codec.ReasonVersion},
		"claims an unknown suite":    {func(a, _ string) error { return admin.SetRange(ctx, a, 3, "\x0f").Err() }, codec.ReasonForm},
		"claims another known suite": {func(a, _ string) error { return admin.SetRange(ctx, a, 3, "\x02").Err() }, codec.ReasonAuthentication},
		"copies another name's":      {func(a, b string) error { return admin.Copy(ctx, b, a, 0, true).Err() }, codec.ReasonAuthentication},
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

// TestServerThatMovesRecords puts in a value's place what was sealed for another
// place of the same server's, and a value in another kind's.
func TestServerThatMovesRecords(t *testing.T) {
	var told refusals
	env, c := start(t, &securecache.Options{OnRefused: told.add})
	servertest.Real(t, env.Server)
	ctx, admin := t.Context(), env.Admin
	copied := func(t *testing.T, from securecache.Key) {
		t.Helper()
		plant(t, env, c, from)
		ok(t, admin.Copy(ctx, from.String(), keyOf(t, c, "a"), 0, true).Err())
	}
	for name, tc := range map[string]struct {
		move func(t *testing.T)
		want codec.Reason
	}{
		"a session's":           {func(t *testing.T) { copied(t, keyIn(t, c, codec.KindSession, "a")) }, codec.ReasonAuthentication},
		"a session's of its id": {func(t *testing.T) { copied(t, sameID(t, c, "a", codec.KindSession)) }, codec.ReasonAuthentication},
		"a user's of its id":    {func(t *testing.T) { copied(t, sameID(t, c, "a", 0x80)) }, codec.ReasonAuthentication},
		"a token's":             {func(t *testing.T) { copied(t, keyIn(t, c, codec.KindOnce, "a")) }, codec.ReasonAuthentication},
		"a user's":              {func(t *testing.T) { copied(t, keyIn(t, c, 0x80, "a")) }, codec.ReasonAuthentication},
		"another tag's":         {func(t *testing.T) { copied(t, keyIn(t, c.Tagged("tenant"), codec.KindValue, "a")) }, codec.ReasonAuthentication},
		"a companion's":         {func(t *testing.T) { copied(t, keyIn(t, c, codec.KindValue, "a").Part("copy")) }, codec.ReasonAuthentication},
		"a hash field's":        {func(t *testing.T) { fieldInto(t, env, c) }, codec.ReasonAuthentication},
		"another space's":       {func(t *testing.T) { fromAnother(t, env, c) }, codec.ReasonUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			set(t, c, "a", "first", time.Minute)
			told.take()
			tc.move(t)
			value, err := c.Get(ctx, "a")
			var refused *securecache.RefusedError
			if !errors.As(err, &refused) || refused.Reason != tc.want || value != nil {
				t.Fatalf("%q, %v, want %v", value, err, tc.want)
			}
			if heard := told.take(); len(heard) != 1 || heard[0].Key != keyOf(t, c, "a") || heard[0].Err.Reason != tc.want {
				t.Errorf("OnRefused was told %v", heard)
			}
		})
	}
	t.Run("a value into a session's place", func(t *testing.T) {
		set(t, c, "a", "first", time.Minute)
		session := keyIn(t, c, codec.KindSession, "a")
		ok(t, admin.Copy(ctx, keyOf(t, c, "a"), session.String(), 0, true).Err())
		var refused *securecache.RefusedError
		if _, err := c.ItemAt(ctx, session); !errors.As(err, &refused) || refused.Reason != codec.ReasonAuthentication {
			t.Errorf("%v", err)
		}
	})
}

func keyIn(t *testing.T, c *securecache.Cache, kind codec.Kind, name string) securecache.Key {
	t.Helper()
	key, err := c.Key(kind, name)
	ok(t, err)
	return key
}

// sameID is where another kind's record would stand under the id of a value's.
// No name has that key, since the kind is part of what blinds a name, and so the
// kind in the binding is all that tells the two apart.
func sameID(t *testing.T, c *securecache.Cache, name string, kind codec.Kind) securecache.Key {
	t.Helper()
	key, err := securecache.ParseKey(strings.Replace(keyOf(t, c, name), ":v:", ":"+kind.String()+":", 1))
	ok(t, err)
	return key
}

// plant stores a record sealed for key there, and checks that it opens there.
func plant(t *testing.T, env *securecachetest.Env, c *securecache.Cache, key securecache.Key) {
	t.Helper()
	record, err := c.Seal(key, time.Now().Add(time.Minute), []byte("moved"))
	ok(t, err)
	ok(t, env.Admin.Set(t.Context(), key.String(), record, time.Minute).Err())
	item, err := c.ItemAt(t.Context(), key)
	ok(t, err)
	if string(item.Value) != "moved" {
		t.Fatalf("%q", item.Value)
	}
}

// fieldInto seals the field of a hash of the same name, and puts what stands
// there into the value's place.
func fieldInto(t *testing.T, env *securecachetest.Env, c *securecache.Cache) {
	t.Helper()
	ctx := t.Context()
	seal, err := codec.New(env.Keyring, nil)
	ok(t, err)
	ring, err := env.Keyring.Ring()
	ok(t, err)
	key, field := keyIn(t, c, codec.KindHash, "a"), ring.Names().Field("a", "password")
	where := key.Binding()
	where.FieldID = base64.RawURLEncoding.EncodeToString(field[:])
	record, err := seal.Seal(nil, where, time.Now().Add(time.Minute), []byte("\x00\x00\x00\x08passwordmoved"))
	ok(t, err)
	_, err = seal.Open(nil, where, record)
	ok(t, err)
	ok(t, env.Admin.HSet(ctx, key.String(), where.FieldID, record).Err())
	stands, err := env.Admin.HGet(ctx, key.String(), where.FieldID).Result()
	ok(t, err)
	ok(t, env.Admin.Set(ctx, keyOf(t, c, "a"), stands, time.Minute).Err())
}

// fromAnother puts the value of the same name in another namespace on the server
// into c's. Its key is none of c's keyring, whatever the bytes of either: the
// namespace is part of what a key's id is derived from.
func fromAnother(t *testing.T, env *securecachetest.Env, c *securecache.Cache) {
	t.Helper()
	ctx := t.Context()
	store := keys.NewFile(filepath.Join(t.TempDir(), "keyring.json"))
	ok(t, keys.Create(ctx, "another", store, keys.InsecurePlain(), keys.Layout{}))
	keyring, err := keys.Open(ctx, "another", store, keys.InsecurePlain(), nil)
	ok(t, err)
	t.Cleanup(func() { _ = keyring.Close() })
	another, err := securecache.New(env.Admin, keyring, nil)
	ok(t, err)
	t.Cleanup(func() { _ = another.Close() })
	set(t, another, "a", "moved", time.Minute)
	ok(t, env.Admin.Copy(ctx, keyOf(t, another, "a"), keyOf(t, c, "a"), 0, true).Err())
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
// caller is told: of records that are refused, of what is no string, and while
// the server is away. Names are plain, so that keys tell them.
func TestErrorsAreFreeOfSecrets(t *testing.T) {
	const name, other, value = "alice@example.org", "bob@example.org", "4111 1111 1111 1111"
	faces(t, func(t *testing.T, o securecache.Options) {
		env, c := start(t, &o, securecachetest.WithLayout(keys.Layout{Plain: true}))
		servertest.Real(t, env.Server)
		ctx := t.Context()
		set(t, c, name, value, time.Minute)
		item, err := c.Item(ctx, name)
		ok(t, err)
		calls := verbs(t, c, item, name, other, []byte(value))
		calls["Fetch"] = func(ctx context.Context) error {
			_, err := c.Fetch(ctx, name, time.Minute, func(context.Context) ([]byte, error) { return nil, errors.New("no source") })
			return err
		}
		free := func(t *testing.T, verbs ...string) {
			t.Helper()
			var wg sync.WaitGroup
			for _, verb := range verbs {
				wg.Go(func() {
					wantFree(t, verb, calls[verb](ctx), name, other, value, "example.org", "4111", keyOf(t, c, name), keyOf(t, c, other))
				})
			}
			wg.Wait()
		}
		for _, which := range []string{name, other} {
			set(t, c, which, value, time.Minute)
		}
		_, err = securecache.For(c, codec.JSON[int]()).Get(ctx, name)
		wantFree(t, "For", err, value, "4111")
		for _, which := range []string{name, other} {
			ok(t, flip(ctx, env.Admin, keyOf(t, c, which)))
		}
		free(t, "Get", "Item", "GetMany", "Read", "Fetch")
		for _, which := range []string{name, other} {
			ok(t, env.Admin.Del(ctx, keyOf(t, c, which)).Err())
			ok(t, env.Admin.LPush(ctx, keyOf(t, c, which), value).Err())
		}
		free(t, "Get", "Item", "GetMany", "Read", "Fetch", "Replace", "Touch", "TouchMany")
		all := slices.Sorted(maps.Keys(calls))
		ok(t, env.Admin.ACLSetUser(ctx, env.Client.Options().Username, "resetkeys").Err())
		free(t, all...)
		ok(t, env.Server.Stop())
		free(t, all...)
	})
}

func wantFree(t *testing.T, of string, err error, secrets ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error where one was due", of)
		return
	}
	for _, secret := range secrets {
		if contains(err, secret) {
			t.Errorf("%s: an error quotes %q: %v", of, secret, err)
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
