package securecache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
)

func TestFetchReadsThrough(t *testing.T) {
	env, c := start(t, nil)
	ctx := t.Context()
	var loads int
	load := func(context.Context) ([]byte, error) { loads++; return []byte("loaded"), nil }
	for range 3 {
		if got, err := c.Fetch(ctx, "user/42", time.Minute, load); string(got) != "loaded" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if loads != 1 {
		t.Errorf("%d loads, want 1", loads)
	}
	ok(t, env.Admin.Set(ctx, keyOf(t, c, "user/42"), "plaintext", 0).Err())
	if got, err := c.Fetch(ctx, "user/42", time.Minute, load); string(got) != "loaded" || err != nil || loads != 2 {
		t.Errorf("after a refusal: %q, %v, %d loads", got, err, loads)
	}
	if _, err := c.Get(ctx, "user/42"); err != nil {
		t.Errorf("the refused record was not overwritten: %v", err)
	}
	if s := c.Stats(); s.Refused != 1 || s.Loads != 2 {
		t.Errorf("stats: %+v", s)
	}
}

func TestFetchErrors(t *testing.T) {
	_, c := start(t, nil)
	ctx := t.Context()
	broken := errors.New("database away")
	if _, err := c.Fetch(ctx, "a", time.Minute, func(context.Context) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if there, err := c.Exists(ctx, "a"); there || err != nil {
		t.Errorf("an error was stored: %t, %v", there, err)
	}
	unused := func(context.Context) ([]byte, error) { t.Error("loaded"); return nil, nil }
	if _, err := c.Fetch(ctx, "a", 0, unused); !errors.Is(err, securecache.ErrNoTTL) {
		t.Errorf("no TTL: %v", err)
	}
	if _, err := c.Fetch(ctx, "", time.Minute, unused); !errors.Is(err, securecache.ErrName) {
		t.Errorf("no name: %v", err)
	}
}

func TestFetchWithoutRedis(t *testing.T) {
	env, c := start(t, nil)
	servertest.Real(t, env.Server)
	ok(t, env.Server.Stop())
	got, err := c.Fetch(t.Context(), "a", time.Minute, func(context.Context) ([]byte, error) { return []byte("loaded"), nil })
	if string(got) != "loaded" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if s := c.Stats(); s.Errors == 0 {
		t.Errorf("nobody counted that Redis was away: %+v", s)
	}
}

func TestFetchSharesOneLoad(t *testing.T) {
	_, c := start(t, nil)
	const callers = 32
	release := make(chan struct{})
	var loads atomic.Int32
	load := func(context.Context) ([]byte, error) {
		loads.Add(1)
		<-release
		return []byte("loaded"), nil
	}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			got, err := c.Fetch(t.Context(), "hot", time.Minute, load)
			if string(got) != "loaded" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			clear(got) // each caller's value is its own
		})
	}
	ok(t, servertest.Until(t.Context(), "all but one share", func() bool { return c.Stats().Shared == callers-1 }))
	close(release)
	wg.Wait()
	if n := loads.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
}

func TestFetchWaitersLeave(t *testing.T) {
	_, c := start(t, nil)
	ended := make(chan struct{})
	started := make(chan struct{}, 2)
	load := func(ctx context.Context) ([]byte, error) {
		started <- struct{}{}
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}
	first, cancelFirst := context.WithCancel(t.Context())
	second, cancelSecond := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	for _, ctx := range []context.Context{first, second} {
		go func() {
			_, err := c.Fetch(ctx, "slow", time.Minute, load)
			errs <- err
		}()
	}
	<-started
	ok(t, servertest.Until(t.Context(), "the other shares", func() bool { return c.Stats().Shared == 1 }))
	cancelFirst()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that left: %v", err)
	}
	select {
	case <-ended:
		t.Error("the load ended while somebody still waited")
	default:
	}
	cancelSecond()
	<-ended
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("the other one: %v", err)
	}
}

type account struct {
	Name   string
	Visits int
}

func TestTyped(t *testing.T) {
	for name, m := range map[string]codec.Marshaler[account]{"JSON": codec.JSON[account](), "CBOR": codec.CBOR[account]()} {
		t.Run(name, func(t *testing.T) {
			_, c := start(t, nil)
			ctx := t.Context()
			accounts := securecache.For(c, m)
			ok(t, accounts.Set(ctx, "a", account{"Ada", 1}, time.Minute))
			ok(t, accounts.Replace(ctx, "a", time.Minute, func(a account) (account, error) { a.Visits++; return a, nil }))
			if got, err := accounts.Get(ctx, "a"); got != (account{"Ada", 2}) || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
			got, err := accounts.Fetch(ctx, "b", time.Minute, func(context.Context) (account, error) { return account{"Bob", 0}, nil })
			if got.Name != "Bob" || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
			if err := accounts.Replace(ctx, "absent", time.Minute, nil); !errors.Is(err, securecache.ErrMiss) {
				t.Errorf("replace of nothing: %v", err)
			}
			stop := errors.New("stop")
			if err := accounts.Replace(ctx, "a", time.Minute, func(a account) (account, error) { return a, stop }); !errors.Is(err, stop) {
				t.Errorf("a change that refuses: %v", err)
			}
			set(t, c, "garbled", "\xff{", time.Minute)
			if _, err := accounts.Get(ctx, "garbled"); err == nil {
				t.Error("a value of another type passed")
			}
		})
	}
}
