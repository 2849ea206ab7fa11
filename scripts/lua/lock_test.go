package lua_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

const (
	lockKey  = "sc:test:l:{name}"
	valueKey = "sc:test:v:{name}"
	fenceKey = valueKey + ":fence"
	day      = 24 * time.Hour
)

var (
	lockKeys    = []string{lockKey}
	guardedKeys = []string{valueKey, fenceKey}
	mine        = strings.Repeat("m", 22)
	others      = strings.Repeat("o", 22)
)

// call runs a script of locks.
func call(t *testing.T, rdb redis.UniversalClient, s *lua.Script, args ...any) any {
	t.Helper()
	keys := lockKeys
	if s == lua.GuardedSet {
		keys = guardedKeys
	}
	reply, err := lua.NewRunner(rdb, nil).Run(t.Context(), s, keys, args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply.Value
}

// wantTTL checks for how long a lock is held, with some time for the test to run.
func wantTTL(t *testing.T, rdb redis.UniversalClient, want time.Duration) {
	t.Helper()
	keyTTL(t, rdb, lockKey, day+want)
}

func keyTTL(t *testing.T, rdb redis.UniversalClient, key string, want time.Duration) {
	t.Helper()
	if got := rdb.PTTL(t.Context(), key).Val(); got > want || got < want-10*time.Second {
		t.Errorf("%s: the TTL is %v, want %v", key, got, want)
	}
}

func micros(d time.Duration) int64 { return time.Now().Add(d).UnixMicro() }

func TestAcquireLock(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ahead := micros(time.Hour)
		now := [2]int64{micros(-time.Minute), micros(time.Minute)}
		next := func(n int64) [2]int64 { return [2]int64{n, n} }
		for name, tc := range map[string]struct {
			last any // the fence that is remembered
			want [2]int64
		}{
			"never before":             {nil, now},
			"a smaller fence":          {5, now},
			"a whole number of 1e15":   {int64(1e15), now},
			"the clock is behind":      {ahead, next(ahead + 1)},
			"the greatest but one":     {int64(1<<53 - 2), next(1<<53 - 1)},
			"no fence at all":          {"fence", now},
			"a long text":              {strings.Repeat("fence", 10), now},
			"a number in another form": {"9e2", now},
			"nothing":                  {"", now},
		} {
			t.Run(name, func(t *testing.T) {
				rdb.Del(t.Context(), lockKey)
				if tc.last != nil {
					rdb.Set(t.Context(), lockKey, fmt.Sprint(others, "+", tc.last), day)
				}
				text, _ := call(t, rdb, lua.AcquireLock, mine, 60_000, 0).(string)
				fence, err := strconv.ParseInt(text, 10, 64)
				if err != nil || fence < tc.want[0] || fence > tc.want[1] {
					t.Errorf("fence %q, want %d", text, tc.want)
				}
				if holds := rdb.Get(t.Context(), lockKey).Val(); holds != mine+"-"+text {
					t.Errorf("the lock holds %q", holds)
				}
				wantTTL(t, rdb, time.Minute)
			})
		}
	})
}

// TestAcquireLockHasWholeFences takes a lock until the clock has shown
// microseconds of each length, since they are put behind the seconds as text.
func TestAcquireLockHasWholeFences(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		last := ""
		for range 300 {
			rdb.Del(t.Context(), lockKey)
			text, _ := call(t, rdb, lua.AcquireLock, mine, 60_000, 0).(string)
			if len(text) != 16 || text <= last {
				t.Fatalf("fence %q after %q", text, last)
			}
			last = text
		}
	})
}

