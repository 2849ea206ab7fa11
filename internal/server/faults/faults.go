// Package faults breaks a server and the ways to it, as a seed has it, while
// clients go on. What they saw is then held against a model.
package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/servertest"
)

// SeedEnv is the environment's variable that replays one seed.
const SeedEnv = "SECURECACHE_SEED"

// EachSeed runs a test under so many seeds, more in the long runs, each named so
// that a failure says how to replay it; or under the environment's one alone.
func EachSeed(t *testing.T, short, long int, run func(t *testing.T, seed uint64)) {
	n := short
	if servertest.Long() {
		n = long
	}
	var seeds []uint64
	for range n {
		seeds = append(seeds, rand.Uint64())
	}
	if text := os.Getenv(SeedEnv); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", SeedEnv, err)
		}
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("%s=%d", SeedEnv, seed), func(t *testing.T) { run(t, seed) })
	}
}

// Rand returns what a seed has in store for one of its streams: each client has
// one, so that what it does depends on nobody else.
func Rand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// Between returns a duration of the seed's choice.
func Between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// Span is a stretch of time since a history began.
type Span struct{ From, To time.Duration }

// Server is what is broken: a server that keeps its data when it is killed.
type Server interface {
	Addr() string
	Kill() error
	Restart(context.Context) error
	Pause() error
	Resume() error
}

// Storm is the faults of one history. Its fields are to be set before Bring, and
// it is not safe for concurrent use, but for Addr.
type Storm struct {
	Server Server
	Admin  *redis.Options // of a user who may do everything
	Rand   *rand.Rand
	Began  time.Time // of the history
	Kinds  []Kind

	Counts  map[string]int // what was brought, by kind
	Flushed []Span         // when everything was deleted: once within each

	proxies []*proxy
}

// Kind is one way to break something.
type Kind struct {
	Name  string
	share int // of those that are drawn
	bring func(context.Context, *Storm) error
}

var (
	Kill          = Kind{"kill -9", 2, kill}
	Pause         = Kind{"pause", 3, pause}
	Cut           = Kind{"connections cut", 4, cutOne}
	FlushScripts  = Kind{"script flush", 3, command("script", "flush")}
	FlushAll      = Kind{"flushall", 2, flushAll}
	Unsubscribe   = Kind{"subscriptions cut", 2, command("client", "kill", "type", "pubsub")}
	commandPasses = 30 * time.Second // on a busy machine
)

// Bring brings n faults, one after another: each kind once at least, where there
// is room, and the rest by their share, in an order of the seed's choice.
func (s *Storm) Bring(ctx context.Context, n int) error {
	s.Counts = map[string]int{}
	for _, k := range s.draw(n) {
		if !Wait(ctx, Between(s.Rand, 50*time.Millisecond, 400*time.Millisecond)) {
			return ctx.Err()
		}
		if err := k.bring(ctx, s); err != nil {
			return fmt.Errorf("faults: %s: %w", k.Name, err)
		}
		s.Counts[k.Name]++
	}
	return nil
}

func (s *Storm) draw(n int) []Kind {
	var lots []Kind
	for _, k := range s.Kinds {
		for range k.share {
			lots = append(lots, k)
		}
	}
	list := append([]Kind(nil), s.Kinds...)
	for len(list) < n {
		list = append(list, lots[s.Rand.IntN(len(lots))])
	}
	s.Rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:n]
}

// Wait lets time pass, which is what a seed wants, and reports whether ctx lasts.
func Wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func kill(ctx context.Context, s *Storm) error {
	if err := s.Server.Kill(); err != nil {
		return err
	}
	return s.Server.Restart(ctx)
}

func pause(_ context.Context, s *Storm) error {
	if err := s.Server.Pause(); err != nil {
		return err
	}
	Wait(context.Background(), Between(s.Rand, 20*time.Millisecond, 900*time.Millisecond))
	return s.Server.Resume()
}

// command sends one command a single time: a model that counts on one flush must
// not see two. The connection is new, since a fault may have ended others.
func command(words ...any) func(context.Context, *Storm) error {
	return func(ctx context.Context, s *Storm) error {
		o := *s.Admin
		o.PoolSize, o.MinIdleConns, o.MaxRetries = 1, 0, -1
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = commandPasses, commandPasses, commandPasses
		rdb := redis.NewClient(&o)
		defer rdb.Close()
		return rdb.Do(ctx, words...).Err()
	}
}

func flushAll(ctx context.Context, s *Storm) error {
	from := time.Since(s.Began)
	err := command("flushall")(ctx, s)
	s.Flushed = append(s.Flushed, Span{from, time.Since(s.Began)})
	return err
}
