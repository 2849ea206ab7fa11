package keys_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/securecache/securecache-go/keys"
)

const lead = 2*time.Minute + keys.ClockAllowance // of the default layout

func TestRotateAnnouncesThenActivates(t *testing.T) {
	s, w := setup(t, keys.Layout{MaxLife: time.Hour})
	wall := newClock(time.Now())
	k := open(t, s, w, &keys.Options{Now: wall.now})
	first := ring(t, k).Primary(wall.now()).ID()
	added, err := k.Rotate(t.Context())
	must(t, err, nil)
	if want := wall.now().Add(lead); !added.Activates.Equal(want) || added.Destroyed || !added.Retired.IsZero() {
		t.Fatalf("added %+v, want it active at %s", added, want)
	}
	r := ring(t, k)
	if got := r.Primary(added.Activates.Add(-time.Millisecond)).ID(); got != first {
		t.Error("the new key seals before its time")
	}
	if got := r.Primary(added.Activates).ID(); got != added.ID {
		t.Error("the new key does not seal at its time")
	}
	old := r.Keys()[0]
	if want := added.Activates.Add(time.Hour); !old.Retired.Equal(want) || !r.Key(first).Retired().Equal(want) {
		t.Errorf("predecessor retired %s, want activation and the offline time, %s", old.Retired, want)
	}
	if want := old.Retired.Add(time.Hour); !old.Destroyable.Equal(want) {
		t.Errorf("predecessor destroyable %s, want %s", old.Destroyable, want)
	}
	if got := r.Key(added.ID); !got.Activates().Equal(added.Activates) || !got.Retired().IsZero() {
		t.Errorf("the key's own times are %s and %s", got.Activates(), got.Retired())
	}
}

// Rotations close together, and on clocks that differ, still make one order.
func TestRotationsAreOrdered(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	wall := newClock(time.Now())
	k := open(t, s, w, &keys.Options{Now: wall.now})
	var added []keys.Info
	for _, step := range []time.Duration{0, 0, -4 * time.Minute, time.Minute} {
		wall.advance(step)
		info, err := k.Rotate(t.Context())
		must(t, err, nil)
		added = append(added, info)
	}
	for i := 1; i < len(added); i++ {
		if d := added[i].Activates.Sub(added[i-1].Activates); d != time.Millisecond {
			t.Errorf("rotation %d activates %s after the one before", i, d)
		}
		info := ring(t, k).Keys()[i]
		if !info.Retired.Equal(added[i].Activates.Add(time.Hour)) {
			t.Errorf("key %d retired %s", i, info.Retired)
		}
	}
}

// line is a process' way to a store, which can be cut.
type line struct {
	*memory
	cut atomic.Bool
}

func (l *line) Load(ctx context.Context) ([]byte, error) {
	if l.cut.Load() {
		return nil, errAway
	}
	return l.memory.Load(ctx)
}

// Processes whose clocks differ by all the allowance, that start at different
// times and are cut off at times: no process meets a key that it does not know,
// and none seals with one beyond what a reader accepts.
func TestNoRotationMakesAnotherProcessRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := setup(t, keys.Layout{})
		shifts := []time.Duration{0, keys.ClockAllowance / 2, -keys.ClockAllowance / 2, time.Minute}
		lines, rings := make([]*line, len(shifts)), make([]*keys.Keyring, len(shifts))
		for i, shift := range shifts {
			lines[i] = &line{memory: s}
			rings[i] = open(t, lines[i], w, &keys.Options{Now: func() time.Time { return time.Now().Add(shift) }})
			time.Sleep(7 * time.Second)
		}
		stale := 0
		for minute := range 12 * 60 {
			if minute%45 == 10 {
				_, err := rings[minute%3].Rotate(t.Context())
				must(t, err, nil)
			}
			lines[3].cut.Store(minute%120 >= 10 && minute%120 < 85) // for longer than the offline time
			for i, k := range rings {
				r, err := k.Ring()
				if err != nil {
					stale++
					continue
				}
				now := time.Now().Add(shifts[i])
				sealing := r.Primary(now)
				for j, other := range rings {
					if lines[j].cut.Load() {
						continue // it answers "unknown for now", not "refused"
					}
					if back := minute % 120; j == 3 && back >= 85 && back <= 87 { // just connected again
						if known, err := other.Lookup(t.Context(), sealing.ID()); !known {
							t.Fatalf("minute %d: process %d cannot find the key of process %d: %v", minute, j, i, err)
						}
					}
					known := ring(t, other).Key(sealing.ID())
					if known == nil {
						t.Fatalf("minute %d: process %d does not know the key of process %d", minute, j, i)
					}
					if end := known.Retired(); !end.IsZero() && now.After(end.Add(keys.ClockAllowance)) {
						t.Fatalf("minute %d: process %d seals with a key retired at %s", minute, i, end)
					}
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if stale == 0 {
			t.Error("no process was ever cut off for long enough to tell")
		}
	})
}