func TestAcquireLockThatIsHeld(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		const minute, hour = time.Minute, time.Hour
		for name, tc := range map[string]struct {
			holds string
			runs  time.Duration
			wait  int
			want  any // nil: what is left of it
			then  string
			ttl   time.Duration
		}{
			"by me":                      {mine + "-7", 10 * time.Second, 1, "7", mine + "-7", minute},
			"by me, and longer":          {mine + "+7", hour, 1, "7", mine + "+7", hour},
			"by another":                 {others + "-7", 30 * time.Second, 0, nil, others + "-7", 30 * time.Second},
			"and waited for":             {others + "-7", 30 * time.Second, 1, nil, others + "+7", 30 * time.Second},
			"and waited for already":     {others + "+7", 30 * time.Second, 1, nil, others + "+7", 30 * time.Second},
			"by another of a like start": {mine[:21] + "x-7", 30 * time.Second, 0, nil, mine[:21] + "x-7", 30 * time.Second},
		} {
			t.Run(name, func(t *testing.T) {
				rdb.Set(t.Context(), lockKey, tc.holds, day+tc.runs)
				got := call(t, rdb, lua.AcquireLock, mine, 60_000, tc.wait)
				left, isLeft := got.(int64)
				if tc.want != nil && got != tc.want || tc.want == nil && (!isLeft || left > tc.runs.Milliseconds() || left < tc.runs.Milliseconds()-10_000) {
					t.Errorf("%v, want %v", got, tc.want)
				}
				if holds := rdb.Get(t.Context(), lockKey).Val(); holds != tc.then {
					t.Errorf("the lock holds %q", holds)
				}
				wantTTL(t, rdb, tc.ttl)
			})
		}
	})
}

// TestAcquireLockForALine: whoever has others behind him announces his release.
func TestAcquireLockForALine(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		rdb.Del(t.Context(), lockKey)
		text, _ := call(t, rdb, lua.AcquireLock, mine, 60_000, 1).(string)
		if holds := rdb.Get(t.Context(), lockKey).Val(); text == "" || holds != mine+"+"+text {
			t.Errorf("fence %q, the lock holds %q", text, holds)
		}
	})
}

// TestAcquireLockOnTheEdge: a lock is free once no more than a day is left.
func TestAcquireLockOnTheEdge(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, ttl := range map[string]time.Duration{"a day": day, "less": time.Second, "for ever, which nobody gave it": 0} {
			rdb.Set(t.Context(), lockKey, others+"-7", ttl)
			if _, obtained := call(t, rdb, lua.AcquireLock, mine, 60_000, 0).(string); !obtained {
				t.Errorf("%s: held", name)
			}
		}
	})
}

func TestExtendLock(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, tc := range map[string]struct {
			holds string
			runs  time.Duration
			want  int64
			ttl   time.Duration
		}{
			"mine":             {mine + "-7", 10 * time.Second, 1, time.Minute},
			"mine, and longer": {mine + "+7", time.Hour, 1, time.Hour},
			"mine, but over":   {mine + "-7", 0, 0, 0},
			"another's":        {others + "-7", 30 * time.Second, 0, 30 * time.Second},
			"nobody's":         {"", 0, 0, 0},
		} {
			t.Run(name, func(t *testing.T) {
				rdb.Del(t.Context(), lockKey)
				if tc.holds != "" {
					rdb.Set(t.Context(), lockKey, tc.holds, day+tc.runs)
				}
				if got := call(t, rdb, lua.ExtendLock, mine, 60_000); got != tc.want {
					t.Errorf("%v, want %d", got, tc.want)
				}
				if holds := rdb.Get(t.Context(), lockKey).Val(); holds != tc.holds {
					t.Errorf("the lock holds %q", holds)
				}
				if tc.holds != "" {
					wantTTL(t, rdb, tc.ttl)
				}
			})
		}
	})
}

func TestReleaseLock(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, tc := range map[string]struct {
			holds   string
			runs    time.Duration
			want    int64
			ttl     time.Duration
			message bool
		}{
			"mine":                {mine + "-7", time.Minute, 1, 0, false},
			"mine and waited for": {mine + "+7", time.Minute, 1, 0, true},
			"mine, but over":      {mine + "-7", -time.Hour, 1, 0, false},
			"another's":           {others + "+8", time.Minute, 0, time.Minute, false},
			"another's, and over": {others + "+8", -time.Hour, 0, -time.Hour, false},
			"nobody's":            {"", 0, 0, 0, false},
		} {
			t.Run(name, func(t *testing.T) {
				ctx := t.Context()
				rdb.Del(ctx, lockKey)
				if tc.holds != "" {
					rdb.Set(ctx, lockKey, tc.holds, day+tc.runs)
				}
				sub := rdb.Subscribe(ctx, lockKey)
				defer sub.Close()
				if _, err := sub.Receive(ctx); err != nil {
					t.Fatal(err)
				}
				if got := call(t, rdb, lua.ReleaseLock, mine); got != tc.want {
					t.Errorf("%v, want %d", got, tc.want)
				}
				if holds := rdb.Get(ctx, lockKey).Val(); holds != tc.holds {
					t.Errorf("the lock holds %q", holds)
				}
				if tc.holds != "" {
					wantTTL(t, rdb, tc.ttl)
				}
				// A message of our own marks the end of what was published.
				rdb.Publish(ctx, lockKey, "end")
				if m, err := sub.ReceiveMessage(ctx); err != nil || (m.Payload == "") != tc.message {
					t.Errorf("published: %v, %v", m, err)
				}
			})
		}
	})
}

