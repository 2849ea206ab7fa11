package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/securecache/securecache-go/keys"
)

func TestOpenRefuses(t *testing.T) {
	s, w := setup(t, keys.Layout{Refresh: time.Minute, MaxOffline: time.Hour})
	for _, test := range []struct {
		name      string
		namespace string
		store     keys.Store
		wrapper   keys.Wrapper
		options   *keys.Options
		want      error // nil: any
	}{
		{"an empty store", namespace, &memory{}, w, nil, keys.ErrNotFound},
		{"another namespace", "other", s, w, nil, keys.ErrDocument},
		{"a namespace out of its letters", "Shop", s, w, nil, nil},
		{"no namespace", "", s, w, nil, nil},
		{"a namespace too long", strings.Repeat("n", 65), s, w, nil, nil},
		{"no store", namespace, nil, w, nil, nil},
		{"no wrapper", namespace, s, nil, nil, nil},
		{"another wrapper", namespace, s, keys.InsecurePlain(), nil, keys.ErrScheme},
		{"another key-encryption key", namespace, s, newLocker("test"), nil, keys.ErrUnwrap},
		{"a longer refresh interval", namespace, s, w, &keys.Options{Refresh: time.Minute + 1}, nil},
		{"a negative refresh interval", namespace, s, w, &keys.Options{Refresh: -1}, nil},
		{"a longer offline time", namespace, s, w, &keys.Options{MaxOffline: time.Hour + 1}, nil},
		{"a negative offline time", namespace, s, w, &keys.Options{MaxOffline: -1}, nil},
		{"an offline time under the interval", namespace, s, w, &keys.Options{Refresh: time.Minute, MaxOffline: time.Second}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := keys.Open(t.Context(), test.namespace, test.store, test.wrapper, test.options)
			if err == nil {
				_ = k.Close()
				t.Fatal("it opened")
			}
			if test.want != nil {
				must(t, err, test.want)
			}
		})
	}
	open(t, s, w, &keys.Options{Refresh: time.Second, MaxOffline: time.Minute})
	open(t, s, w, &keys.Options{MaxOffline: 10 * time.Millisecond})
}

// bubble runs f where time is fake, with a keyring of the default layout: a
// refresh each minute, an hour offline.
func bubble(t *testing.T, o *keys.Options, f func(t *testing.T, s *memory, w *locker, k *keys.Keyring)) {
	synctest.Test(t, func(t *testing.T) {
		s, w := setup(t, keys.Layout{})
		k := open(t, s, w, o)
		f(t, s, w, k)
	})
}

func TestRefreshesInTheBackground(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		other := open(t, s, w, nil)
		added, err := other.Rotate(t.Context())
		must(t, err, nil)
		if ring(t, k).Key(added.ID) != nil {
			t.Fatal("a key is known before any refresh")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if ring(t, k).Key(added.ID) == nil {
			t.Fatal("a key is unknown after one interval")
		}
		loads := s.loads.Load()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := s.loads.Load() - loads; n < 20 || n > 26 {
			t.Errorf("two keyrings loaded %d times in ten minutes", n)
		}
	})
}

func TestRefreshUnwrapsTheNamesKeyAnewAndDataKeysOnce(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	k := open(t, s, w, nil)
	before, same := w.unwraps.Load(), ring(t, k)
	for range 3 {
		must(t, k.Refresh(t.Context()), nil)
	}
	if n := w.unwraps.Load() - before; n != 3 {
		t.Errorf("%d keys were unwrapped in 3 refreshes, want the names key each time", n)
	}
	if ring(t, k) != same {
		t.Error("an unchanged document made another ring")
	}
	_, err := open(t, s, w, nil).Rotate(t.Context())
	must(t, err, nil)
	before = w.unwraps.Load()
	must(t, k.Refresh(t.Context()), nil)
	if n := w.unwraps.Load() - before; n != 2 {
		t.Errorf("%d keys were unwrapped for one new data key, want that and the names key", n)
	}
}

