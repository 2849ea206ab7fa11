package session_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
)

func TestList(t *testing.T) {
	everywhere(t, func(t *testing.T, b *bed) {
		s, ctx := b.store(t, nil), t.Context()
		listed(t, s, "alice", "")
		var tokens []string
		for _, note := range []string{"one", "two", "three"} {
			tokens = append(tokens, create(t, s, "alice", note))
			b.pass(time.Millisecond)
		}
		create(t, s, "bob", "bob's")
		create(t, s, "", "nobody's")
		list := listed(t, s, "alice", "one two three")
		for i, one := range list {
			if got := holds(t, s, tokens[i], one.Value.Note); got.ID() != one.ID() || one.Subject() != "alice" || one.Ends() != got.Ends() {
				t.Errorf("%s is listed as of %q until %v", one.Value.Note, one.Subject(), one.Ends())
			}
		}
		list[1].Value.Note = "changed"
		ok(t, s.Update(ctx, list[1]))
		holds(t, s, tokens[1], "changed")
		ok(t, s.Destroy(ctx, tokens[0]))
		listed(t, s, "alice", "changed three")
		listed(t, s, "bob", "bob's")
	})
}

func TestRevoke(t *testing.T) {
	everywhere(t, func(t *testing.T, b *bed) {
		s, ctx := b.store(t, nil), t.Context()
		tokens := []string{create(t, s, "alice", "one")}
		b.pass(time.Millisecond)
		tokens = append(tokens, create(t, s, "alice", "two"))
		list := listed(t, s, "alice", "one two")
		revokes := func(subject, id string, want bool) {
			t.Helper()
			if was, err := s.Revoke(ctx, subject, id); was != want || err != nil {
				t.Errorf("revoke says %t, %v; want %t", was, err, want)
			}
		}
		revokes("bob", list[0].ID(), false) // another subject's id is none
		for _, bad := range []string{"", "x", strings.Repeat("/", 22), list[0].ID() + "A", "{}" + list[0].ID()[2:]} {
			revokes("alice", bad, false)
		}
		listed(t, s, "alice", "one two")
		revokes("alice", list[0].ID(), true)
		gone(t, s, tokens[0])
		listed(t, s, "alice", "two")
		revokes("alice", list[0].ID(), false)
	})
}

func TestDestroyAll(t *testing.T) {
	everywhere(t, func(t *testing.T, b *bed) {
		s, ctx := b.store(t, nil), t.Context()
		var tokens []string
		for range 3 {
			tokens = append(tokens, create(t, s, "alice", "one"))
		}
		bobs := create(t, s, "bob", "bob's")
		ok(t, s.Destroy(ctx, tokens[2])) // the index still names it
		n, err := s.DestroyAll(ctx, "alice")
		if n != 2 || err != nil {
			t.Errorf("%d ended, %v", n, err)
		}
		for _, token := range tokens {
			gone(t, s, token)
		}
		holds(t, s, bobs, "bob's")
		if n, err := s.DestroyAll(ctx, "alice"); n != 0 || err != nil {
			t.Errorf("%d ended, %v", n, err)
		}
		if left := len(b.names(t, codec.KindSubject)); left != 1 {
			t.Errorf("%d indexes are left", left)
		}
		listed(t, s, "alice", "")
		create(t, s, "alice", "after")
		listed(t, s, "alice", "after")
	})
}

func TestRevokeBefore(t *testing.T) {
	b := onMini(t)
	s, ctx := b.store(t, nil), t.Context()
	first := create(t, s, "alice", "first")
	b.pass(time.Minute)
	second := create(t, s, "alice", "second")
	cut := b.clock.Now()
	b.pass(time.Minute)
	got := holds(t, s, first, "first") // what is written later does not make it younger
	got.Value.Note = "rewritten"
	ok(t, s.Update(ctx, got))
	moved, err := s.Regenerate(ctx, first)
	ok(t, err)
	listed(t, s, "alice", "rewritten second")
	n, err := s.RevokeBefore(ctx, "alice", cut)
	if n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	gone(t, s, moved)
	holds(t, s, second, "second")
	if n, err := s.RevokeBefore(ctx, "alice", cut.Add(time.Millisecond)); n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
}

// TestForeignIndex has the server write into a subject's index.
func TestForeignIndex(t *testing.T) {
	b := onServer(t)
	s, ctx := b.store(t, nil), t.Context()
	token := create(t, s, "alice", "one")
	index := b.only(t, codec.KindSubject)
	mine := b.only(t, codec.KindSession)
	score := float64(time.Now().Add(time.Hour).UnixMilli())

	// A session of another subject, copied to where alice's index can name it.
	mallory := create(t, s, "mallory", "mallory's")
	var theirs string
	for _, name := range b.names(t, codec.KindSession) {
		if name != mine {
			theirs = name
		}
	}
	id := theirs[len(theirs)-22:]
	copied := mine[:len(mine)-22] + id
	ok(t, b.admin.Set(ctx, copied, b.admin.Get(ctx, theirs).Val(), time.Hour).Err())
	ok(t, b.admin.ZAdd(ctx, index, redis.Z{Score: score, Member: id}).Err())
	listed(t, s, "alice", "one")

	// Nobody's session, in alice's slot as one of a colliding tag would be.
	key, err := securecache.ParseKey(copied)
	ok(t, err)
	content := append([]byte{0, 0, 0, 3}, "eve"...)
	content = append(content, make([]byte, 6)...)
	content = append(content, 0x7f, 0, 0, 0, 0, 0)
	record, err := b.cache.Seal(key, time.Now().Add(time.Hour), append(content, `{"Note":"eve's"}`...))
	ok(t, err)
	ok(t, b.admin.Set(ctx, copied, record, time.Hour).Err())
	listed(t, s, "alice", "one")
	if n, err := s.DestroyAll(ctx, "alice"); n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	gone(t, s, token)
	holds(t, s, mallory, "mallory's")
	if b.admin.Exists(ctx, copied).Val() != 1 {
		t.Error("another's session was ended with hers")
	}

	for name, m := range map[string]string{
		"empty": "", "short": "x", "with a brace": "}" + id[1:], "with a colon": ":" + id[1:], "a second spelling": id[:21] + "_", "long": strings.Repeat("A", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, b.admin.Del(ctx, index).Err())
			ok(t, b.admin.ZAdd(ctx, index, redis.Z{Score: score, Member: m}).Err())
			if list, err := s.List(ctx, "alice"); err == nil {
				t.Errorf("%d sessions are listed", len(list))
			}
			if _, err := s.DestroyAll(ctx, "alice"); err == nil || errors.Is(err, securecache.ErrMiss) {
				t.Errorf("all was said to have ended: %v", err)
			}
		})
	}
}

// TestManySessions takes a subject with more sessions than Lua unpacks at once.
func TestManySessions(t *testing.T) {
	b := onServer(t)
	n := 300
	if servertest.Long() {
		n = 10_000
	}
	s := b.store(t, &session.Options{Idle: time.Hour})
	for range n {
		create(t, s, "alice", "one")
	}
	list, err := s.List(t.Context(), "alice")
	if len(list) != n || err != nil {
		t.Errorf("%d of %d are listed, %v", len(list), n, err)
	}
	if ended, err := s.DestroyAll(t.Context(), "alice"); ended != n || err != nil {
		t.Errorf("%d of %d ended, %v", ended, n, err)
	}
	if left := len(b.names(t, codec.KindSession)); left != 0 {
		t.Errorf("%d are left", left)
	}
}
