package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecachetest"
)

type outcome struct {
	held *lock.Lock
	err  error
}

// obtain obtains in the background.
func obtain(ctx context.Context, l *lock.Locker, name string, ttl time.Duration) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		held, err := l.Obtain(ctx, name, ttl)
		c <- outcome{held, err}
	}()
	return c
}

// asked returns how often a script was called on the server.
func asked(t testing.TB, env *securecachetest.Env) (n int) {
	t.Helper()
	stats, err := env.Admin.Info(t.Context(), "commandstats").Result()
	ok(t, err)
	if _, rest, found := strings.Cut(stats, "cmdstat_evalsha:calls="); found {
		calls, _, _ := strings.Cut(rest, ",")
		n, err = strconv.Atoi(calls)
		ok(t, err)
	}
	return n
}

// subscribers returns how many connections are subscribed to something.
func subscribers(t testing.TB, env *securecachetest.Env) int {
	t.Helper()
	list, err := env.Admin.Do(t.Context(), "client", "list", "type", "pubsub").Text()
	ok(t, err)
	return strings.Count(list, "\n")
}

// listening waits until somebody has subscribed to the lock's channel.
func listening(t testing.TB, env *securecachetest.Env, held *lock.Lock, lockers int64) {
	t.Helper()
	channel := held.Key().String()
	servertest.Eventually(t, "the waiters listen", func() bool {
		return env.Admin.PubSubNumSub(t.Context(), channel).Val()[channel] == lockers
	})
}

func TestObtainWaitsForTheRelease(t *testing.T) {
	faces(t, func(t *testing.T, env *securecachetest.Env, l *lock.Locker) {
		servertest.Real(t, env.Server)
		held := try(t, l, "job", time.Hour)
		waiting := obtain(t.Context(), l, "job", time.Minute)
		listening(t, env, held, 1)
		select {
		case got := <-waiting:
			t.Fatalf("%+v while it is held", got)
		default:
		}
		release(t, held)
		got := returns(t, "the lock", waiting)
		ok(t, got.err)
		if got.held.Fence() <= held.Fence() {
			t.Errorf("fence %d after %d", got.held.Fence(), held.Fence())
		}
		release(t, got.held)
	})
}

func TestObtainWaitsForTheEnd(t *testing.T) {
	env, l := start(t, &lock.Options{Fixed: true})
	held := try(t, l, "job", 300*time.Millisecond)
	next, err := locker(t, env.Cache, nil).Obtain(t.Context(), "job", time.Minute) // nobody releases
	ok(t, err)
	if time.Now().Before(held.Until()) {
		t.Errorf("obtained %v before the end of the other's", time.Until(held.Until()))
	}
	release(t, next)
	if err := held.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("the first holder's release: %v", err)
	}
}

func TestObtainGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	env, l := start(t, nil)
	held := try(t, l, "job", time.Minute)
	defer release(t, held)
	const patience = 2 * time.Second // in which the server has to say that it is held
	short, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	late := servertest.Late(time.Now().Add(patience))
	_, err := l.Obtain(short, "job", time.Minute)
	if !errors.Is(err, lock.ErrNotObtained) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if by := late(); by > slack {
		t.Errorf("%v late", by)
	}
	if env.Server.Lacks() == nil {
		listening(t, env, held, 0)
	}
}

