package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
)

var (
	_ scs.Store    = (*session.SCS)(nil)
	_ scs.CtxStore = (*session.SCS)(nil)
)

// TestSCSCannotIterate holds the adapter to what it leaves out: no method of the
// name may come back by accident.
func TestSCSCannotIterate(t *testing.T) {
	var s any = (*session.SCS)(nil)
	if _, all := s.(scs.IterableStore); all {
		t.Error("it has All")
	}
	if _, all := s.(scs.IterableCtxStore); all {
		t.Error("it has AllCtx")
	}
}

func (b *bed) scs(t *testing.T) *session.SCS {
	t.Helper()
	s, err := session.NewSCS(b.cache, &session.Options{Idle: idle})
	ok(t, err)
	return s
}

// finds fails unless data is found under token; "" is nothing.
func finds(t *testing.T, s *session.SCS, token, data string) {
	t.Helper()
	b, found, err := s.FindCtx(t.Context(), token)
	if string(b) != data || found != (data != "") || err != nil {
		t.Errorf("found %t %q, %v; want %q", found, b, err, data)
	}
}

func TestSCSStore(t *testing.T) {
	everywhere(t, func(t *testing.T, b *bed) {
		s, ctx := b.scs(t), t.Context()
		at := func(d time.Duration) time.Time { return b.clock.Now().Add(d) }

		finds(t, s, "token", "") // missing
		finds(t, s, "", "")
		ok(t, s.DeleteCtx(ctx, "never there"))
		ok(t, s.DeleteCtx(ctx, ""))

		ok(t, s.CommitCtx(ctx, "token", []byte("encoded data"), at(time.Minute)))
		finds(t, s, "token", "encoded data")
		finds(t, s, "token ", "")
		ok(t, s.CommitCtx(ctx, "token", []byte("new data"), at(2*time.Hour)))
		finds(t, s, "token", "new data")
		if ttl := b.admin.PTTL(ctx, b.only(t, codec.KindSession)).Val(); ttl > 2*time.Hour || ttl < 2*time.Hour-time.Minute {
			t.Errorf("the server keeps it for %v", ttl)
		}
		ok(t, s.CommitCtx(ctx, "bytes\x00\xff", []byte("\x00\xff"), at(time.Minute)))
		finds(t, s, "bytes\x00\xff", "\x00\xff")

		ok(t, s.DeleteCtx(ctx, "token"))
		finds(t, s, "token", "")
		is(t, "commit after a delete", s.CommitCtx(ctx, "token", []byte("revenant"), at(time.Hour)), session.ErrDestroyed)
		finds(t, s, "token", "")
		ok(t, s.DeleteCtx(ctx, "token"))

		ok(t, s.CommitCtx(ctx, "short", []byte("data"), at(time.Minute)))
		finds(t, s, "short", "data")
		b.pass(time.Minute)
		finds(t, s, "short", "")
		ok(t, s.CommitCtx(ctx, "past", []byte("data"), at(time.Minute)))
		ok(t, s.CommitCtx(ctx, "past", []byte("data"), at(-time.Hour)))
		finds(t, s, "past", "")
		ok(t, s.CommitCtx(ctx, "past", []byte("data"), at(time.Minute))) // that was no delete
		finds(t, s, "past", "data")
		is(t, "beyond any life", s.CommitCtx(ctx, "long", []byte("data"), at(1000*24*time.Hour)), codec.ErrLifetime)

		for _, name := range append(b.names(t, codec.KindSession), b.names(t, codec.KindSubject)...) {
			if strings.Contains(name, "token") || b.admin.PTTL(ctx, name).Val() <= 0 {
				t.Errorf("%s stands until %v", name, b.admin.PTTL(ctx, name).Val())
			}
		}
	})
}

func TestSCSWithoutContext(t *testing.T) {
	b := onServer(t)
	s := b.scs(t)
	ok(t, s.Commit("token", []byte("data"), time.Now().Add(time.Minute)))
	got, found, err := s.Find("token")
	if string(got) != "data" || !found || err != nil {
		t.Errorf("found %t %q, %v", found, got, err)
	}
	ok(t, s.Delete("token"))
	finds(t, s, "token", "")
}

