package session_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecachetest"
)

// tolerance is for what a machine takes that has other things to do: the windows
// that are told apart by it are half an hour apart.
const tolerance = time.Minute

var sharded = securecachetest.WithLayout(keys.Layout{Shards: 4})

// due returns what the schedule announces, "id:subject" each, and how far ahead;
// it fails where a deadline has no payload or the other way round.
func (b *bed) due(t *testing.T) map[string]time.Duration {
	t.Helper()
	found, ctx := make(map[string]time.Duration), t.Context()
	for _, shard := range b.cache.Shards() {
		scores := b.admin.ZRangeWithScores(ctx, shard.Part("due").String(), 0, -1).Val()
		payloads := b.admin.HGetAll(ctx, shard.Part("event").String()).Val()
		if len(scores) != len(payloads) {
			t.Fatalf("%d deadlines, %d events", len(scores), len(payloads))
		}
		for _, z := range scores {
			field := z.Member.(string)
			event, err := b.cache.OpenEvent(ctx, shard, field, []byte(payloads[field]))
			ok(t, err)
			subject, id, isOne := session.Ended(event.Key, event.Name)
			if !isOne || event.Value != nil || !strings.HasSuffix(field, id) {
				t.Fatalf("an event of %v called %q", event.Key.Kind(), event.Name)
			}
			if off := event.Deadline.Sub(time.UnixMilli(int64(z.Score))).Abs(); off > tolerance {
				t.Errorf("the payload's deadline is off by %v", off)
			}
			found[id+":"+subject] = time.Until(time.UnixMilli(int64(z.Score)))
		}
	}
	return found
}

// TestScheduled holds every write of a session to keeping the schedule of a
// namespace that has one.
func TestScheduled(t *testing.T) {
	b := onServer(t, sharded)
	s, ctx := b.store(t, &session.Options{Idle: idle, Absolute: absolute}), t.Context()
	for name, subject := range map[string]string{"of a subject": "alice", "of nobody": ""} {
		t.Run(name, func(t *testing.T) {
			announces := func(what string, after time.Duration, sessions ...*session.Session[cart]) {
				t.Helper()
				due := b.due(t)
				if len(due) != len(sessions) {
					t.Errorf("%s: %d events, want %d", what, len(due), len(sessions))
				}
				for _, one := range sessions {
					if d, there := due[one.ID()+":"+subject]; !there || d > after || d < after-tolerance {
						t.Errorf("%s: due is %v, want %v", what, due, after)
					}
				}
			}
			token := create(t, s, subject, "one")
			got := holds(t, s, token, "one")
			announces("create", idle, got)
			ok(t, s.Update(ctx, got))
			announces("update", idle, got)

			other := b.store(t, &session.Options{Idle: time.Hour, Absolute: absolute}) // which has not touched it
			holds(t, other, token, "one")
			announces("touch", time.Hour, got)

			token, err := s.Regenerate(ctx, token)
			ok(t, err)
			got = holds(t, s, token, "one")
			announces("regenerate", idle, got)
			token, err = s.Login(ctx, got, subject, got.Value)
			ok(t, err)
			got = holds(t, s, token, "one")
			announces("login", idle, got)
			ok(t, s.Destroy(ctx, token))
			announces("destroy", idle)
			if subject == "" {
				return
			}
			first, second, third := create(t, s, subject, "one"), create(t, s, subject, "two"), create(t, s, subject, "three")
			_, err = s.Revoke(ctx, subject, holds(t, s, first, "one").ID())
			ok(t, err)
			announces("revoke", idle, holds(t, s, second, "two"), holds(t, s, third, "three"))
			n, err := s.DestroyAll(ctx, subject)
			if n != 2 || err != nil {
				t.Errorf("%d ended, %v", n, err)
			}
			announces("destroyall", idle)
		})
	}
	t.Run("scs", func(t *testing.T) {
		adapter := b.scs(t)
		for _, life := range []time.Duration{time.Hour, 2 * time.Hour} {
			ok(t, adapter.CommitCtx(ctx, "token", []byte("data"), time.Now().Add(life)))
			for name, d := range b.due(t) {
				if !strings.HasSuffix(name, ":") || strings.Contains(name, "token") || d > life || d < life-tolerance {
					t.Errorf("due is %q in %v", name, d)
				}
			}
		}
		ok(t, adapter.DeleteCtx(ctx, "token"))
		ok(t, adapter.CommitCtx(ctx, "other", []byte("data"), time.Now().Add(time.Hour)))
		ok(t, adapter.CommitCtx(ctx, "other", []byte("data"), time.Now().Add(-time.Hour)))
		if due := b.due(t); len(due) != 0 {
			t.Errorf("due are %v", due)
		}
	})
}

