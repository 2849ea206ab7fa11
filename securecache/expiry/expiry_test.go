package expiry_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestListen(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]bool{"plain": false, "batched": true} {
		t.Run(name, func(t *testing.T) {
			env := start(t)
			c, err := securecache.New(env.Client, env.Keyring, &securecache.Options{Batch: batch, Schedule: securecache.Schedule{CopyValue: true}})
			ok(t, err)
			defer c.Close()
			h := newHeard()
			set(t, c, "before", 50*time.Millisecond)
			n, stop := listen(t, c, h.handle, nil)
			set(t, c, "after", 50*time.Millisecond)
			set(t, c.Tagged("tenant"), "after", 50*time.Millisecond)
			set(t, c, "not yet", time.Hour)
			all := h.awaitCount(t, 3)
			servertest.Eventually(t, "acknowledged", func() bool { return depth(t, n).Claimed == 0 })
			stop()
			if d := depth(t, n); d != (expiry.Depth{Scheduled: 1}) {
				t.Errorf("left: %+v", d)
			}
			names := map[string]int{}
			ids := map[string]bool{}
			for i, e := range all {
				names[e.Name]++
				ids[e.ID] = true
				if early := e.Deadline.Sub(h.at[i]); early > 0 {
					t.Errorf("%s came %s early", e.Name, early)
				}
				if e.Attempt != 1 || string(e.Value) != "value of "+e.Name || !strings.HasPrefix(e.Key.String(), "sc:test:v:{") || e.ID == "" {
					t.Errorf("%+v", e)
				}
			}
			if len(ids) != 3 || names["before"] != 1 || names["after"] != 2 {
				t.Errorf("%v %v", names, ids)
			}
			s := n.Stats()
			if s.Claimed != 3 || s.Delivered != 3 || s.Failed != 0 || s.Lag < 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestTouchedAndDeleted: what is touched comes once, at its new end, and what is
// deleted never.
func TestTouchedAndDeleted(t *testing.T) {
	t.Parallel()
	env := start(t)
	c, h, ctx := env.Cache, newHeard(), t.Context()
	n, _ := listen(t, c, h.handle, nil)
	const many, soon, later = 200, 6 * time.Second, 7 * time.Second
	type span struct{ least, most time.Time }
	ends := make(map[string]span)
	for i := range many {
		name := fmt.Sprint(i)
		set(t, c, name, time.Minute, securecache.MaxLife(time.Hour))
		touch := func(ttl time.Duration, opts ...securecache.TouchOption) {
			t.Helper()
			began := time.Now().Truncate(time.Millisecond)
			got, err := c.Touch(ctx, name, ttl, opts...)
			if err != nil || got != ttl {
				t.Fatalf("touched for %v, %v", got, err)
			}
			ends[name] = span{began.Add(ttl), time.Now().Add(ttl)}
		}
		touch(soon, securecache.Shorten())
		switch i % 3 {
		case 1: // before its end
			there, err := c.Delete(ctx, name)
			if err != nil || !there {
				t.Fatalf("deleted %v, %v", there, err)
			}
			delete(ends, name)
		case 2: // renewed
			touch(later)
		}
	}
	servertest.Eventually(t, "nothing is ahead", func() bool { return depth(t, n) == expiry.Depth{} })
	for _, e := range h.all() {
		end, expected := ends[e.Name]
		if !expected {
			t.Fatalf("%s came twice, or was deleted: %+v", e.Name, e)
		}
		delete(ends, e.Name)
		if e.Deadline.Before(end.least) || e.Deadline.After(end.most) {
			t.Errorf("%s: the deadline is %s, not within %v", e.Name, e.Deadline, end)
		}
	}
	if len(ends) > 0 {
		t.Errorf("never came: %v", ends)
	}
}

// TestSetAnew stores a name again as soon as it is gone, as a cache's readers do:
// every end is announced.
func TestSetAnew(t *testing.T) {
	t.Parallel()
	env := start(t)
	servertest.Real(t, env.Server) // the embedded one's clock for keys is finer than the one it tells
	c, h := env.Cache, newHeard()
	const rounds = 50
	for range rounds {
		set(t, c, "name", 50*time.Millisecond)
		for there := true; there; {
			var err error
			there, err = c.Exists(t.Context(), "name")
			ok(t, err)
		}
	}
	listen(t, c, h.handle, nil)
	all := h.awaitCount(t, rounds)
	ids := map[string]bool{}
	for _, e := range all {
		ids[e.ID] = true
	}
	if len(ids) != rounds {
		t.Errorf("%d events, %d ids", len(all), len(ids))
	}
}

func TestFailuresComeBack(t *testing.T) {
	t.Parallel()
	env := start(t)
	c := env.Cache
	const claims = 3
	var failures atomic.Int64
	h := newHeard()
	var gone atomic.Bool
	n, _ := listen(t, c, func(ctx context.Context, e expiry.Event) error {
		_ = h.handle(ctx, e)
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the handler's context does not end")
		}
		switch {
		case e.Name == "panics":
			panic("at the handler")
		case e.Name == "ends its goroutine" && gone.CompareAndSwap(false, true):
			runtime.Goexit()
		case e.Name == "fails once" && e.Attempt == 1, e.Name == "fails":
			return errors.New("not now")
		case e.Name == "takes too long" && e.Attempt == 1:
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}, &expiry.Options{Visibility: 2 * time.Second, MaxClaims: claims, Concurrency: 2, OnError: func(err error) {
		var p *expiry.PanicError
		if errors.As(err, &p) && (p.Value != "at the handler" || len(p.Stack) == 0) {
			t.Errorf("%v", err)
		}
		failures.Add(1)
	}})
	want := map[string]int{"panics": claims, "ends its goroutine": 2, "fails once": 2, "fails": claims, "takes too long": 2, "works": 1}
	for name := range want {
		set(t, c, name, 50*time.Millisecond)
	}
	servertest.Eventually(t, "two dead letters", func() bool { return depth(t, n) == expiry.Depth{Dead: 2} && n.Stats().Buried == 2 })
	got := map[string]int{}
	ids := map[string]string{}
	for _, e := range h.all() {
		got[e.Name]++
		if e.Attempt != got[e.Name] {
			t.Errorf("%s: attempt %d is the delivery number %d", e.Name, e.Attempt, got[e.Name])
		}
		if id, again := ids[e.Name]; again && id != e.ID {
			t.Errorf("%s: the id %s was %s before", e.Name, e.ID, id)
		}
		ids[e.Name] = e.ID
	}
	for name, count := range want {
		if got[name] != count {
			t.Errorf("%s: delivered %d times, want %d", name, got[name], count)
		}
	}
	// Goexit leaves no error to report, and neither does what was cut short.
	if s := n.Stats(); s.Buried != 2 || s.Delivered != 4 || s.Failed != 2*claims+3 || failures.Load() != 2*claims+2 {
		t.Errorf("%+v, %d errors", s, failures.Load())
	}

	var letters []expiry.DeadLetter
	for letter, err := range n.Dead(t.Context()) {
		ok(t, err)
		if letter.Err != nil || letter.Event.Name != "panics" && letter.Event.Name != "fails" {
			t.Errorf("%+v", letter)
		}
		letters = append(letters, letter)
	}
	if len(letters) != 2 {
		t.Fatalf("%d letters", len(letters))
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	env := start(t)
	c, ctx := env.Cache, t.Context()
	const many = 500
	n, stop := listen(t, c, func(context.Context, expiry.Event) error {
		return errors.New("not now")
	}, &expiry.Options{Visibility: 50 * time.Millisecond, MaxClaims: 1})
	entries := make([]securecache.Entry, many)
	for i := range entries {
		entries[i].Name = fmt.Sprint(i)
	}
	ok(t, errors.Join(c.SetMany(ctx, entries, 50*time.Millisecond)...))
	servertest.Eventually(t, "all dead", func() bool { return depth(t, n) == expiry.Depth{Dead: many} })

	seen := map[string]expiry.DeadLetter{}
	for letter, err := range n.Dead(ctx) {
		ok(t, err)
		seen[letter.Event.Name] = letter
	}
	if len(seen) != many {
		t.Fatalf("%d of %d", len(seen), many)
	}
	for range n.Dead(ctx) {
		break // ends it
	}
	var drop, back []expiry.DeadLetter
	for i := range many {
		if letter := seen[fmt.Sprint(i)]; i%5 == 0 {
			drop = append(drop, letter)
		} else {
			back = append(back, letter)
		}
	}
	stop()
	for _, want := range []int{len(drop), 0} { // and again
		if got, err := n.Drop(ctx, drop...); err != nil || got != want {
			t.Errorf("dropped %d, %v", got, err)
		}
	}
	if got, err := n.Requeue(ctx, back...); err != nil || got != len(back) {
		t.Errorf("requeued %d, %v", got, err)
	}
	h := newHeard()
	n, _ = listen(t, c, h.handle, nil) // with the time to handle them
	all := h.awaitCount(t, len(back))
	for _, e := range all {
		if letter := seen[e.Name]; letter.Event.ID != e.ID || e.Attempt != 1 {
			t.Errorf("%+v was %+v", e, letter)
		}
	}
	servertest.Eventually(t, "nothing left", func() bool { return depth(t, n) == expiry.Depth{} })
	if got, err := n.Requeue(ctx, back...); err != nil || got != 0 {
		t.Errorf("requeued %d, %v", got, err)
	}
	if keys := env.Admin.Keys(ctx, "*").Val(); len(keys) != 0 {
		t.Errorf("left behind: %v", keys)
	}
}

// TestStopGivesBack ends a listener that has claimed more than it handles.
func TestStopGivesBack(t *testing.T) {
	t.Parallel()
	env := start(t)
	c := env.Cache
	const many = 50
	entries := make([]securecache.Entry, many)
	for i := range entries {
		entries[i].Name = fmt.Sprint(i)
	}
	ok(t, errors.Join(c.SetMany(t.Context(), entries, 50*time.Millisecond)...))
	begun := make(chan struct{}, many)
	first, stop := listen(t, c, func(ctx context.Context, e expiry.Event) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}, &expiry.Options{Visibility: time.Hour, Concurrency: 4, Batch: 32})
	for range 4 {
		<-begun
	}
	servertest.Eventually(t, "some wait", func() bool { return first.Stats().Claimed > 20 })
	stop()
	if s := first.Stats(); s.Returned != s.Claimed || s.Claimed > 36 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	servertest.Eventually(t, "all due", func() bool { return depth(t, first).Due == many })
	if d := depth(t, first); d.Claimed != 0 || d.Lag <= 0 {
		t.Errorf("%+v", d)
	}
	h := newHeard()
	listen(t, c, h.handle, nil)
	for _, e := range h.awaitCount(t, many) {
		if e.Attempt != 1 {
			t.Errorf("attempt %d", e.Attempt)
		}
	}
}

// TestManyListeners: each event goes to one of them.
func TestManyListeners(t *testing.T) {
	t.Parallel()
	env := start(t)
	const many, listeners = 1000, 4
	h := newHeard()
	for range listeners {
		listen(t, env.Cache, h.handle, &expiry.Options{Concurrency: 4, Batch: 8})
	}
	entries := make([]securecache.Entry, many)
	for i := range entries {
		entries[i].Name = fmt.Sprint(i)
	}
	ok(t, errors.Join(env.Cache.SetMany(t.Context(), entries, 100*time.Millisecond)...))
	names := map[string]bool{}
	for _, e := range h.awaitCount(t, many) {
		if names[e.Name] {
			t.Errorf("%s came twice", e.Name)
		}
		names[e.Name] = true
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	env := start(t)
	for name, o := range map[string]expiry.Options{
		"visibility":  {Visibility: time.Microsecond},
		"claims":      {MaxClaims: -1},
		"concurrency": {Concurrency: -1},
		"too many":    {Concurrency: 1 << 20},
		"batch":       {Batch: 1 << 20},
		"enable":      {EnableNotifications: true},
	} {
		if _, err := expiry.New(env.Cache, &o); err == nil || !strings.HasPrefix(err.Error(), "expiry: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := expiry.New(nil, nil); err == nil {
		t.Error("no cache")
	}
	if err := expiry.Listen(t.Context(), env.Cache, nil, nil); err == nil {
		t.Error("no handler")
	}
	plain := securecachetest.Start(t, securecachetest.WithLayout(keys.Layout{}))
	if err := expiry.Listen(t.Context(), plain.Cache, newHeard().handle, nil); !errors.Is(err, expiry.ErrNoSchedule) {
		t.Errorf("no shards: %v", err)
	}
}
