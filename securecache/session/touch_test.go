package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
)

// TestTouchKeepsAlive holds sessions open all day, as connections would, and
// reads none of them before its end.
func TestTouchKeepsAlive(t *testing.T) {
	b := onMini(t)
	s := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
	began := b.clock.Now()
	var tokens []string
	for i := range 10 {
		tokens = append(tokens, create(t, s, fmt.Sprintf("subject %d", i%7), "one"))
	}
	left := create(t, s, "subject 0", "left alone")
	touched := func(want error) {
		t.Helper()
		for _, err := range s.Touch(t.Context(), tokens) {
			if !errors.Is(err, want) {
				t.Fatalf("after %v: %v, want %v", b.clock.Now().Sub(began), err, want)
			}
		}
	}
	for b.clock.Now().Sub(began) < absolute-idle {
		b.pass(idle - time.Millisecond)
		touched(nil)
	}
	gone(t, s, left)
	b.pass(absolute - b.clock.Now().Sub(began) - time.Millisecond)
	touched(nil)
	for _, token := range tokens {
		if got := holds(t, s, token, "one"); !got.Created().Equal(began) || got.Ends().Sub(began) != absolute {
			t.Fatalf("created at %v, ends at %v", got.Created(), got.Ends())
		}
	}
	b.pass(time.Millisecond)
	touched(securecache.ErrMiss)
	if names := b.names(t, codec.KindSession); len(names) != 0 {
		t.Errorf("the server still holds %d", len(names))
	}
}

// TestTouchAnswersEach has an answer for every token in its place.
func TestTouchAnswersEach(t *testing.T) {
	everywhere(t, func(t *testing.T, b *bed) {
		s, ctx := b.store(t, nil), t.Context()
		if errs := s.Touch(ctx, nil); len(errs) != 0 {
			t.Errorf("of no tokens: %v", errs)
		}
		spoilt := create(t, s, "mallory", "one")
		name := b.only(t, codec.KindSession)
		record := b.admin.Get(ctx, name).Val()
		ok(t, b.admin.Set(ctx, name, record[:len(record)-1]+string(record[len(record)-1]^1), time.Hour).Err())
		alive, nobodys, ended := create(t, s, "alice", "one"), create(t, s, "", "two"), create(t, s, "alice", "three")
		ok(t, s.Destroy(ctx, ended))
		read := holds(t, s, alive, "one")
		read.Value.Note = "written since"

		errs := s.Touch(ctx, []string{alive, "no token", ended, nobodys, spoilt, alive})
		var refused *securecache.RefusedError
		for i, want := range []error{nil, securecache.ErrMiss, securecache.ErrMiss, nil, nil, nil} {
			switch {
			case i == 4:
				if !errors.As(errs[i], &refused) {
					t.Errorf("what does not open: %v", errs[i])
				}
			default:
				is(t, fmt.Sprintf("token %d", i), errs[i], want)
			}
		}
		if now := b.admin.Get(ctx, name).Val(); now[:60] != record[:60] {
			t.Error("what does not open was written over")
		}
		// What was read before the touch is no lost update: the value is the same.
		ok(t, s.Update(ctx, read))
		holds(t, s, alive, "written since")
		holds(t, s, nobodys, "two")
		listed(t, s, "alice", "written since")
	})
}

// TestTouchIsTwoRoundTrips counts commands, and the GETs of a reader afterwards,
// which have nothing left to renew.
func TestTouchIsTwoRoundTrips(t *testing.T) {
	b := onMini(t)
	s := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
	var tokens []string
	for i := range 100 {
		tokens = append(tokens, create(t, s, fmt.Sprintf("subject %d", i), "one"))
	}
	b.pass(idle / 2)
	ok(t, errors.Join(s.Touch(t.Context(), tokens[:1])...)) // loads the script
	count, trips := &commands{n: make(map[string]int)}, &pipelines{}
	b.rdb.(*redis.Client).AddHook(count)
	b.rdb.(*redis.Client).AddHook(trips)
	for _, err := range s.Touch(t.Context(), tokens) {
		ok(t, err)
	}
	if gets, scripts := count.take(); gets+scripts != 0 || trips.n != 2 {
		t.Errorf("%d pipelines, and %d GETs and %d scripts alone", trips.n, gets, scripts)
	}
	for _, token := range tokens {
		holds(t, s, token, "one")
	}
	if gets, scripts := count.take(); gets != 100 || scripts != 0 {
		t.Errorf("%d GETs, %d scripts, want 100 and 0", gets, scripts)
	}
}

// pipelines counts those that a client sends.
type pipelines struct{ n int }

func (p *pipelines) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (p *pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		p.n++
		return next(ctx, cmds)
	}
}

// TestTouchAnnounces moves the expiry event with the session's end.
func TestTouchAnnounces(t *testing.T) {
	b := onServer(t, sharded)
	short := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
	longer := b.store(t, &session.Options{Idle: 2 * idle, Absolute: absolute})
	tokens := []string{create(t, short, "alice", "one"), create(t, short, "", "two")}
	ok(t, errors.Join(longer.Touch(t.Context(), tokens)...))
	due := b.due(t)
	if len(due) != len(tokens) {
		t.Errorf("%d events", len(due))
	}
	for _, in := range due {
		if in > 2*idle || in < 2*idle-time.Minute {
			t.Errorf("due in %v", in)
		}
	}
}

// TestTouchAgainstLogout touches a subject's sessions while they are ended: none
// comes back.
func TestTouchAgainstLogout(t *testing.T) {
	rounds := 30
	if servertest.Long() {
		rounds = 300
	}
	b := onServer(t)
	s := b.store(t, nil)
	for range rounds {
		var tokens []string
		for range 8 {
			tokens = append(tokens, create(t, s, "alice", "one"))
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, err := range s.Touch(t.Context(), tokens) {
				if err != nil && !errors.Is(err, securecache.ErrMiss) {
					t.Error(err)
				}
			}
		})
		if _, err := s.DestroyAll(t.Context(), "alice"); err != nil {
			t.Error(err)
		}
		wg.Wait()
		for _, token := range tokens {
			gone(t, s, token)
		}
		listed(t, s, "alice", "")
	}
}