func TestClosesAtMaxOfflineAndRecovers(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  func(s *memory, w *locker, away bool)
	}{
		{"store away", func(s *memory, _ *locker, away bool) { s.away.Store(away) }},
		{"store hangs", func(s *memory, _ *locker, away bool) { s.hang.Store(away) }},
		{"wrapper away", func(_ *memory, w *locker, away bool) { w.away.Store(away) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			// A wall clock that stands still, or is a year off, must not matter.
			wall := newClock(time.Now().AddDate(1, 0, 0))
			var told atomic.Int64
			bubble(t, &keys.Options{Now: wall.now, OnError: func(error) { told.Add(1) }}, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
				text := s.get()
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				test.cut(s, w, true)
				time.Sleep(58 * time.Minute)
				synctest.Wait()
				if ring(t, k); k.Status().Failures < 30 || k.Status().LastError == nil || k.Status().Stale {
					t.Errorf("status after 58 minutes %+v", k.Status())
				}
				time.Sleep(2*time.Minute + time.Second)
				synctest.Wait()
				_, err := k.Ring()
				must(t, err, keys.ErrStale)
				if !k.Status().Stale || told.Load() == 0 || strings.Contains(err.Error(), "\n") {
					t.Errorf("status %+v, told %d times, %v", k.Status(), told.Load(), err)
				}
				if errors.Is(err, context.DeadlineExceeded) {
					t.Error("a timeout of the source passes for the caller's")
				}
				time.Sleep(24 * time.Hour)
				test.cut(s, w, false)
				s.set([]byte("x"))
				time.Sleep(91 * time.Second)
				synctest.Wait()
				if _, err = k.Ring(); !errors.Is(err, keys.ErrStale) || !strings.Contains(err.Error(), keys.ErrDocument.Error()) {
					t.Errorf("%v does not name its newest cause", err)
				}
				s.set(text)
				time.Sleep(91 * time.Second) // an interval, and a load that hangs on
				synctest.Wait()
				ring(t, k)
				if s := k.Status(); s.Stale || s.Failures != 0 || s.LastError != nil {
					t.Errorf("status after recovery %+v", s)
				}
			})
		})
	}
}

// A document that is refused is no refresh either.
func TestRefusedDocumentsDoNotKeepAKeyringFresh(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		older := s.get()
		_, err := k.Rotate(t.Context())
		must(t, err, nil)
		s.set(older)
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		_, err = k.Ring()
		must(t, err, keys.ErrStale)
		must(t, k.Status().LastError, keys.ErrRollback)
		if !strings.Contains(err.Error(), keys.ErrRollback.Error()) {
			t.Errorf("%v does not name its cause", err)
		}
	})
}

func TestRetriesSoonerAfterAFailure(t *testing.T) {
	var failed chan error
	bubble(t, &keys.Options{OnError: func(err error) { failed <- err }}, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		failed = make(chan error, 1000) // made inside the bubble, to wait on in its time
		s.away.Store(true)
		must(t, <-failed, errAway)
		s.away.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if st := k.Status(); st.Failures != 0 {
			t.Errorf("status %+v, want a retry within a second", st)
		}
		s.away.Store(true)
		loads := s.loads.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := s.loads.Load() - loads; n < 60 || n > 90 {
			t.Errorf("%d attempts in an hour away, want them to back off to the interval", n)
		}
	})
}

func TestRefreshIsJoinedEachUnderItsOwnContext(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		s.hang.Store(true)
		loads, start := s.loads.Load(), time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*10*time.Millisecond)
				defer cancel()
				if err := k.Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("caller %d: %v", i, err)
				}
				if d := time.Since(start); d != time.Duration(i+1)*10*time.Millisecond {
					t.Errorf("caller %d waited %s", i, d)
				}
			})
		}
		wg.Wait()
		if n := s.loads.Load() - loads; n != 1 {
			t.Errorf("50 callers loaded %d times", n)
		}
		// The one under way ends by its own limit, as nobody's deadline.
		err := k.Refresh(t.Context())
		if err == nil || errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 30*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestLookup(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		added, err := open(t, s, w, nil).RevokeAll(t.Context())
		must(t, err, nil)
		old := ring(t, k).Primary(time.Now()).ID()
		loads := s.loads.Load()
		if known, err := k.Lookup(t.Context(), old); !known || err != nil || s.loads.Load() != loads {
			t.Errorf("a key of the ring: known %v, %v, %d loads", known, err, s.loads.Load()-loads)
		}
		if known, err := k.Lookup(t.Context(), added.ID); !known || err != nil {
			t.Errorf("another process' new key: known %v, %v", known, err)
		}
		if r := ring(t, k); r.Key(added.ID) == nil || !r.Destroyed(old) {
			t.Error("the look-up has not renewed the ring")
		}
		if known, err := k.Lookup(t.Context(), old); !known || err != nil {
			t.Errorf("a destroyed key: known %v, %v", known, err)
		}
	})
}

