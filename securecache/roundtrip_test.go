package securecache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestManyAreOneRoundTripANode counts what each master of a cluster is sent for
// names of many slots.
func TestManyAreOneRoundTripANode(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	seen := trips{of: map[string][]int{}}
	rdb := redis.NewClusterClient(env.Client.Options())
	t.Cleanup(func() { _ = rdb.Close() })
	rdb.OnNewNode(func(node *redis.Client) { node.AddHook(&tripsTo{&seen, node.Options().Addr}) })
	c, err := securecache.New(rdb, env.Keyring, nil)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	everything(t, c) // every node is known, connected to and has the scripts

	const many = 100
	ctx := t.Context()
	entries, list, masters := make([]securecache.Entry, many), make([]string, many), map[*securecachetest.Server]int{}
	for i := range many {
		list[i] = fmt.Sprintf("user/%d", i)
		entries[i] = securecache.Entry{Name: list[i], Value: []byte(list[i])}
		master, err := env.Master(ctx, keyOf(t, c, list[i]))
		ok(t, err)
		masters[master]++
	}
	if len(masters) < 3 {
		t.Fatalf("the names are on %d masters", len(masters))
	}
	want := slices.Sorted(maps.Values(masters))
	for _, tc := range []struct {
		name string
		run  func() error
	}{
		{"SetMany", func() error { return errors.Join(c.SetMany(ctx, entries, time.Minute)...) }},
		{"GetMany", func() error { return all(c.GetMany(ctx, list), func(r securecache.Result) error { return r.Err }) }},
		{"TouchMany", func() error {
			return all(c.TouchMany(ctx, list, time.Minute), func(r securecache.Touched) error { return r.Err })
		}},
	} {
		seen.take()
		ok(t, tc.run())
		var commands []int
		for node, sizes := range seen.take() {
			if len(sizes) != 1 {
				t.Errorf("%s: %s was asked %d times, for %d commands", tc.name, node, len(sizes), sizes)
			}
			commands = append(commands, sizes...)
		}
		if slices.Sort(commands); !slices.Equal(commands, want) {
			t.Errorf("%s: pipelines of %d commands, want %d", tc.name, commands, want)
		}
	}
}

func all[T any](answers []T, err func(T) error) error {
	errs := make([]error, len(answers))
	for i, a := range answers {
		errs[i] = err(a)
	}
	return errors.Join(errs...)
}

// trips are how many commands each node was sent at a time, by its address. What
// go-redis sends of its own accord is left out.
type trips struct {
	mu sync.Mutex
	of map[string][]int
}

func (s *trips) take() map[string][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of
	s.of = map[string][]int{}
	return of
}

// tripsTo counts those to one node.
type tripsTo struct {
	*trips
	addr string
}

func (*tripsTo) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *tripsTo) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.add(cmd)
		return next(ctx, cmd)
	}
}

func (h *tripsTo) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.add(cmds...)
		return next(ctx, cmds)
	}
}

func (h *tripsTo) add(cmds ...redis.Cmder) {
	if !slices.Contains([]string{"get", "set", "evalsha"}, strings.ToLower(cmds[0].Name())) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of[h.addr] = append(h.of[h.addr], len(cmds))
}
