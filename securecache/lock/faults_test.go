package lock_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// seedEnv replays one history's clients and faults.
const seedEnv = "SECURECACHE_SEED"

// seeds are those to run: the environment's, or n of today's.
func seeds(t *testing.T, n int) (list []uint64) {
	t.Helper()
	if text := os.Getenv(seedEnv); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		ok(t, err)
		return []uint64{seed}
	}
	for range n {
		list = append(list, rand.Uint64())
	}
	return list
}

// long reports whether the long runs were asked for.
func long() bool { return os.Getenv("SECURECACHE_LONG") != "" }

func newRand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// between is a duration of the seed's choice.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// proxies lie between clients and the server, each for some of them.
func newProxies(t *testing.T, env *securecachetest.Env, n int) (list []*toxiproxy.Proxy) {
	t.Helper()
	control := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i := range n {
		p := toxiproxy.NewProxy(control, fmt.Sprint(i), "127.0.0.1:0", env.Server.Addr())
		ok(t, p.Start())
		t.Cleanup(p.Stop)
		list = append(list, p)
	}
	return list
}

// through returns a cache of a client of its own that goes by way of p.
func through(t *testing.T, env *securecachetest.Env, p *toxiproxy.Proxy, options ...func(*redis.Options)) *securecache.Cache {
	t.Helper()
	o := *env.Client.Options()
	o.Addr = p.Listen
	for _, set := range options {
		set(&o)
	}
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { ok(t, rdb.Close()) })
	c, err := securecache.New(rdb, env.Keyring, nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	return c
}

// span is a stretch of time since the history began.
type span struct{ from, to time.Duration }

// faults breaks what it can until ctx ends, as its seed has it.
type faults struct {
	t       *testing.T
	env     *securecachetest.Env
	proxies []*toxiproxy.Proxy
	rand    *rand.Rand
	began   time.Time
	flushed []span
	counts  map[string]int
}

// kinds are the faults by how often they come in 16.
var kinds = []struct {
	name  string
	share int
	bring func(*faults)
}{
	{"kill -9", 2, (*faults).kill},
	{"pause", 3, (*faults).pause},
	{"resets", 4, (*faults).reset},
	{"script flush", 3, (*faults).flushScripts},
	{"flushall", 2, (*faults).flushAll},
	{"subscriptions cut", 2, (*faults).cutSubscriptions},
}

func (f *faults) run(ctx context.Context) {
	f.counts = map[string]int{}
	for wait(ctx, between(f.rand, 50*time.Millisecond, 400*time.Millisecond)) {
		n := f.rand.IntN(16)
		for _, k := range kinds {
			if n -= k.share; n < 0 {
				f.counts[k.name]++
				k.bring(f)
				break
			}
		}
	}
}

// wait lets time pass, which is what the seed wants, and reports whether ctx
// lasts.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *faults) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Error(err)
	}
}

// insist has the administrator's command sent until it is answered: after a
// fault his connections are dead too.
func (f *faults) insist(send func(context.Context) error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for err := send(ctx); err != nil; err = send(ctx) {
		if !wait(ctx, 5*time.Millisecond) {
			f.t.Error(err)
			return
		}
	}
}

func (f *faults) kill() {
	f.must(f.env.Server.Kill())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	f.must(f.env.Server.Restart(ctx))
}

func (f *faults) pause() {
	f.must(f.env.Server.Pause())
	wait(context.Background(), between(f.rand, 20*time.Millisecond, 900*time.Millisecond))
	f.must(f.env.Server.Resume())
}

// reset resets what goes through one proxy, requests on their way or replies.
func (f *faults) reset() {
	p := f.proxies[f.rand.IntN(len(f.proxies))]
	direction := [...]string{"upstream", "downstream"}[f.rand.IntN(2)]
	toxic, err := p.Toxics.AddToxicJson(strings.NewReader(`{"type": "reset_peer", "stream": "` + direction + `"}`))
	f.must(err)
	wait(context.Background(), between(f.rand, time.Millisecond, 200*time.Millisecond))
	f.must(p.Toxics.RemoveToxic(context.Background(), toxic.Name))
}

func (f *faults) flushScripts() {
	f.insist(func(ctx context.Context) error { return f.env.Admin.ScriptFlush(ctx).Err() })
}

func (f *faults) flushAll() {
	from := time.Since(f.began)
	f.insist(func(ctx context.Context) error { return f.env.Admin.FlushAll(ctx).Err() })
	f.flushed = append(f.flushed, span{from, time.Since(f.began)})
}

func (f *faults) cutSubscriptions() {
	f.insist(func(ctx context.Context) error { return f.env.Admin.Do(ctx, "client", "kill", "type", "pubsub").Err() })
}
