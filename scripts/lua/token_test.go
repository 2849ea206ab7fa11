package lua_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

func TestRevoke(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		sooner, later := head('s', in(time.Minute)), head('l', in(time.Hour))
		for name, tc := range map[string]struct {
			there, record string
			want          int64
			holds         string
		}{
			"the first":            {"", later, 1, later},
			"asked again":          {later, later, 1, later},
			"one that lasts":       {later, sooner, 0, later},
			"one that ends sooner": {sooner, later, 1, later},
			"no record":            {"garbled, and longer than any header of sixty bytes would be, so long", sooner, 1, sooner},
		} {
			t.Run(name, func(t *testing.T) {
				rdb.Del(t.Context(), key)
				if tc.there != "" {
					rdb.Set(t.Context(), key, tc.there, time.Minute)
				}
				if got := run(t, rdb, lua.Revoke, tc.record, 90_000); got != tc.want {
					t.Errorf("%d, want %d", got, tc.want)
				}
				if holds := rdb.Get(t.Context(), key).Val(); holds != tc.holds {
					t.Errorf("the server holds %q", holds)
				}
				if ttl := rdb.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > 90*time.Second {
					t.Errorf("for %v", ttl)
				}
			})
		}
	})
}

const used = key + ":used"

// onPair runs a script on a record and what consume leaves of it.
func onPair(t *testing.T, rdb redis.UniversalClient, s *lua.Script, args ...any) any {
	t.Helper()
	reply, err := lua.NewRunner(rdb, nil).Run(t.Context(), s, []string{key, used}, args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply.Value
}

func TestIssueAndConsume(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		one, two := head('1', in(time.Hour)), head('2', in(time.Hour))
		mine, yours := strings.Repeat("m", 16), strings.Repeat("y", 16)
		steps := []struct {
			what   string
			script *lua.Script
			args   []any
			want   any
		}{
			{"nothing is out", lua.Consume, []any{mine}, nil},
			{"the first", lua.Issue, []any{one, 60_000}, int64(1)},
			{"asked again", lua.Issue, []any{one, 60_000}, int64(1)},
			{"another", lua.Issue, []any{two, 60_000}, int64(0)},
			{"mine", lua.Consume, []any{mine}, one},
			{"mine again", lua.Consume, []any{mine}, one},
			{"yours", lua.Consume, []any{yours}, nil},
			{"issued after it was used", lua.Issue, []any{two, 60_000}, int64(0)},
		}
		for _, s := range steps {
			if got := onPair(t, rdb, s.script, s.args...); got != s.want {
				t.Errorf("%s: %v, want %v", s.what, got, s.want)
			}
		}
		if n := rdb.Exists(t.Context(), key).Val(); n != 0 {
			t.Error("the record is still there")
		}
		if ttl := rdb.PTTL(t.Context(), used).Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("what is left of it is kept for %v", ttl)
		}
		rdb.Del(t.Context(), used)
		rdb.Set(t.Context(), key, one, 0)
		if got := onPair(t, rdb, lua.Consume, mine); got != one {
			t.Errorf("without a TTL: %v", got)
		}
		if ttl := rdb.PTTL(t.Context(), used).Val(); ttl != -1 {
			t.Errorf("without a TTL, what is left is kept for %v", ttl)
		}
	})
}

func TestConsumeByOneOfMany(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		onPair(t, rdb, lua.Issue, head('1', in(time.Hour)), 60_000)
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := 0
		for i := range 32 {
			wg.Go(func() {
				if onPair(t, rdb, lua.Consume, strings.Repeat(string(rune('A'+i)), 16)) != nil {
					mu.Lock()
					defer mu.Unlock()
					got++
				}
			})
		}
		wg.Wait()
		if got != 1 {
			t.Errorf("%d were given the record", got)
		}
	})
}
