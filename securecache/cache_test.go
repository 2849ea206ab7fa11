package securecache_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// faces are the two ways in which commands reach the server.
func faces(t *testing.T, run func(t *testing.T, o securecache.Options)) {
	t.Run("plain", func(t *testing.T) { run(t, securecache.Options{}) })
	t.Run("batched", func(t *testing.T) { run(t, securecache.Options{Batch: true}) })
}

func TestSetAndGet(t *testing.T) {
	faces(t, func(t *testing.T, o securecache.Options) {
		env, c := start(t, &o)
		ctx := t.Context()
		for name, value := range map[string][]byte{
			"empty":              {},
			"a short value":      []byte("s3cret"),
			"binary \x00\xff :{": {0, 1, 2, 255},
			"a long value":       bytes.Repeat([]byte("personal data "), 10_000),
		} {
			ok(t, c.Set(ctx, name, value, time.Minute))
			got, err := c.Get(ctx, name)
			if err != nil || !bytes.Equal(got, value) {
				t.Errorf("%q: %d bytes, %v; %d were stored", name, len(got), err, len(value))
			}
			stored, err := env.Admin.Get(ctx, keyOf(t, c, name)).Bytes()
			ok(t, err)
			if len(value) > 2 && bytes.Contains(stored, value) || strings.Contains(keyOf(t, c, name), name) {
				t.Errorf("%q: the server holds a value or a name in clear", name)
			}
		}
		if s := c.Stats(); s.Hits != 4 || s.Sets != 4 || s.Misses+s.Refused+s.Errors != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestMissExistsDelete(t *testing.T) {
	_, c := start(t, nil)
	ctx := t.Context()
	if _, err := c.Get(ctx, "token"); !errors.Is(err, securecache.ErrMiss) {
		t.Errorf("Get: %v", err)
	}
	if _, err := c.TTL(ctx, "token"); !errors.Is(err, securecache.ErrMiss) {
		t.Errorf("TTL: %v", err)
	}
	set(t, c, "token", "v", time.Minute)
	if there, err := c.Exists(ctx, "token"); !there || err != nil {
		t.Errorf("Exists: %t, %v", there, err)
	}
	if ttl, err := c.TTL(ctx, "token"); err != nil || ttl <= 0 || ttl > time.Minute {
		t.Errorf("TTL: %v, %v", ttl, err)
	}
	for i, want := range []bool{true, false} {
		if there, err := c.Delete(ctx, "token"); there != want || err != nil {
			t.Errorf("Delete %d: %t, %v", i, there, err)
		}
	}
	if there, err := c.Exists(ctx, "token"); there || err != nil {
		t.Errorf("Exists: %t, %v", there, err)
	}
}

func TestWhatCannotBeStored(t *testing.T) {
	_, c := start(t, nil)
	ctx := t.Context()
	for name, tc := range map[string]struct {
		run  func() error
		want error
	}{
		"no TTL":                   {func() error { return c.Set(ctx, "a", nil, 0) }, securecache.ErrNoTTL},
		"a negative TTL":           {func() error { return c.Set(ctx, "a", nil, -time.Second) }, securecache.ErrNoTTL},
		"less than a millisecond":  {func() error { return c.Set(ctx, "a", nil, time.Microsecond) }, securecache.ErrNoTTL},
		"a TTL beyond its MaxLife": {func() error { return c.Set(ctx, "a", nil, time.Hour, securecache.MaxLife(time.Minute)) }, securecache.ErrNoTTL},
		"beyond the namespace's":   {func() error { return c.Set(ctx, "a", nil, 91*24*time.Hour) }, codec.ErrLifetime},
		"no name":                  {func() error { return c.Set(ctx, "", nil, time.Minute) }, securecache.ErrName},
		"too large":                {func() error { return c.Set(ctx, "a", make([]byte, 16<<20+1), time.Minute) }, codec.ErrTooLarge},
		"a touch without a TTL":    {func() error { _, err := c.Touch(ctx, "a", 0); return err }, securecache.ErrNoTTL},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.run(); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
	if s := c.Stats(); s.Sets != 0 || s.Errors != 8 {
		t.Errorf("stats: %+v", s)
	}
}

func TestWithoutAnEnd(t *testing.T) {
	env := securecachetest.Start(t, securecachetest.WithLayout(keys.Layout{MaxLife: keys.Forever}))
	c := open(t, env, &securecache.Options{AllowNoTTL: true})
	set(t, c, "for ever", "v", 0)
	if ttl, err := c.TTL(t.Context(), "for ever"); ttl != securecache.NoTTL || err != nil {
		t.Errorf("TTL: %v, %v", ttl, err)
	}
	if ttl, err := c.Touch(t.Context(), "for ever", time.Minute); ttl != securecache.NoTTL || err != nil {
		t.Errorf("Touch: %v, %v", ttl, err)
	}
	if ttl, err := c.Touch(t.Context(), "for ever", time.Minute, securecache.Shorten()); ttl != time.Minute || err != nil {
		t.Errorf("Touch, shortening: %v, %v", ttl, err)
	}
	bounded := securecachetest.Start(t)
	if _, err := securecache.New(bounded.Client, bounded.Keyring, &securecache.Options{AllowNoTTL: true}); err == nil {
		t.Error("AllowNoTTL passed in a namespace whose records must expire")
	}
}

func TestTouch(t *testing.T) {
	_, c := start(t, nil)
	ctx := t.Context()
	touch := func(name string, ttl, least, most time.Duration, o ...securecache.TouchOption) {
		t.Helper()
		got, err := c.Touch(ctx, name, ttl, o...)
		if err != nil || got < least || got > most {
			t.Errorf("touch %q for %v: %v, %v; want %v to %v", name, ttl, got, err, least, most)
		}
	}
	set(t, c, "sliding", "v", time.Minute, securecache.MaxLife(time.Hour))
	touch("sliding", 10*time.Minute, 10*time.Minute, 10*time.Minute)
	touch("sliding", time.Minute, 9*time.Minute, 10*time.Minute)
	touch("sliding", time.Minute, time.Minute, time.Minute, securecache.Shorten())
	touch("sliding", 2*time.Hour, 59*time.Minute, time.Hour)
	set(t, c, "fixed", "v", time.Minute)
	touch("fixed", time.Hour, 59*time.Second, time.Minute)
	if _, err := c.Touch(ctx, "absent", time.Minute); !errors.Is(err, securecache.ErrMiss) {
		t.Errorf("absent: %v", err)
	}
}

func TestReplace(t *testing.T) {
	faces(t, func(t *testing.T, o securecache.Options) {
		_, c := start(t, &o)
		ctx := t.Context()
		set(t, c, "cart", "one", time.Minute)
		item, err := c.Item(ctx, "cart")
		ok(t, err)
		if time.Until(item.Expires) > time.Minute || time.Since(item.Written) > time.Minute {
			t.Errorf("times: %v, %v", item.Written, item.Expires)
		}
		ok(t, c.Replace(ctx, "cart", item.ETag, []byte("two"), time.Minute))
		if err := c.Replace(ctx, "cart", item.ETag, []byte("three"), time.Minute); !errors.Is(err, securecache.ErrConflict) {
			t.Errorf("an old etag: %v", err)
		}
		if got, err := c.Get(ctx, "cart"); string(got) != "two" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		_, err = c.Delete(ctx, "cart")
		ok(t, err)
		if err := c.Replace(ctx, "cart", item.ETag, []byte("four"), time.Minute); !errors.Is(err, securecache.ErrMiss) {
			t.Errorf("nothing there: %v", err)
		}
	})
}

func TestMany(t *testing.T) {
	faces(t, func(t *testing.T, o securecache.Options) {
		env, c := start(t, &o)
		ctx := t.Context()
		entries := []securecache.Entry{{Name: "a", Value: []byte("1")}, {Name: ""}, {Name: "b", Value: []byte("2")}}
		errs := c.SetMany(ctx, entries, time.Minute)
		if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], securecache.ErrName) || errs[2] != nil {
			t.Errorf("SetMany: %v", errs)
		}
		ok(t, env.Admin.Set(ctx, keyOf(t, c, "planted"), "plaintext", 0).Err())
		got := c.GetMany(ctx, []string{"b", "absent", "", "planted", "a"})
		if string(got[0].Value) != "2" || string(got[4].Value) != "1" || got[0].Err != nil || got[4].Err != nil {
			t.Errorf("found: %v", got)
		}
		var refused *securecache.RefusedError
		if !errors.Is(got[1].Err, securecache.ErrMiss) || !errors.Is(got[2].Err, securecache.ErrName) || !errors.As(got[3].Err, &refused) {
			t.Errorf("errors: %v", got)
		}
		if len(c.GetMany(ctx, nil)) != 0 || len(c.SetMany(ctx, nil, time.Minute)) != 0 {
			t.Error("nothing asked, something answered")
		}
	})
}

func TestReadAppends(t *testing.T) {
	faces(t, func(t *testing.T, o securecache.Options) {
		_, c := start(t, &o)
		set(t, c, "one", "1", time.Minute)
		set(t, c, "two", "2", time.Minute)
		var keys []securecache.Key
		for _, name := range []string{"two", "nobody", "one"} {
			key, err := c.Key(codec.KindValue, name)
			ok(t, err)
			keys = append(keys, key)
		}
		first := securecache.Result{Err: errors.New("what was there before")}
		for _, dst := range [][]securecache.Result{{first}, append(make([]securecache.Result, 0, 8), first)} {
			got := c.Read(t.Context(), dst, keys)
			if len(got) != 4 || got[0].Err != first.Err || string(got[1].Value) != "2" || !errors.Is(got[2].Err, securecache.ErrMiss) ||
				string(got[3].Value) != "1" {
				t.Errorf("with room for %d: %+v", cap(dst), got)
			}
		}
		if got := c.Read(t.Context(), nil, nil); len(got) != 0 {
			t.Errorf("no keys: %+v", got)
		}
	})
}

func TestTouchMany(t *testing.T) {
	faces(t, func(t *testing.T, o securecache.Options) {
		env, c := start(t, &o)
		ctx := t.Context()
		set(t, c, "sliding", "v", time.Minute, securecache.MaxLife(time.Hour))
		set(t, c, "fixed", "v", time.Minute)
		ok(t, env.Admin.Set(ctx, keyOf(t, c, "planted"), "plaintext", 0).Err())
		ok(t, env.Admin.ScriptFlush(ctx).Err()) // the script loads on the way
		got := c.TouchMany(ctx, []string{"sliding", "absent", "", "planted", "fixed"}, 10*time.Minute)
		if got[0].TTL != 10*time.Minute || got[0].Err != nil || got[4].TTL <= 0 || got[4].TTL > time.Minute || got[4].Err != nil {
			t.Errorf("found: %v", got)
		}
		var refused *securecache.RefusedError
		if !errors.Is(got[1].Err, securecache.ErrMiss) || !errors.Is(got[2].Err, securecache.ErrName) || !errors.As(got[3].Err, &refused) {
			t.Errorf("errors: %v", got)
		}
		if got := c.TouchMany(ctx, []string{"sliding"}, time.Minute, securecache.Shorten()); got[0].TTL != time.Minute || got[0].Err != nil {
			t.Errorf("shortened: %v", got)
		}
		if ttl, err := c.TTL(ctx, "sliding"); err != nil || ttl > time.Minute {
			t.Errorf("on the server: %v, %v", ttl, err)
		}
		if got := c.TouchMany(ctx, []string{"sliding", ""}, 0); !errors.Is(got[0].Err, securecache.ErrNoTTL) || !errors.Is(got[1].Err, securecache.ErrNoTTL) {
			t.Errorf("without a TTL: %v", got)
		}
		if len(c.TouchMany(ctx, nil, time.Minute)) != 0 {
			t.Error("nothing asked, something answered")
		}
	})
}

func TestTaggedNamesAreOthers(t *testing.T) {
	_, c := start(t, nil)
	tagged := c.Tagged("tenant 7")
	set(t, c, "name", "untagged", time.Minute)
	set(t, tagged, "name", "tagged", time.Minute)
	for view, want := range map[*securecache.Cache]string{c: "untagged", tagged: "tagged"} {
		if got, err := view.Get(t.Context(), "name"); string(got) != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	slot := func(key string) string { return key[strings.Index(key, "{"):strings.Index(key, "}")] }
	if slot(keyOf(t, tagged, "name")) != slot(keyOf(t, tagged, "other")) || slot(keyOf(t, c, "name")) == slot(keyOf(t, c, "other")) {
		t.Error("a tag is what names share a slot by")
	}
	if tagged.Stats() != c.Stats() {
		t.Error("views count together")
	}
}

func TestNewRefusesClients(t *testing.T) {
	env := securecachetest.Start(t)
	unbounded := redis.NewClient(&redis.Options{Addr: env.Server.Addr(), TLSConfig: env.TLS})
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": env.Server.Addr()}})
	t.Cleanup(func() { _, _ = unbounded.Close(), ring.Close() })
	for name, rdb := range map[string]redis.UniversalClient{"deadlines not kept": unbounded, "a ring": ring, "none": nil} {
		if _, err := securecache.New(rdb, env.Keyring, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := securecache.New(env.Client, nil, nil); err == nil {
		t.Error("no keyring: accepted")
	}
}

func TestClosedKeyringFailsClosed(t *testing.T) {
	env, c := start(t, nil)
	set(t, c, "a", "v", time.Minute)
	ok(t, env.Keyring.Close())
	ctx := context.Background()
	if _, err := c.Get(ctx, "a"); !errors.Is(err, keys.ErrClosed) {
		t.Errorf("Get: %v", err)
	}
	if err := c.Set(ctx, "a", nil, time.Minute); !errors.Is(err, keys.ErrClosed) {
		t.Errorf("Set: %v", err)
	}
}
