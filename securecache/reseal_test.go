package securecache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// resealer is a cache with the operator's login, which reseals.
type resealer struct {
	*securecache.Cache
	env     *securecachetest.Env
	rdb     redis.UniversalClient
	keyring *keys.Keyring
	file    string
	clock   *servertest.Clock
	refused refusals
}

func startResealer(t *testing.T, batch bool) *resealer {
	t.Helper()
	return startResealerIn(t, keys.Layout{}, batch)
}

func startResealerIn(t *testing.T, layout keys.Layout, batch bool) *resealer {
	t.Helper()
	env := securecachetest.Start(t)
	r := newResealer(t, env.Namespace, layout)
	r.env = env
	r.connect(t, env.Server.OperatorURL(), env.TLS, batch)
	return r
}

// newResealer makes the keyring, and no cache yet.
func newResealer(t *testing.T, namespace string, layout keys.Layout) *resealer {
	t.Helper()
	r := &resealer{file: filepath.Join(t.TempDir(), "keyring.json"), clock: servertest.NewClock(time.Now())}
	ctx, store, wrapper := t.Context(), keys.NewFile(r.file), keys.InsecurePlain()
	ok(t, keys.Create(ctx, namespace, store, wrapper, layout))
	var err error
	r.keyring, err = keys.Open(ctx, namespace, store, wrapper, nil)
	ok(t, err)
	t.Cleanup(func() { _ = r.keyring.Close() })
	return r
}