// TestEndedIsAnnounced listens for sessions that nobody uses any more: each that
// ends is announced once, at its time, and none that was destroyed.
func TestEndedIsAnnounced(t *testing.T) {
	t.Parallel()
	b := onServer(t, sharded)
	const short = 2 * time.Second
	s, ctx := b.store(t, &session.Options{Idle: short, Absolute: time.Hour}), t.Context()
	var mu sync.Mutex
	var got []string
	listening, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- expiry.Listen(listening, b.cache, func(_ context.Context, e expiry.Event) error {
			subject, _, isOne := session.Ended(e.Key, e.Name)
			if !isOne {
				t.Errorf("an event of %v", e.Key.Kind())
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, subject)
			return nil
		}, nil)
	}()
	create(t, s, "idle", "one")
	ended := create(t, s, "destroyed", "one")
	moved := create(t, s, "moved", "one")
	create(t, s, "out", "one")
	ok(t, s.Destroy(ctx, ended))
	_, err := s.Regenerate(ctx, moved)
	ok(t, err)
	_, err = s.DestroyAll(ctx, "out")
	ok(t, err)
	used := create(t, s, "used", "one")
	announced := func(n int) bool { mu.Lock(); defer mu.Unlock(); return len(got) >= n }
	for began := time.Now(); time.Since(began) < 2*short || !announced(2) && time.Since(began) < time.Minute; {
		holds(t, s, used, "one")
		<-time.After(short / 8)
	}
	mu.Lock()
	if slices.Sort(got); !slices.Equal(got, []string{"idle", "moved"}) {
		t.Errorf("announced are %q while one is in use", got)
	}
	mu.Unlock()
	servertest.Eventually(t, "the last one ends", func() bool { return announced(3) })
	gone(t, s, used)
	if due := b.due(t); len(due) != 0 {
		t.Errorf("due are %v", due)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"idle", "moved", "used"}) {
		t.Errorf("announced are %q", got)
	}
}

func TestEnded(t *testing.T) {
	b := onServer(t, sharded)
	s := b.store(t, nil)
	create(t, s, "a:b", "one")
	key, err := securecache.ParseKey(b.only(t, codec.KindSession))
	ok(t, err)
	id := listed(t, s, "a:b", "one")[0].ID()
	if subject, got, isOne := session.Ended(key, id+":a:b"); subject != "a:b" || got != id || !isOne {
		t.Errorf("%q %q %t", subject, got, isOne)
	}
	create(t, s, "other", "two")
	other := listed(t, s, "other", "two")[0].ID()
	value, err := b.cache.Key(codec.KindValue, "x")
	ok(t, err)
	for name, tc := range map[string]struct {
		key  securecache.Key
		name string
	}{
		"a value": {value, id + ":a:b"}, "no colon": {key, id}, "another id": {key, other + ":a:b"}, "empty": {key, ""},
	} {
		if _, _, isOne := session.Ended(tc.key, tc.name); isOne {
			t.Errorf("%s: taken for a session", name)
		}
	}
}

// TestRetentionLeavesNoRoom refuses timeouts that the events do not fit behind.
func TestRetentionLeavesNoRoom(t *testing.T) {
	b := onServer(t, securecachetest.WithLayout(keys.Layout{Shards: 4, MaxLife: 4 * time.Hour}))
	c, err := securecache.New(b.rdb, b.keys, &securecache.Options{Schedule: securecache.Schedule{Retention: 3 * time.Hour}})
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = session.New(c, codec.Bytes(), &session.Options{Idle: 90 * time.Minute})
	is(t, "an idle timeout of 90 minutes", err, codec.ErrLifetime)
	_, err = session.New(c, codec.Bytes(), &session.Options{Idle: 50 * time.Minute})
	ok(t, err)
}
