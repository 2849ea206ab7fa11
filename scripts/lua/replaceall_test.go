package lua_test

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

// swap is what replaceall is to do with one key.
type swap struct{ etag, record string }

func replaceAll(swaps []swap) (args []any) {
	for _, s := range swaps {
		args = append(args, s.etag, s.record)
	}
	return args
}

func recordKeys(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("sc:test:v:{name}%d", i))
	}
	return list
}

func TestReplaceAll(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		one, two, three := head('1', in(time.Hour)), head('2', in(time.Hour)), head('3', in(time.Hour))
		cases := []struct {
			name, there, etag string
			want              int64
			holds             string
		}{
			{"the one that was read", one, one[:60], 1, two},
			{"asked again", two, one[:60], 2, two},
			{"another one", three, one[:60], 0, three},
			{"nothing there", "", one[:60], -1, ""},
			{"something shorter there", "SC", one[:60], 0, "SC"},
			{"an etag that is too long", one, one[:61], 0, one},
			{"an etag of nothing, and nothing there", "", "", -1, ""},
			{"and the one behind them", one, one[:60], 1, two},
		}
		ctx, keys := t.Context(), recordKeys(len(cases))
		swaps := make([]swap, len(cases))
		for i, tc := range cases {
			rdb.Del(ctx, keys[i])
			if tc.there != "" {
				rdb.Set(ctx, keys[i], tc.there, time.Minute)
			}
			swaps[i] = swap{tc.etag, two}
		}
		answers := ask(t, rdb, lua.ReplaceAll, keys, replaceAll(swaps)...).([]any)
		if len(answers) != len(cases) {
			t.Fatalf("%d answers", len(answers))
		}
		for i, tc := range cases {
			if answers[i] != tc.want {
				t.Errorf("%s: %v, want %d", tc.name, answers[i], tc.want)
			}
			if holds := rdb.Get(ctx, keys[i]).Val(); holds != tc.holds {
				t.Errorf("%s: the server holds %q", tc.name, holds)
			}
			if ttl := rdb.PTTL(ctx, keys[i]).Val(); tc.there != "" && (ttl <= 5*time.Second || ttl > time.Minute) {
				t.Errorf("%s: the TTL is %v", tc.name, ttl)
			}
		}
		if got := ask(t, rdb, lua.ReplaceAll, keys[:1], one[:60], two); !reflect.DeepEqual(got, []any{int64(2)}) {
			t.Errorf("asked again, alone: %v", got)
		}
	})
}

// TestReplaceAllOfOneKeyTwice names a key twice, as a scan may show it: the
// second is not written over the first.
func TestReplaceAllOfOneKeyTwice(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		one, two, three := head('1', in(time.Hour)), head('2', in(time.Hour)), head('3', in(time.Hour))
		rdb.Set(t.Context(), key, one, time.Minute)
		got := ask(t, rdb, lua.ReplaceAll, []string{key, key}, one[:60], two, one[:60], three)
		if !reflect.DeepEqual(got, list(1, 0)) || rdb.Get(t.Context(), key).Val() != two {
			t.Errorf("%v", got)
		}
	})
}

// TestReplaceAllStopsAtAnotherType has a hash among the records: asking again
// without it tells what was done before it.
func TestReplaceAllStopsAtAnotherType(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx, keys, r := t.Context(), recordKeys(3), lua.NewRunner(rdb, nil)
		one, two := head('1', in(time.Hour)), head('2', in(time.Hour))
		rdb.Del(ctx, keys...)
		rdb.Set(ctx, keys[0], one, time.Minute)
		rdb.HSet(ctx, keys[1], "field", "value")
		rdb.Set(ctx, keys[2], one, time.Minute)
		each := swap{one[:60], two}
		if _, err := r.Run(ctx, lua.ReplaceAll, keys, replaceAll([]swap{each, each, each})...); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("a hash: %v", err)
		}
		if rdb.HGet(ctx, keys[1], "field").Val() != "value" || rdb.Get(ctx, keys[2]).Val() != one {
			t.Error("it went on")
		}
		got := ask(t, rdb, lua.ReplaceAll, []string{keys[0], keys[2]}, replaceAll([]swap{each, each})...)
		if !reflect.DeepEqual(got, list(2, 1)) {
			t.Errorf("asked again: %v", got)
		}
		rdb.Del(ctx, keys...)
	})
}

func TestReplaceAllCountsItsArguments(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx, r := t.Context(), lua.NewRunner(rdb, nil)
		one, two := head('1', in(time.Hour)), head('2', in(time.Hour))
		rdb.Set(ctx, key, one, time.Minute)
		for name, args := range map[string][]any{
			"half a swap": {one[:60]}, "one and a half": {one[:60], two, one[:60]}, "two": {one[:60], two, one[:60], two},
		} {
			if _, err := r.Run(ctx, lua.ReplaceAll, []string{key}, args...); err == nil || rdb.Get(ctx, key).Val() != one {
				t.Errorf("%s for one key: %v", name, err)
			}
		}
	})
}

// TestReplaceAllByOneOfMany has many replace the same records: each is replaced
// once, and all by the same.
func TestReplaceAllByOneOfMany(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		const records = 64
		ctx, keys, was, r := t.Context(), recordKeys(records), head('0', in(time.Hour)), lua.NewRunner(rdb, nil)
		for _, k := range keys {
			rdb.Set(ctx, k, was, time.Minute)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		replaced, winners := 0, 0
		for i := range 32 {
			wg.Go(func() {
				swaps := make([]swap, records)
				for n := range swaps {
					swaps[n] = swap{was[:60], head(byte('a'+i), in(time.Hour))}
				}
				reply, err := r.Run(ctx, lua.ReplaceAll, keys, replaceAll(swaps)...)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				before := replaced
				for _, answer := range reply.Value.([]any) {
					if answer == int64(1) {
						replaced++
					}
				}
				if replaced > before {
					winners++
				}
			})
		}
		wg.Wait()
		if replaced != records || winners != 1 {
			t.Errorf("%d records were replaced, by %d callers", replaced, winners)
		}
	})
}
