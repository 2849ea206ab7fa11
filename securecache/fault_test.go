package securecache_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/lossy"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestFaultsUnderTraffic breaks the server in mid-traffic. Whatever is answered
// must be right, nobody waits past his deadline, and all recovers by itself.
func TestFaultsUnderTraffic(t *testing.T) {
	const pause = 5 * time.Second
	faults := map[string]func(t *testing.T, env *securecachetest.Env){
		"script flush": func(t *testing.T, env *securecachetest.Env) { ok(t, env.Admin.ScriptFlush(t.Context()).Err()) },
		"restart":      func(t *testing.T, env *securecachetest.Env) { ok(t, env.Server.Restart(t.Context())) },
		"kill -9": func(t *testing.T, env *securecachetest.Env) {
			ok(t, env.Server.Kill())
			ok(t, env.Server.Restart(t.Context()))
		},
		"pause": func(t *testing.T, env *securecachetest.Env) {
			ok(t, env.Server.Pause())
			<-time.After(pause) // how long the server is away is what is tried here
			ok(t, env.Server.Resume())
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			faces(t, func(t *testing.T, o securecache.Options) {
				t.Parallel()
				env, c := start(t, &o, securecachetest.WithPersistence())
				servertest.Real(t, env.Server)
				traffic := begin(t, c)
				ok(t, traffic.served(50))
				fault(t, env)
				ok(t, traffic.served(50))
				traffic.end(t)
			})
		})
	}
}

// traffic is counters that goroutines raise by compare-and-set, one each.
type traffic struct {
	t       *testing.T
	c       *securecache.Cache
	stop    context.CancelFunc
	wg      sync.WaitGroup
	good    atomic.Int64
	applied []int64 // by counter, what was acknowledged
	unknown []int64 // by counter, what may have been applied
}

// deadline is of one step. A tenth of it, which is what a caller may wait longer,
// is more than a machine takes whose cores are all busy.
const (
	counters = 8
	deadline = 2 * time.Second
)

func begin(t *testing.T, c *securecache.Cache) *traffic {
	t.Helper()
	tr := &traffic{t: t, c: c, applied: make([]int64, counters), unknown: make([]int64, counters)}
	for i := range counters {
		ok(t, c.Set(t.Context(), counterName(i), make([]byte, 8), time.Hour))
	}
	ctx, cancel := context.WithCancel(t.Context())
	tr.stop = cancel
	for i := range counters {
		tr.wg.Go(func() {
			for ctx.Err() == nil {
				tr.raise(i)
			}
		})
	}
	return tr
}

func counterName(i int) string { return fmt.Sprintf("counter %d", i) }

// raise reads a counter and replaces it by its successor.
func (tr *traffic) raise(i int) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	late := servertest.Late(time.Now().Add(deadline))
	err := tr.step(ctx, i)
	if by := late(); by > deadline/10 {
		tr.t.Errorf("a caller with %v waited %v longer: %v", deadline, by, err)
	}
	if err == nil {
		tr.good.Add(1)
		return
	}
	if errors.Is(err, securecache.ErrMiss) || errors.Is(err, securecache.ErrConflict) {
		tr.t.Errorf("a wrong answer: %v", err)
	}
	var refused *securecache.RefusedError
	if errors.As(err, &refused) {
		tr.t.Errorf("a refusal: %v", err)
	}
}

func (tr *traffic) step(ctx context.Context, i int) error {
	item, err := tr.c.Item(ctx, counterName(i))
	if err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint64(item.Value))
	if least, most := tr.applied[i], tr.applied[i]+tr.unknown[i]; n < least || n > most {
		tr.t.Errorf("counter %d is %d; %d writes were acknowledged, up to %d may have been applied", i, n, least, most)
	}
	tr.applied[i], tr.unknown[i] = n, 0
	err = tr.c.Replace(ctx, counterName(i), item.ETag, binary.BigEndian.AppendUint64(nil, uint64(n)+1), time.Hour)
	switch {
	case err == nil:
		tr.applied[i]++
	case !errors.Is(err, securecache.ErrConflict):
		tr.unknown[i] = 1
	}
	return err
}

// served waits until so many more steps have succeeded.
func (tr *traffic) served(more int64) error {
	ctx, cancel := context.WithTimeout(tr.t.Context(), 30*time.Second)
	defer cancel()
	goal := tr.good.Load() + more
	return servertest.Until(ctx, "traffic goes on", func() bool { return tr.good.Load() >= goal })
}

