package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecachetest"
)

// everything uses the whole surface, over subjects of many slots.
func everything(t *testing.T, c *securecache.Cache) {
	t.Helper()
	ctx := t.Context()
	s, err := session.New(c, codec.JSON[cart](), nil)
	ok(t, err)
	adapter, err := session.NewSCS(c, nil)
	ok(t, err)
	var open []string
	for i := range 20 {
		subject := fmt.Sprintf("subject %d", i)
		_, err := s.DestroyAll(ctx, subject)
		ok(t, err)
		visitor := create(t, s, "", "cart")
		token, err := s.Login(ctx, holds(t, s, visitor, "cart"), subject, cart{Note: "one"})
		ok(t, err)
		gone(t, s, visitor)
		got := holds(t, s, token, "one")
		got.Value.Note = "two"
		ok(t, s.Update(ctx, got))
		token, err = s.Regenerate(ctx, token)
		ok(t, err)
		second := create(t, s, subject, "second")
		third := create(t, s, subject, "third")
		if list, err := s.List(ctx, subject); len(list) != 3 || err != nil {
			t.Fatalf("%d are listed, %v", len(list), err)
		}
		_, err = s.Revoke(ctx, subject, holds(t, s, second, "second").ID())
		ok(t, err)
		gone(t, s, second)
		ok(t, s.Destroy(ctx, third))
		gone(t, s, third)
		holds(t, s, token, "two")
		if n, err := s.DestroyAll(ctx, subject); n != 1 || err != nil {
			t.Fatalf("%d ended, %v", n, err)
		}
		gone(t, s, token)
		open = append(open, create(t, s, subject, "open"))

		in := time.Now().Add(time.Hour)
		name := fmt.Sprintf("token %d of %v", i, time.Now())
		ok(t, adapter.CommitCtx(ctx, name, []byte("data"), in))
		finds(t, adapter, name, "data")
		ok(t, adapter.DeleteCtx(ctx, name))
		is(t, "commit after a delete", adapter.CommitCtx(ctx, name, []byte("data"), in), session.ErrDestroyed)
	}
	ok(t, errors.Join(s.Touch(ctx, open)...))
	for _, token := range open {
		holds(t, s, token, "open")
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	everything(t, env.Cache)
	ok(t, env.Admin.ForEachMaster(t.Context(), func(ctx context.Context, m *redis.Client) error { return m.ScriptFlush(ctx).Err() }))
	everything(t, env.Cache)
	t.Run("resharding", func(t *testing.T) { reshard(t, env) })
	t.Run("after a failover", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		s, err := session.New(env.Cache, codec.JSON[cart](), nil)
		ok(t, err)
		token := create(t, s, "alice", "one")
		master, err := env.Master(ctx, indexOf(t, env.Cache, "alice"))
		ok(t, err)
		ok(t, env.Admin.Do(ctx, "wait", 1, 1000).Err())
		ok(t, master.Kill())
		ok(t, env.AwaitTakeover(ctx, master))
		ok(t, servertest.Until(ctx, "the client finds the new master", func() bool {
			_, err := s.Get(ctx, token)
			return err == nil || errors.Is(err, securecache.ErrMiss) // the replica may have lagged
		}))
		everything(t, env.Cache)
	})
}

// indexOf is the Redis key of a subject's index.
func indexOf(t *testing.T, c *securecache.Cache, subject string) string {
	t.Helper()
	key, err := c.Tagged(subject).Key(codec.KindSubject, subject)
	ok(t, err)
	return key.String()
}

// reshard moves a subject's slot from node to node and back while it is used.
// Whatever is answered is right; a move ends what is not answered.
func reshard(t *testing.T, env *securecachetest.Cluster) {
	s, err := session.New(env.Cache, codec.JSON[cart](), nil)
	ok(t, err)
	var kept []string
	for range 10 {
		kept = append(kept, create(t, s, "alice", "kept"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var done, unanswered atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := visitOnce(ctx, s); err != nil {
					unanswered.Add(1)
					if errors.Is(err, errWrong) {
						t.Error(err)
					}
				}
				done.Add(1)
			}
		})
	}
	moves := 2
	if servertest.Long() {
		moves = 10
	}
	for range moves {
		was := done.Load()
		_, err := env.MoveSlot(ctx, indexOf(t, env.Cache, "alice"), func() {
			began := done.Load()
			ok(t, servertest.Until(ctx, "the slot is used", func() bool { return done.Load() >= began+2 }))
		})
		ok(t, err)
		if done.Load() == was {
			t.Error("nothing happened during the move")
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d rounds, %d without an answer", done.Load(), unanswered.Load())
	for _, token := range kept {
		holds(t, s, token, "kept")
	}
	everything(t, env.Cache)
	n, err := s.DestroyAll(t.Context(), "alice")
	if n < len(kept) || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	for _, token := range kept {
		gone(t, s, token)
	}
}

var errWrong = errors.New("a wrong answer")

// visitOnce logs in, changes something, moves and logs out.
func visitOnce(ctx context.Context, s *session.Store[cart]) error {
	token, err := s.Create(ctx, "alice", cart{Note: "passing"})
	if err != nil {
		return err
	}
	got, err := s.Get(ctx, token)
	if errors.Is(err, securecache.ErrMiss) {
		return fmt.Errorf("%w: what was created is not there", errWrong)
	}
	if err != nil {
		return err
	}
	got.Value.Note = "changed"
	if err := s.Update(ctx, got); err != nil {
		if errors.Is(err, securecache.ErrMiss) || errors.Is(err, securecache.ErrConflict) {
			return fmt.Errorf("%w: update: %w", errWrong, err)
		}
		return err
	}
	if err := s.Destroy(ctx, token); err != nil {
		return err
	}
	if _, err := s.Get(ctx, token); err == nil {
		return fmt.Errorf("%w: what was destroyed is there", errWrong)
	}
	return nil
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	if !servertest.Long() {
		t.Skip("a failover under Sentinel takes long: set SECURECACHE_LONG")
	}
	env := securecachetest.StartSentinel(t)
	everything(t, env.Cache)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	master, err := env.Master(ctx)
	ok(t, err)
	ok(t, master.Kill())
	ok(t, env.AwaitTakeover(ctx, master))
	s, err := session.New(env.Cache, codec.JSON[cart](), nil)
	ok(t, err)
	ok(t, servertest.Until(ctx, "the client finds the new master", func() bool {
		_, err := s.Create(ctx, "alice", cart{})
		return err == nil
	}))
	everything(t, env.Cache)
}