func TestLookupsAreRateLimited(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		loads := s.loads.Load()
		var wg sync.WaitGroup
		for i := range 100 { // callers, each with 200 ids of its own over 10 seconds
			wg.Go(func() {
				for j := range 200 {
					known, err := k.Lookup(t.Context(), keys.ID{byte(i), byte(j), 1})
					if known || err != nil {
						t.Errorf("known %v, %v", known, err)
					}
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if n := s.loads.Load() - loads; n < 9 || n > 11 {
			t.Errorf("20000 unknown ids in 10 seconds loaded %d times", n)
		}
	})
}

// While the source is away an id is neither known nor unknown: a record under
// it must not be called forged.
func TestLookupSaysThatItCannotKnow(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		s.away.Store(true)
		for range 3 { // the second and third are within the limit
			known, err := k.Lookup(t.Context(), keys.ID{1})
			if known || !errors.Is(err, errAway) {
				t.Errorf("known %v, %v", known, err)
			}
		}
		s.away.Store(false)
		time.Sleep(time.Second)
		known, err := k.Lookup(t.Context(), keys.ID{1})
		if known || err != nil {
			t.Errorf("known %v, %v", known, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.hang.Store(true)
		time.Sleep(time.Second)
		_, err = k.Lookup(ctx, keys.ID{1})
		must(t, err, context.Canceled)
	})
}

// A refresh that was under way may have read the document before the key was
// in it; joining it is not enough.
func TestLookupLooksAgainAfterARefreshItJoined(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		s.hang.Store(true)
		go func() { _ = k.Refresh(t.Context()) }()
		synctest.Wait()
		s.hang.Store(false)
		added, err := open(t, s, w, nil).RevokeAll(t.Context())
		must(t, err, nil)
		known, err := k.Lookup(t.Context(), added.ID)
		if !known || err != nil {
			t.Errorf("known %v, %v", known, err)
		}
	})
}

func TestClose(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		r := ring(t, k)
		s.hang.Store(true)
		refreshed := make(chan error, 1)
		go func() { refreshed <- k.Refresh(t.Context()) }()
		rotated := make(chan error, 1)
		synctest.Wait()
		go func() {
			_, err := k.Rotate(t.Context())
			rotated <- err
		}()
		synctest.Wait()
		start := time.Now()
		must(t, k.Close(), nil)
		must(t, k.Close(), nil)
		must(t, <-refreshed, keys.ErrClosed)
		must(t, <-rotated, keys.ErrClosed)
		if d := time.Since(start); d != 0 {
			t.Errorf("closing, and what it ended, took %s", d)
		}
		loads := s.loads.Load()
		time.Sleep(24 * time.Hour)
		if s.loads.Load() != loads {
			t.Error("a closed keyring goes on loading")
		}
		_, err := k.Ring()
		must(t, err, keys.ErrClosed)
		must(t, k.Refresh(t.Context()), keys.ErrClosed)
		_, err = k.Lookup(t.Context(), keys.ID{1})
		must(t, err, keys.ErrClosed)
		_, err = k.RevokeAll(t.Context())
		must(t, err, keys.ErrClosed)
		must(t, k.Destroy(t.Context(), keys.ID{1}, true), keys.ErrClosed)
		must(t, k.Rewrap(t.Context(), nil), keys.ErrClosed)
		if r.Primary(time.Now()) == nil {
			t.Error("a ring taken before is gone")
		}
	})
}

func TestStatus(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	wall := newClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	k := open(t, s, w, &keys.Options{Now: wall.now})
	_, err := k.Rotate(t.Context())
	must(t, err, nil)
	wall.advance(time.Hour)
	s.away.Store(true)
	must(t, k.Refresh(t.Context()), errAway)
	st := k.Status()
	if st.Revision != 2 || !st.Refreshed.Equal(wall.now().Add(-time.Hour)) || st.Failures != 1 || st.LastError == nil || st.Stale {
		t.Errorf("status %+v", st)
	}
	if text, err := json.Marshal(st); err != nil || !strings.Contains(string(text), `"failures":1`) {
		t.Errorf("%s, %v", text, err)
	}
	if k.Namespace() != namespace {
		t.Errorf("namespace %s", k.Namespace())
	}
}
