package session_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
)

// seed is that of the random histories; SECURECACHE_SEED plays one again.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv("SECURECACHE_SEED"); text != "" {
		var err error
		n, err = strconv.ParseUint(text, 10, 64)
		ok(t, err)
	}
	t.Logf("SECURECACHE_SEED=%d", n)
	return n
}

// TestLogoutBeatsUpdate races the ways of ending a session against the ways of
// writing it. Once both have returned it is gone, whoever was first.
func TestLogoutBeatsUpdate(t *testing.T) {
	tries := 1000
	if servertest.Long() {
		tries = 10_000
	}
	b := onServer(t)
	s, ctx := b.store(t, nil), t.Context()
	random := rand.New(rand.NewPCG(seed(t), 0))
	updates := 0
	for i := range tries {
		subject := fmt.Sprintf("subject %d", i%8)
		token := create(t, s, subject, "one")
		got := holds(t, s, token, "one")
		got.Value.Note = "two"
		id := got.ID()
		end, write := random.IntN(3), random.IntN(4)
		lead := time.Duration(random.IntN(400)-200) * time.Microsecond
		var wg sync.WaitGroup
		var moved string
		wg.Go(func() {
			spin(lead)
			var err error
			switch end {
			case 0:
				err = s.Destroy(ctx, token)
			case 1:
				_, err = s.Revoke(ctx, subject, id)
			case 2:
				_, err = s.DestroyAll(ctx, subject)
			}
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			spin(-lead)
			var err error
			switch write {
			case 0, 1:
				err = s.Update(ctx, got)
			case 2:
				moved, err = s.Regenerate(ctx, token)
			case 3:
				err = s.Touch(ctx, []string{token})[0]
			}
			if err != nil && !errors.Is(err, securecache.ErrMiss) {
				t.Error(err)
			}
			if err == nil {
				updates++
			}
		})
		wg.Wait()
		gone(t, s, token)
		if moved != "" && end == 2 {
			// Ending all of a subject's ends it under either token. What ended the
			// old token alone knows nothing of a new one.
			gone(t, s, moved)
		}
		if t.Failed() {
			t.Fatalf("in try %d, end %d, write %d", i, end, write)
		}
	}
	t.Logf("%d tries, in %d of which the write came first", tries, updates)
	if updates == 0 || updates == tries {
		t.Error("nothing raced")
	}
}

// spin waits for some microseconds, which no timer does exactly.
func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
		continue
	}
}

// born is a session and when its Create ran.
type born struct {
	token        string
	began, ended time.Time
}

// TestDestroyAllRacesCreate has a subject log in on many devices while it logs
// out everywhere. What was there before is ended, what came after lives, and
// what raced is one or the other: the token and the index always agree.
func TestDestroyAllRacesCreate(t *testing.T) {
	rounds := 20
	if servertest.Long() {
		rounds = 200
	}
	b := onServer(t)
	s, ctx := b.store(t, nil), t.Context()
	random := rand.New(rand.NewPCG(seed(t), 1))
	before, after := 0, 0
	for range rounds {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var all []born
		first, over := make(chan struct{}), make(chan struct{})
		begun := sync.OnceFunc(func() { close(first) })
		for range 8 {
			pause := time.Duration(random.IntN(2000)) * time.Microsecond
			wg.Go(func() {
				for i := range 4 {
					if i == 3 {
						<-over // one is made after them all have ended
					}
					spin(pause / 4)
					one := born{began: time.Now()}
					var err error
					if one.token, err = s.Create(ctx, "alice", cart{Note: "one"}); err != nil {
						t.Error(err)
					}
					one.ended = time.Now()
					mu.Lock()
					all = append(all, one)
					mu.Unlock()
					begun()
				}
			})
		}
		<-first
		spin(time.Duration(random.IntN(2000)) * time.Microsecond)
		began := time.Now()
		n, err := s.DestroyAll(ctx, "alice")
		ended := time.Now()
		close(over)
		ok(t, err)
		wg.Wait()
		alive := aliveOf(t, s, all)
		if dead := len(all) - len(alive); dead != n {
			t.Fatalf("%d sessions were said to have ended, and %d have", n, dead)
		}
		for _, one := range all {
			switch {
			case one.ended.Before(began) && alive[one.token]:
				t.Fatal("a session from before is alive")
			case one.began.After(ended) && !alive[one.token]:
				t.Fatal("a session from after is dead")
			}
		}
		before, after = before+len(all)-len(alive), after+len(alive)
		_, err = s.DestroyAll(ctx, "alice")
		ok(t, err)
	}
	t.Logf("%d sessions ended, %d lived on", before, after)
	if before == 0 || after == 0 {
		t.Error("nothing raced")
	}
}

// aliveOf returns which tokens stand for a session, and fails unless those are
// the ones that are listed.
func aliveOf(t *testing.T, s *session.Store[cart], all []born) map[string]bool {
	t.Helper()
	list, err := s.List(t.Context(), "alice")
	ok(t, err)
	ids := make(map[string]bool)
	for _, one := range list {
		ids[one.ID()] = true
	}
	alive := make(map[string]bool)
	for _, one := range all {
		got, err := s.Get(t.Context(), one.token)
		switch {
		case err == nil && ids[got.ID()]:
			alive[one.token] = true
		case err == nil:
			t.Fatal("a session is alive and not listed")
		case !errors.Is(err, securecache.ErrMiss):
			t.Fatal(err)
		}
	}
	if len(alive) != len(list) {
		t.Fatalf("%d are alive, %d are listed", len(alive), len(list))
	}
	return alive
}

// TestLostUpdatesAreSeen raises a counter in one session from many callers. Each
// success counts once, and each failure not at all.
func TestLostUpdatesAreSeen(t *testing.T) {
	b := onServer(t)
	s, err := session.New(b.cache, intMarshaler{}, nil)
	ok(t, err)
	ctx := t.Context()
	token, err := s.Create(ctx, "alice", 0)
	ok(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	raised, lost := 0, 0
	for range 16 {
		wg.Go(func() {
			for range 50 {
				got, err := s.Get(ctx, token)
				if err != nil {
					t.Error(err)
					return
				}
				got.Value++
				err = s.Update(ctx, got)
				mu.Lock()
				switch {
				case err == nil:
					raised++
				case errors.Is(err, securecache.ErrConflict):
					lost++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got, err := s.Get(ctx, token)
	ok(t, err)
	if got.Value != raised || lost == 0 {
		t.Errorf("the counter is at %d after %d updates, %d were lost", got.Value, raised, lost)
	}
}

type intMarshaler struct{}

func (intMarshaler) Marshal(n int) ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

func (intMarshaler) Unmarshal(b []byte, n *int) (err error) {
	*n, err = strconv.Atoi(string(b))
	return err
}

// TestListWhileMoving lists a subject's one session while its token changes: it
// is there each time, and once.
func TestListWhileMoving(t *testing.T) {
	b := onServer(t)
	s := b.store(t, nil)
	token := create(t, s, "alice", "one")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		for range 200 {
			var err error
			if token, err = s.Regenerate(t.Context(), token); err != nil {
				t.Error(err)
				return
			}
		}
	})
	lists := 0
	for ; ctx.Err() == nil; lists++ {
		list, err := s.List(t.Context(), "alice")
		ok(t, err)
		if len(list) != 1 {
			t.Errorf("%d sessions are listed", len(list))
			break
		}
	}
	wg.Wait()
	if lists == 0 {
		t.Error("nothing raced")
	}
}