func TestDestroy(t *testing.T) {
	const maxLife = 24 * time.Hour
	for _, test := range []struct {
		name  string
		life  time.Duration
		after time.Duration // after the second key's activation
		key   int
		force bool
		want  error
	}{
		{"the one that seals", maxLife, 0, 1, false, keys.ErrInUse},
		{"the one that seals, forced", maxLife, 0, 1, true, keys.ErrInUse},
		{"the next one", maxLife, -time.Second, 1, false, keys.ErrInUse},
		{"the next one, forced", maxLife, -time.Second, 1, true, keys.ErrInUse},
		{"the one before, too early", maxLife, time.Hour + maxLife - time.Millisecond, 0, false, keys.ErrInUse},
		{"the one before, too early, forced", maxLife, 0, 0, true, nil},
		{"the one before, in time", maxLife, time.Hour + maxLife, 0, false, nil},
		{"the one before, where records live forever", keys.Forever, 1000 * time.Hour, 0, false, keys.ErrInUse},
		{"the one before, where records live forever, forced", keys.Forever, 0, 0, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, w := setup(t, keys.Layout{MaxLife: test.life})
			wall := newClock(time.Now())
			k := open(t, s, w, &keys.Options{Now: wall.now})
			_, err := k.Rotate(t.Context())
			must(t, err, nil)
			id := ring(t, k).Keys()[test.key].ID
			wall.advance(lead + test.after)
			must(t, k.Destroy(t.Context(), id, test.force), test.want)
			r, gone := ring(t, k), test.want == nil
			if r.Destroyed(id) != gone || (r.Key(id) == nil) != gone || len(r.Keys()) != 2 {
				t.Errorf("afterwards: %+v", r.Keys())
			}
			if !gone {
				return
			}
			if _, ok := entry(unseal(t, s.get()), test.key)["wrapped"]; ok {
				t.Error("the document still holds the key")
			}
			must(t, k.Destroy(t.Context(), id, false), nil) // once more
			if got := ring(t, k).Revision(); got != 3 {
				t.Errorf("destroying twice made revision %d", got)
			}
		})
	}
	s, w := setup(t, keys.Layout{})
	must(t, open(t, s, w, nil).Destroy(t.Context(), keys.ID{1}, true), keys.ErrUnknownKey)
}

func TestRevokeAll(t *testing.T) {
	for _, test := range []struct {
		name  string
		shift time.Duration // of the process that revokes
	}{
		{"on a right clock", 0},
		{"on a clock 10 minutes fast", 10 * time.Minute},
		{"on a clock 10 minutes slow", -10 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, w := setup(t, keys.Layout{})
			wall, fast := newClock(time.Now().Add(test.shift)), newClock(time.Now().Add(10*time.Minute))
			k, right, other := open(t, s, w, &keys.Options{Now: wall.now}), open(t, s, w, nil), open(t, s, w, &keys.Options{Now: fast.now})
			_, err := right.Rotate(t.Context()) // the fast process seals with this one already
			must(t, err, nil)
			before := ring(t, right).Keys()
			added, err := k.RevokeAll(t.Context())
			must(t, err, nil)
			if !added.Activates.Equal(wall.now()) {
				t.Errorf("active at %s", added.Activates)
			}
			for name, p := range map[string]struct {
				k   *keys.Keyring
				now time.Time
			}{"revoking": {k, wall.now()}, "right": {right, time.Now()}, "fast": {other, fast.now()}} {
				must(t, p.k.Refresh(t.Context()), nil)
				r := ring(t, p.k)
				if got := r.Primary(p.now).ID(); got != added.ID {
					t.Errorf("the %s process seals with %s", name, got)
				}
				for _, old := range before {
					if r.Key(old.ID) != nil || !r.Destroyed(old.ID) {
						t.Errorf("the %s process still opens with %s", name, old.ID)
					}
				}
			}
			next, err := right.Rotate(t.Context())
			must(t, err, nil)
			if !next.Activates.After(added.Activates) {
				t.Error("a later rotation would be active before it")
			}
		})
	}
}

func TestRewrap(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	k := open(t, s, w, nil)
	_, err := k.Rotate(t.Context())
	must(t, err, nil)
	before, was := ring(t, k).Keys(), unseal(t, s.get())
	must(t, k.Rewrap(t.Context(), nil), nil)
	now := unseal(t, s.get())
	for i := range before {
		if entry(was, i)["wrapped"] == entry(now, i)["wrapped"] {
			t.Errorf("key %d was not wrapped anew", i)
		}
	}
	if member(was, "names")["wrapped"] == member(now, "names")["wrapped"] {
		t.Error("the names key was not wrapped anew")
	}

	to := newLocker("other")
	must(t, k.Rewrap(t.Context(), to), nil)
	must(t, k.Refresh(t.Context()), nil)
	_, err = k.RevokeAll(t.Context())
	must(t, err, nil)
	_, err = keys.Open(t.Context(), namespace, s, w, nil)
	must(t, err, keys.ErrScheme)
	after := ring(t, open(t, s, to, nil)).Keys()
	for i := range before {
		if after[i].ID != before[i].ID || !after[i].Destroyed {
			t.Errorf("key %d is %+v, was %+v", i, after[i], before[i])
		}
	}
	deaf := newLocker("deaf")
	deaf.deaf = true
	if err := k.Rewrap(t.Context(), deaf); err == nil || !strings.Contains(err.Error(), "associated data") {
		t.Errorf("a deaf wrapper was taken: %v", err)
	}
	must(t, k.Refresh(t.Context()), nil)
}