// TestSCSTombstone stands for one idle window.
func TestSCSTombstone(t *testing.T) {
	b := onMini(t)
	s, ctx := b.scs(t), t.Context()
	commit := func() error {
		return s.CommitCtx(ctx, "token", []byte("data"), b.clock.Now().Add(time.Hour))
	}
	ok(t, commit())
	ok(t, s.DeleteCtx(ctx, "token"))
	b.pass(idle - time.Millisecond)
	is(t, "within the window", commit(), session.ErrDestroyed)
	b.pass(time.Millisecond)
	ok(t, commit())
	finds(t, s, "token", "data")
}

func TestSCSRefuses(t *testing.T) {
	b := onServer(t)
	var told refusals
	c, err := securecache.New(b.rdb, b.keys, &securecache.Options{OnRefused: told.add})
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	b.cache = c
	s, ctx := b.scs(t), t.Context()
	in := time.Now().Add(time.Hour)
	ok(t, s.CommitCtx(ctx, "one", []byte("data of one"), in))
	record := b.only(t, codec.KindSession)
	if held := b.admin.Get(ctx, record).Val(); strings.Contains(held, "data of one") {
		t.Error("the server reads it")
	}
	ok(t, s.CommitCtx(ctx, "two", []byte("data of two"), in))
	for _, name := range b.names(t, codec.KindSession) {
		if name != record {
			ok(t, b.admin.Set(ctx, record, b.admin.Get(ctx, name).Val(), time.Hour).Err())
		}
	}
	finds(t, s, "one", "")
	if told.take() != 1 {
		t.Error("nobody was told")
	}
	other, err := session.NewSCS(b.cache, &session.Options{Realm: "other"})
	ok(t, err)
	finds(t, other, "two", "")
	if _, err := session.NewSCS(nil, nil); err == nil {
		t.Error("no cache was enough")
	}
	if _, err := session.NewSCS(b.cache, &session.Options{Idle: -1}); err == nil {
		t.Error("a negative idle timeout was accepted")
	}
}

// TestSCSLogoutBeatsCommit races a delete against commits that know of none.
func TestSCSLogoutBeatsCommit(t *testing.T) {
	tries := 300
	if servertest.Long() {
		tries = 10_000
	}
	b := onServer(t)
	s, ctx := b.scs(t), t.Context()
	stored := 0
	for i := range tries {
		token := fmt.Sprintf("token %d", i)
		in := time.Now().Add(time.Hour)
		ok(t, s.CommitCtx(ctx, token, []byte("one"), in))
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.DeleteCtx(ctx, token); err != nil {
				t.Error(err)
			}
		})
		results := make([]error, 2)
		for n := range results {
			wg.Go(func() { results[n] = s.CommitCtx(ctx, token, []byte("two"), in) })
		}
		wg.Wait()
		for _, err := range results {
			switch {
			case err == nil:
				stored++
			case !errors.Is(err, session.ErrDestroyed):
				t.Error(err)
			}
		}
		finds(t, s, token, "")
	}
	if stored == 0 || stored == 2*tries {
		t.Errorf("nothing raced: %d of %d commits came first", stored, 2*tries)
	}
}

// TestSCSAway tells a store that gives no answer from one that has nothing.
func TestSCSAway(t *testing.T) {
	b := onServer(t)
	servertest.Real(t, b.env.Server)
	s := b.scs(t)
	ok(t, s.CommitCtx(t.Context(), "token", []byte("data"), time.Now().Add(time.Hour)))
	ok(t, b.env.Server.Pause())
	defer func() { ok(t, b.env.Server.Resume()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, found, err := s.FindCtx(ctx, "token"); found || err == nil {
		t.Errorf("find: %t, %v", found, err)
	}
	if err := s.CommitCtx(ctx, "token", []byte("data"), time.Now().Add(time.Hour)); err == nil {
		t.Error("commit: no error")
	}
	if err := s.DeleteCtx(ctx, "token"); err == nil {
		t.Error("delete: no error")
	}
}