func (r *resealer) connect(t *testing.T, url string, config *tls.Config, batch bool) {
	t.Helper()
	rdb, err := securecache.Connect(url, config)
	ok(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	r.on(t, rdb, batch)
}

// on makes the cache, on a client.
func (r *resealer) on(t *testing.T, rdb redis.UniversalClient, batch bool) {
	t.Helper()
	var err error
	r.rdb = rdb
	r.Cache, err = securecache.New(rdb, r.keyring, &securecache.Options{
		Batch: batch, OnRefused: r.refused.add, Codec: codec.Options{Now: r.clock.Now},
	})
	ok(t, err)
	t.Cleanup(func() { _ = r.Cache.Close() })
}

// rotate makes another key the primary at once: it is made by a process whose
// clock is slow, so it comes right behind the last.
func (r *resealer) rotate(t *testing.T) keys.ID {
	t.Helper()
	slow := func() time.Time { return time.Now().Add(-time.Hour) }
	k, err := keys.Open(t.Context(), r.keyring.Namespace(), keys.NewFile(r.file), keys.InsecurePlain(), &keys.Options{Now: slow})
	ok(t, err)
	defer k.Close()
	info, err := k.Rotate(t.Context())
	ok(t, err)
	ok(t, r.keyring.Refresh(t.Context()))
	r.clock.Advance(time.Second)
	return info.ID
}

// place stores a record of any kind.
func (r *resealer) place(t *testing.T, kind codec.Kind, name string) securecache.Key {
	t.Helper()
	key, err := r.Key(kind, name)
	ok(t, err)
	record, err := r.Seal(key, r.clock.Now().Add(time.Hour), []byte(name))
	ok(t, err)
	ok(t, r.rdb.Set(t.Context(), key.String(), record, time.Hour).Err())
	return key
}

func (r *resealer) header(t *testing.T, key securecache.Key) codec.Header {
	t.Helper()
	record, err := r.rdb.Get(t.Context(), key.String()).Bytes()
	ok(t, err)
	h, err := codec.ParseHeader(record)
	ok(t, err)
	return h
}

func TestReseal(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]bool{"alone": false, "batched": true} {
		t.Run(name, func(t *testing.T) {
			r := startResealer(t, batch)
			var found []securecache.Key
			for _, kind := range []codec.Kind{codec.KindValue, codec.KindSession, codec.KindDenylist, codec.KindOnce, 0x80} {
				found = append(found, r.place(t, kind, "name"))
			}
			before := r.header(t, found[0])
			primary := r.rotate(t)
			already := r.place(t, codec.KindValue, "new")

			got, err := r.Reseal(t.Context(), append(found, already))
			ok(t, err)
			if got.Bytes == 0 {
				t.Error("no bytes were counted")
			}
			got.Bytes = 0
			if want := (securecache.Resealed{Sealed: 5, Already: 1}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			after := r.header(t, found[0])
			if after.KeyID != primary || !after.Written.Equal(before.Written) || !after.Expires.Equal(before.Expires) {
				t.Errorf("%+v became %+v", before, after)
			}
			for _, key := range found {
				record, err := r.rdb.Get(t.Context(), key.String()).Bytes()
				ok(t, err)
				if value, err := r.Open(t.Context(), key, record); err != nil || string(value) != "name" {
					t.Errorf("kind %s: %q, %v", key.Kind(), value, err)
				}
				if ttl := r.rdb.PTTL(t.Context(), key.String()).Val(); ttl <= 50*time.Minute || ttl > time.Hour {
					t.Errorf("kind %s: the TTL is %s", key.Kind(), ttl)
				}
			}
			if got, err = r.Reseal(t.Context(), found); err != nil || got.Already != 5 {
				t.Errorf("once more: %+v, %v", got, err)
			}
		})
	}
}

func TestResealLeavesTheRest(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), startResealer(t, false)
	parse := func(text string) securecache.Key {
		key, err := securecache.ParseKey("sc:" + r.env.Namespace + ":" + text)
		ok(t, err)
		return key
	}
	moved, tampered, outlived := r.place(t, codec.KindValue, "moved"), r.place(t, codec.KindValue, "tampered"), r.place(t, codec.KindValue, "outlived")
	ok(t, r.env.Admin.Copy(ctx, moved.String(), parse("v:{elsewhere}").String(), 0, true).Err())
	record, err := r.rdb.Get(ctx, tampered.String()).Bytes()
	ok(t, err)
	record = bytes.Clone(record)
	record[len(record)-1] ^= 1
	ok(t, r.rdb.Set(ctx, tampered.String(), record, 0).Err())
	ok(t, r.rdb.Set(ctx, parse("v:{plain}").String(), "text", 0).Err())
	ok(t, r.env.Admin.RPush(ctx, parse("v:{list}").String(), "x").Err())
	ok(t, r.rdb.Set(ctx, parse("x80:{counter}").String(), "1", 0).Err())
	ok(t, r.env.Admin.RPush(ctx, parse("xff:{list}").String(), "x").Err())
	ok(t, r.env.Admin.Persist(ctx, outlived.String()).Err())
	r.rotate(t)
	ok(t, r.env.Admin.Del(ctx, moved.String()).Err())
	r.clock.Advance(2 * time.Hour) // all records are past their end, where they open at all

	got, err := r.Reseal(ctx, []securecache.Key{
		moved, outlived, tampered, parse("v:{elsewhere}"), parse("v:{plain}"), parse("v:{list}"),
		parse("x80:{counter}"), parse("xff:{list}"), parse("l:{lock}"), parse("e:{schedule}"),
	})
	ok(t, err)
	got.Bytes = 0
	if want := (securecache.Resealed{Gone: 2, Refused: 4, Other: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	want := map[string]codec.Reason{
		tampered.String(): codec.ReasonAuthentication, parse("v:{elsewhere}").String(): codec.ReasonAuthentication,
		parse("v:{plain}").String(): codec.ReasonNotRecord, parse("v:{list}").String(): codec.ReasonNotRecord,
	}
	for _, one := range r.refused.take() {
		if want[one.Key] != one.Err.Reason {
			t.Errorf("%s: %s", one.Key, one.Err.Reason)
		}
		delete(want, one.Key)
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
	if left, err := r.rdb.Get(ctx, tampered.String()).Bytes(); err != nil || !bytes.Equal(left, record) {
		t.Errorf("what was refused has changed: %v", err)
	}
}

func TestResealHashes(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), startResealer(t, false)
	key, err := r.Key(codec.KindHash, "hash")
	ok(t, err)
	records, err := codec.New(r.keyring, nil)
	ok(t, err)
	const fields = 700 // some portions
	binding := func(field string) codec.Binding {
		b := key.Binding()
		b.FieldID = field
		return b
	}
	for i := range fields {
		field := string(rune('a'+i%26)) + string(rune('0'+i/26))
		record, err := records.Seal(nil, binding(field), time.Now().Add(time.Hour), []byte(field))
		ok(t, err)
		ok(t, r.rdb.HSet(ctx, key.String(), field, record).Err())
	}
	ok(t, r.rdb.PExpire(ctx, key.String(), time.Hour).Err())
	ok(t, r.rdb.HSet(ctx, key.String(), "plain", "text").Err())
	primary := r.rotate(t)
	got, err := r.Reseal(ctx, []securecache.Key{key})
	ok(t, err)
	if got.Sealed < fields || got.Refused != 1 {
		t.Errorf("%+v", got)
	}
	all, err := r.env.Admin.HGetAll(ctx, key.String()).Result()
	ok(t, err)
	delete(all, "plain")
	if len(all) != fields {
		t.Errorf("%d fields are left", len(all))
	}
	for field, record := range all {
		h, err := codec.ParseHeader([]byte(record))
		ok(t, err)
		value, err := records.Open(nil, binding(field), []byte(record))
		if h.KeyID != primary || err != nil || string(value) != field {
			t.Fatalf("a field under %s: %v", h.KeyID, err)
		}
	}
	if ttl := r.rdb.PTTL(ctx, key.String()).Val(); ttl <= 0 {
		t.Errorf("the hash's TTL is %s", ttl)
	}
}

// TestResealWithoutScripts takes the scripts away: they are loaded again, and
// where that is not allowed the error says so.
func TestResealWithoutScripts(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), startResealer(t, false)
	if r.env.Server.Lacks() != nil {
		t.Skip("the embedded server has no ACL")
	}
	key := r.place(t, codec.KindValue, "name")
	r.rotate(t)
	flush := &beforeScripts{do: func() { ok(t, r.env.Admin.ScriptFlush(ctx).Err()) }}
	r.rdb.AddHook(flush)
	if got, err := r.Reseal(ctx, []securecache.Key{key}); err != nil || got.Sealed != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	r.rotate(t)
	flush.done = false
	ok(t, r.env.Admin.Do(ctx, "acl", "setuser", "operator", "-script|load").Err())
	_, err := r.Reseal(ctx, []securecache.Key{key})
	if !errors.Is(err, lua.ErrNotLoaded) || !redis.HasErrorPrefix(err, "NOPERM") {
		t.Errorf("without the right to load: %v", err)
	}
}

func TestResealNeedsItsRights(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), startResealer(t, false)
	if r.env.Server.Lacks() != nil {
		t.Skip("the embedded server has no ACL")
	}
	key, hash := r.place(t, codec.KindValue, "name"), "sc:"+r.env.Namespace+":h:{hash}"
	ok(t, r.env.Admin.HSet(ctx, hash, "f", "x").Err())
	hashKey, err := securecache.ParseKey(hash)
	ok(t, err)
	r.rotate(t)
	app, err := securecache.New(r.env.Client, r.keyring, nil)
	ok(t, err)
	defer app.Close()
	if got, err := app.Reseal(ctx, []securecache.Key{key}); err != nil || got.Sealed != 1 {
		t.Errorf("a value: %+v, %v", got, err)
	}
	ok(t, r.env.Admin.Do(ctx, "acl", "setuser", r.env.Client.Options().Username, "-hscan").Err())
	if _, err := app.Reseal(ctx, []securecache.Key{hashKey}); !redis.HasErrorPrefix(err, "NOPERM") {
		t.Errorf("a hash: %v", err)
	}
	if _, err := app.Reseal(canceled(ctx), []securecache.Key{key}); err == nil {
		t.Error("a context that has ended was not noticed")
	}
}

func canceled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