// A destroyed key has nothing to wrap, and stays listed.
func TestRewrapLeavesDestroyedKeys(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	k := open(t, s, w, nil)
	_, err := k.RevokeAll(t.Context())
	must(t, err, nil)
	must(t, k.Rewrap(t.Context(), nil), nil)
	if all := ring(t, k).Keys(); len(all) != 2 || !all[0].Destroyed || all[1].Destroyed {
		t.Errorf("keys %+v", all)
	}
}

// Several processes rotate one file at once: every rotation is kept, in one order.
func TestConcurrentRotations(t *testing.T) {
	const processes, each = 4, 5
	path := filepath.Join(t.TempDir(), "keyring.json")
	w := newLocker("test")
	must(t, keys.Create(t.Context(), namespace, keys.NewFile(path), w, keys.Layout{}), nil)
	var wg sync.WaitGroup
	for range processes {
		k := open(t, keys.NewFile(path), w, nil)
		wg.Go(func() {
			for range each {
				if _, err := k.Rotate(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r := ring(t, open(t, keys.NewFile(path), w, nil))
	all := r.Keys()
	if len(all) != processes*each+1 || r.Revision() != processes*each+1 {
		t.Fatalf("%d keys at revision %d", len(all), r.Revision())
	}
	for i := 1; i < len(all); i++ {
		if !all[i].Activates.After(all[i-1].Activates) || !all[i-1].Retired.Equal(all[i].Activates.Add(time.Hour)) {
			t.Errorf("key %d is active at %s; the one before at %s, retired %s", i, all[i].Activates, all[i-1].Activates, all[i-1].Retired)
		}
	}
}

func TestChangesGiveUpOnEndlessConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := setup(t, keys.Layout{})
		k := open(t, s, w, nil)
		saves := 0
		s.before = func() { // somebody else is always faster
			saves++
			s.set(append(s.get(), ' '))
		}
		_, err := k.Rotate(t.Context())
		must(t, err, keys.ErrConflict)
		if saves < 2 || saves > 100 {
			t.Errorf("%d attempts", saves)
		}
	})
}

// A reply that was lost must neither make the change twice nor hide it.
func TestLostRepliesOfSaves(t *testing.T) {
	for _, reply := range []error{errAway, keys.ErrConflict} {
		t.Run(reply.Error(), func(t *testing.T) {
			s, w := setup(t, keys.Layout{})
			k := open(t, s, w, nil)
			s.after = func() error { return reply }
			_, err := k.Rotate(t.Context())
			must(t, err, nil)
			if n := len(ring(t, k).Keys()); n != 2 {
				t.Errorf("%d keys", n)
			}
			must(t, k.Rewrap(t.Context(), newLocker("other")), nil)
			must(t, k.Refresh(t.Context()), nil)
		})
	}
	s, w := &memory{}, newLocker("test")
	s.after = func() error { return errAway }
	must(t, keys.Create(t.Context(), namespace, s, w, keys.Layout{}), nil)
}

func TestChangesKeepTheirCallersDeadline(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *memory, w *locker, k *keys.Keyring) {
		s.hang.Store(true)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.Rotate(ctx)
		must(t, err, context.DeadlineExceeded)
		if d := time.Since(start); d != time.Second {
			t.Errorf("it took %s", d)
		}
		s.hang.Store(false)
		w.away.Store(true)
		_, err = k.Rotate(t.Context())
		must(t, err, errAway)
		if n := len(ring(t, k).Keys()); n != 1 {
			t.Errorf("%d keys", n)
		}
	})
}

// A keyring that nothing more fits into says so, and goes on working.
func TestFullDocument(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	doc := unseal(t, s.get())
	first := entry(doc, 0)
	at := first["created"].(float64)
	all := []any{}
	size := len(`{"activates":1234567890123,"created":1234567890123,"id":"0123456789abcdef0123456789abcdef"},`)
	for i := range keys.MaxDocument*3/4/size - 20 { // destroyed ones, to leave room for a few
		all = append(all, map[string]any{"id": keys.ID{1, byte(i >> 8), byte(i)}.String(), "created": at, "activates": at - 1})
	}
	doc["keys"] = append(all, first)
	s.set(reseal(t, w.last('n'), doc))
	k := open(t, s, w, nil)
	var err error
	for range 20 {
		if _, err = k.Rotate(t.Context()); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "namespace") {
		t.Fatalf("error %v", err)
	}
	must(t, k.Refresh(t.Context()), nil)
}