// TestFirstComeFirstServed has waiters of one locker line up; those who give up
// stand in nobody's way.
func TestFirstComeFirstServed(t *testing.T) {
	env, l := start(t, nil)
	servertest.Real(t, env.Server)
	held := try(t, l, "job", time.Minute)
	const waiters = 8
	var order []int
	var wg sync.WaitGroup
	for i := range waiters {
		ctx, giveUp := context.WithCancel(t.Context())
		joined := lock.Waiting(l)
		wg.Go(func() {
			next, err := l.Obtain(ctx, "job", time.Minute)
			if i%3 == 0 && errors.Is(err, lock.ErrNotObtained) {
				return
			}
			if err != nil {
				t.Errorf("%d: %v", i, err)
				return
			}
			order = append(order, i)
			if err := next.Release(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		})
		servertest.Eventually(t, "one more in line", func() bool { return lock.Waiting(l) == joined+1 })
		if i%3 == 0 {
			defer giveUp()
			if i == 0 { // the first of all: the next has to take its place
				listening(t, env, held, 1)
			}
			giveUp()
			servertest.Eventually(t, "one less in line", func() bool { return lock.Waiting(l) == joined })
		} else {
			t.Cleanup(giveUp)
		}
	}
	release(t, held)
	wg.Wait()
	if got := fmt.Sprint(order); got != "[1 2 4 5 7]" {
		t.Errorf("served in the order %s", got)
	}
}

// TestNobodyPolls has many wait on one connection, and counts what they ask.
func TestNobodyPolls(t *testing.T) {
	t.Parallel()
	env, l := start(t, &lock.Options{Fixed: true})
	servertest.Real(t, env.Server)
	const names, each = 8, 16
	var held []*lock.Lock
	for i := range names {
		held = append(held, try(t, l, fmt.Sprint("job ", i), time.Hour))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waiting []<-chan outcome
	for i := range names * each {
		waiting = append(waiting, obtain(ctx, l, fmt.Sprint("job ", i%names), time.Minute))
	}
	servertest.Eventually(t, "all wait", func() bool { return lock.Waiting(l) == names*each })
	for _, h := range held {
		listening(t, env, h, 1)
	}
	before := quiet(t, env)
	<-time.After(time.Second) // in which nothing may be asked
	if more := asked(t, env) - before; more > 0 {
		t.Errorf("%d questions of those who wait", more)
	}
	if n := subscribers(t, env); n != 1 {
		t.Errorf("%d subscriptions for %d waiters", n, names*each)
	}
	release(t, held[0])
	next := returns(t, "one of them", firstOf(waiting, names))
	ok(t, next.err)
	if more := asked(t, env) - before; more > 3 { // the release, one question, and one to spare
		t.Errorf("%d questions for one release", more)
	}
	cancel()
	for _, w := range waiting {
		if got := <-w; got.err == nil {
			release(t, got.held)
		}
	}
	release(t, next.held)
	for _, h := range held[1:] {
		release(t, h)
		listening(t, env, h, 0)
	}
}

// quiet waits until the confirmations of the subscriptions have been followed
// up.
func quiet(t *testing.T, env *securecachetest.Env) int {
	last, calm := asked(t, env), 0
	servertest.Eventually(t, "nobody asks", func() bool {
		if now := asked(t, env); now != last {
			last, calm = now, 0
		}
		calm++
		return calm > 40 // looks, not a time: a machine that stalls has seen nothing
	})
	return last
}

// firstOf returns the first outcome of the waiters for the first name.
func firstOf(waiting []<-chan outcome, names int) <-chan outcome {
	first := make(chan outcome, len(waiting))
	for i := 0; i < len(waiting); i += names {
		from := waiting[i]
		back := make(chan outcome, 1)
		waiting[i] = back
		go func() {
			got := <-from
			first <- got
			if got.err == nil {
				got.err = errors.New("taken already")
			}
			back <- got
		}()
	}
	return first
}

// TestWokenAfterACutSubscription cuts the subscription, and releases while
// nobody listens.
func TestWokenAfterACutSubscription(t *testing.T) {
	t.Parallel()
	env, l := start(t, nil)
	servertest.Real(t, env.Server)
	held := try(t, l, "job", time.Hour)
	waiting := obtain(t.Context(), l, "job", time.Minute)
	listening(t, env, held, 1)
	quiet(t, env)
	ok(t, env.Admin.Do(t.Context(), "client", "pause", "100", "all").Err()) // so that it cannot come back sooner
	ok(t, env.Admin.Do(t.Context(), "client", "kill", "type", "pubsub").Err())
	release(t, held)
	got := returns(t, "the lock", waiting)
	ok(t, got.err)
	release(t, got.held)
}

// TestWaitsWithoutSubscription takes the right to subscribe away: what remains
// is the end of the other's lock.
func TestWaitsWithoutSubscription(t *testing.T) {
	t.Parallel()
	env, l := start(t, &lock.Options{Fixed: true})
	servertest.Real(t, env.Server)
	ok(t, env.Admin.Do(t.Context(), "acl", "setuser", env.Client.Options().Username, "-subscribe").Err())
	held := try(t, l, "job", 500*time.Millisecond)
	got := returns(t, "the lock", obtain(t.Context(), l, "job", time.Minute))
	ok(t, got.err)
	if time.Now().Before(held.Until()) {
		t.Error("obtained before the end of the other's")
	}
	release(t, got.held)
}

func TestClose(t *testing.T) {
	env := securecachetest.Start(t)
	l, err := lock.New(env.Cache, nil)
	ok(t, err)
	held := try(t, l, "job", time.Minute)
	waiting := obtain(t.Context(), l, "job", time.Minute)
	servertest.Eventually(t, "somebody waits", func() bool { return lock.Waiting(l) == 1 })
	ok(t, l.Close())
	if got := returns(t, "the waiter", waiting); !errors.Is(got.err, lock.ErrClosed) || !errors.Is(got.err, lock.ErrNotObtained) {
		t.Errorf("the waiter: %v", got.err)
	}
	if held.Context().Err() != nil {
		t.Error("a held lock has ended with its locker")
	}
	ok(t, held.Extend(t.Context(), time.Hour))
	release(t, held)
	for name, err := range map[string]error{
		"Try":    func() error { _, err := l.Try(t.Context(), "job", time.Minute); return err }(),
		"Obtain": func() error { _, err := l.Obtain(t.Context(), "job", time.Minute); return err }(),
		"Close":  func() error { return l.Close() }(),
	} {
		if name == "Close" && err != nil || name != "Close" && !errors.Is(err, lock.ErrClosed) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
}