// TestLockByOneOfMany has many take the same lock at once.
func TestLockByOneOfMany(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		r := lua.NewRunner(rdb, nil)
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := 0
		for i := range 32 {
			wg.Go(func() {
				reply, err := r.Run(t.Context(), lua.AcquireLock, lockKeys, mine[:20]+strconv.Itoa(10+i), 60_000, 0)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if _, fence := reply.Value.(string); fence {
					got++
				}
			})
		}
		wg.Wait()
		if got != 1 {
			t.Errorf("%d have it", got)
		}
	})
}

func TestGuardedSet(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		old, record := head('o', in(time.Hour)), head('n', in(time.Hour))
		const keep = 48 * time.Hour
		for name, tc := range map[string]struct {
			last          string
			fence, number int64
			ttl           time.Duration
			want          int64
			by            string
			remembered    time.Duration
		}{
			"the first":                      {"", 7, 1, time.Minute, 1, "7 1", day},
			"of a later holder":              {"6 9", 7, 1, time.Minute, 1, "7 1", day},
			"of the same holder":             {"7 1", 7, 2, time.Minute, 1, "7 2", day},
			"for longer than a day":          {"6 9", 7, 1, keep, 1, "7 1", keep},
			"of an earlier holder":           {"8 1", 7, 5, time.Minute, 0, "8 1", time.Hour},
			"overtaken by the next":          {"7 3", 7, 2, time.Minute, 2, "7 3", time.Hour},
			"again":                          {"7 2", 7, 2, time.Minute, 1, "7 2", time.Hour},
			"10 is more than 9":              {"9 1", 10, 1, time.Minute, 1, "10 1", day},
			"whole numbers up to the last":   {"9007199254740990 1", 1<<53 - 1, 1, time.Minute, 1, "9007199254740991 1", day},
			"one less than the last of them": {"9007199254740991 1", 1<<53 - 2, 1, time.Minute, 0, "9007199254740991 1", time.Hour},
		} {
			t.Run(name, func(t *testing.T) {
				rdb.Set(t.Context(), valueKey, old, time.Hour)
				rdb.Del(t.Context(), fenceKey)
				if tc.last != "" {
					rdb.Set(t.Context(), fenceKey, tc.last, time.Hour)
				}
				if got := call(t, rdb, lua.GuardedSet, tc.fence, tc.number, record, tc.ttl.Milliseconds()); got != tc.want {
					t.Errorf("%v, want %d", got, tc.want)
				}
				if by := rdb.Get(t.Context(), fenceKey).Val(); by != tc.by {
					t.Errorf("by %q", by)
				}
				keyTTL(t, rdb, fenceKey, tc.remembered)
				written := tc.by != tc.last
				if holds := rdb.Get(t.Context(), valueKey).Val(); (holds == record) != written {
					t.Errorf("written: %t, the server holds %q", written, holds)
				}
				if written {
					keyTTL(t, rdb, valueKey, tc.ttl)
				}
			})
		}
		rdb.Set(t.Context(), valueKey, old, time.Hour)
		rdb.Set(t.Context(), fenceKey, "somebody was here", time.Hour)
		_, err := lua.NewRunner(rdb, nil).Run(t.Context(), lua.GuardedSet, guardedKeys, 7, 1, record, 1000)
		if err == nil || rdb.Get(t.Context(), valueKey).Val() == record {
			t.Errorf("under a fence that is none: %v", err)
		}
	})
}