func (tr *traffic) end(t *testing.T) {
	tr.stop()
	tr.wg.Wait()
	for i := range counters {
		tr.raise(i)
	}
	t.Logf("%d steps, %+v", tr.good.Load(), tr.c.Stats())
}

// losing is a proxy that loses the next reply once it is told to, and a client
// of env's that goes by way of it on one connection.
type losing struct {
	*lossy.Proxy
	next atomic.Bool
	rdb  *redis.Client
}

func newLosing(t *testing.T, env *securecachetest.Env) *losing {
	t.Helper()
	p := new(losing)
	var err error
	p.Proxy, err = lossy.Start(env.Server.Addr(), func() bool { return p.next.CompareAndSwap(true, false) })
	ok(t, err)
	o := *env.Client.Options()
	o.Addr = p.Addr()
	o.PoolSize = 1
	p.rdb = redis.NewClient(&o)
	t.Cleanup(func() { _, _ = p.rdb.Close(), p.Close() })
	return p
}

func TestReplacementThatLostItsReply(t *testing.T) {
	faces(t, func(t *testing.T, o securecache.Options) {
		env := securecachetest.Start(t)
		servertest.Real(t, env.Server)
		proxy := newLosing(t, env)
		c, err := securecache.New(proxy.rdb, env.Keyring, &o)
		ok(t, err)
		t.Cleanup(func() { _ = c.Close() })
		direct := open(t, env, nil)
		ctx := t.Context()

		t.Run("is applied once", func(t *testing.T) {
			set(t, c, "a", "one", time.Minute)
			item, err := c.Item(ctx, "a")
			ok(t, err)
			proxy.next.Store(true)
			ok(t, c.Replace(ctx, "a", item.ETag, []byte("two"), time.Minute))
			if got, err := direct.Get(ctx, "a"); string(got) != "two" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
		t.Run("is unknown where somebody wrote after it", func(t *testing.T) {
			set(t, c, "b", "one", time.Minute)
			item, err := c.Item(ctx, "b")
			ok(t, err)
			// The script runs, its reply is lost, and another writer follows before
			// it is asked for again.
			proxy.next.Store(true)
			cuts := proxy.Lost()
			done := make(chan error, 1)
			go func() { done <- c.Replace(ctx, "b", item.ETag, []byte("two"), time.Minute) }()
			ok(t, servertest.Until(ctx, "the reply is cut", func() bool { return proxy.Lost() > cuts }))
			set(t, direct, "b", "three", time.Minute)
			switch err := <-done; {
			case err == nil, errors.Is(err, securecache.ErrOutcomeUnknown): // nil where the second try was faster than we
			default:
				t.Errorf("%v", err)
			}
			if got, err := direct.Get(ctx, "b"); string(got) != "three" || err != nil {
				t.Errorf("the later write was overwritten: %q, %v", got, err)
			}
		})
		if n := proxy.Lost(); n != 2 {
			t.Errorf("%d replies were cut, want 2", n)
		}
	})
}

func TestUsersScriptIsSentOnce(t *testing.T) {
	env := securecachetest.Start(t, securecachetest.WithCommands("incr"))
	servertest.Real(t, env.Server)
	proxy := newLosing(t, env)
	c, err := securecache.New(proxy.rdb, env.Keyring, nil)
	ok(t, err)
	raise := lua.New("raise", `return redis.call('INCR', KEYS[1])`)
	key, err := c.Key(0x80, "tally")
	ok(t, err)
	reply, err := c.Run(t.Context(), raise, []securecache.Key{key})
	ok(t, err)
	if n, err := reply.Int(); n != 1 || err != nil {
		t.Errorf("%v, %v", n, err)
	}
	proxy.next.Store(true)
	if _, err := c.Run(t.Context(), raise, []securecache.Key{key}); !errors.Is(err, securecache.ErrOutcomeUnknown) {
		t.Errorf("a lost reply: %v", err)
	}
	if n, err := env.Admin.Get(t.Context(), key.String()).Int(); n != 2 || err != nil {
		t.Errorf("applied %d times, %v", n-1, err)
	}
	if !strings.Contains(key.String(), ":x80:") {
		t.Errorf("a user's kind stands in the key as %s", key)
	}
}
