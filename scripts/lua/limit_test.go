package lua_test

import (
	"crypto/fips140"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecachetest"
)

const limitKey = "sc:test:r:{name}"

// limited runs a script on limitKey.
func limited(t *testing.T, rdb redis.UniversalClient, s *lua.Script, args ...any) any {
	t.Helper()
	return ask(t, rdb, s, []string{limitKey}, args...)
}

// frozen runs a test on miniredis, whose clock stands at the given time.
func frozen(t *testing.T, at time.Time) (*miniredis.Miniredis, redis.UniversalClient) {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("miniredis needs SHA-1 for SCRIPT LOAD, which FIPS 140-only mode does not have")
	}
	mini := miniredis.RunT(t)
	mini.SetTime(at)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	return mini, rdb
}

func list(n ...int64) []any {
	all := make([]any, len(n))
	for i := range n {
		all[i] = n[i]
	}
	return all
}

// noon has microseconds that a double of another scale would lose.
var noon = time.UnixMicro(1_795_176_000_123_457)

func TestGCRA(t *testing.T) {
	const none = ""
	at := func(us int64) string { return strconv.FormatInt(noon.UnixMicro()+us, 10) }
	for name, tc := range map[string]struct {
		holds string
		cost  int64
		want  int64
		left  string // what the server holds then
		ttl   time.Duration
	}{
		"the first":                         {none, 100_000, 100_000, at(100_000), 102 * time.Millisecond},
		"of a bucket that is filling":       {at(100_000), 100_000, 200_000, at(200_000), 202 * time.Millisecond},
		"full again":                        {at(-1), 100_000, 100_000, at(100_000), 102 * time.Millisecond},
		"all of it":                         {none, 1_000_000, 1_000_000, at(1_000_000), 1002 * time.Millisecond},
		"the last of it":                    {at(900_000), 100_000, 1_000_000, at(1_000_000), 1002 * time.Millisecond},
		"part of a millisecond":             {none, 1, 1, at(1), 2 * time.Millisecond},
		"too much by a microsecond":         {at(900_001), 100_000, -900_001, at(900_001), time.Minute},
		"too much of the empty":             {at(1_000_000), 1, -1_000_000, at(1_000_000), time.Minute},
		"more than there can be":            {none, 1_000_001, -1, none, 0},
		"a look at the full":                {none, 0, 0, none, 0},
		"a look":                            {at(100_000), 0, 100_000, at(100_000), time.Minute},
		"a look at the empty":               {at(1_000_000), 0, 1_000_000, at(1_000_000), time.Minute},
		"the clock was set back":            {at(3_600_000_000), 1, -1_000_000, at(1_000_000), 1002 * time.Millisecond},
		"a look after it was set back":      {at(3_600_000_000), 0, 1_000_000, at(3_600_000_000), time.Minute},
		"no number":                         {"soon", 1, -1_000_000, at(1_000_000), 1002 * time.Millisecond},
		"not a number":                      {"nan", 1, -1_000_000, at(1_000_000), 1002 * time.Millisecond},
		"infinity":                          {"inf", 1, -1_000_000, at(1_000_000), 1002 * time.Millisecond},
		"a number that is no time, and low": {"-5", 1, 1, at(1), 2 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			mini, rdb := frozen(t, noon)
			if tc.holds != none {
				rdb.Set(t.Context(), limitKey, tc.holds, time.Minute)
			}
			if got := limited(t, rdb, lua.GCRA, tc.cost, 1_000_000); got != tc.want {
				t.Errorf("%v, want %d", got, tc.want)
			}
			if holds := rdb.Get(t.Context(), limitKey).Val(); holds != tc.left {
				t.Errorf("the server holds %s, want %s", holds, tc.left)
			}
			if ttl := mini.TTL(limitKey); ttl != tc.ttl {
				t.Errorf("the TTL is %v, want %v", ttl, tc.ttl)
			}
		})
	}
}

func TestFixedWindow(t *testing.T) {
	for name, tc := range map[string]struct {
		holds string
		runs  time.Duration // its TTL; 0: none
		cost  int
		want  []any
		left  string
		ttl   time.Duration
	}{
		"the first":             {"", 0, 1, list(1, 1, 60_000), "1", time.Minute},
		"a later one":           {"1", time.Second, 2, list(1, 3, 1000), "3", time.Second},
		"the last":              {"9", time.Second, 1, list(1, 10, 1000), "10", time.Second},
		"one too much":          {"10", time.Second, 1, list(0, 10, 1000), "10", time.Second},
		"more than is left":     {"9", time.Second, 2, list(0, 9, 1000), "9", time.Second},
		"a look":                {"9", time.Second, 0, list(1, 9, 1000), "9", time.Second},
		"a look at nothing":     {"", 0, 0, list(1, 0, 60_000), "", 0},
		"no TTL":                {"5", 0, 1, list(1, 6, 60_000), "6", time.Minute},
		"no TTL, and refused":   {"10", 0, 1, list(0, 10, 60_000), "10", time.Minute},
		"a look, and no TTL":    {"10", 0, 0, list(1, 10, 60_000), "10", 0},
		"a TTL that is long":    {"10", time.Hour, 1, list(0, 10, 60_000), "10", time.Minute},
		"and room":              {"5", time.Hour, 1, list(1, 6, 60_000), "6", time.Minute},
		"the limit was lowered": {"50", time.Second, 1, list(0, 10, 1000), "50", time.Second},
		"no number":             {"many", time.Second, 1, list(0, 10, 1000), "many", time.Second},
		"not a number":          {"nan", time.Second, 1, list(0, 10, 1000), "nan", time.Second},
		"less than nothing":     {"-5", time.Second, 1, list(0, 10, 1000), "-5", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			mini, rdb := frozen(t, noon)
			if tc.holds != "" {
				rdb.Set(t.Context(), limitKey, tc.holds, tc.runs)
			}
			if got := limited(t, rdb, lua.FixedWindow, tc.cost, 10, 60_000); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
			if holds := rdb.Get(t.Context(), limitKey).Val(); holds != tc.left {
				t.Errorf("the server holds %q, want %q", holds, tc.left)
			}
			if ttl := mini.TTL(limitKey); ttl != tc.ttl {
				t.Errorf("the TTL is %v, want %v", ttl, tc.ttl)
			}
		})
	}
}

// window is what slidingwindow keeps; start counts from noon.
type window struct {
	start             int64
	previous, current string
}

func (w window) fields() map[string]string {
	if w == (window{}) {
		return map[string]string{}
	}
	return map[string]string{
		"start": strconv.FormatInt(noon.UnixMilli()+w.start, 10), "previous": w.previous, "current": w.current,
	}
}

func TestSlidingWindow(t *testing.T) {
	const hour = 3_600_000
	for name, tc := range map[string]struct {
		holds window
		cost  int
		want  []any
		left  window
		ttl   time.Duration // 0: the minute that it had
	}{
		"the first":                    {window{}, 1, list(1, 0, 1, 1000), window{0, "0", "1"}, 2 * time.Second},
		"a later one":                  {window{-400, "0", "1"}, 2, list(1, 0, 3, 600), window{-400, "0", "3"}, 1600 * time.Millisecond},
		"all of it":                    {window{}, 10, list(1, 0, 10, 1000), window{0, "0", "10"}, 2 * time.Second},
		"one too much":                 {window{-400, "0", "10"}, 1, list(0, 0, 10, 600), window{-400, "0", "10"}, 0},
		"what was before counts":       {window{-400, "10", "3"}, 2, list(0, 10, 3, 600), window{-400, "10", "3"}, 0},
		"by its share":                 {window{-400, "10", "3"}, 1, list(1, 10, 4, 600), window{-400, "10", "4"}, 1600 * time.Millisecond},
		"rounded up":                   {window{-401, "10", "3"}, 2, list(0, 10, 3, 599), window{-401, "10", "3"}, 0},
		"to the last of it":            {window{-999, "1", "9"}, 1, list(0, 1, 9, 1), window{-999, "1", "9"}, 0},
		"the next window":              {window{-1000, "7", "4"}, 1, list(1, 4, 1, 1000), window{0, "4", "1"}, 2 * time.Second},
		"within the next window":       {window{-1500, "7", "10"}, 5, list(1, 10, 5, 500), window{-500, "10", "5"}, 1500 * time.Millisecond},
		"refused, it is not moved on":  {window{-1500, "7", "10"}, 6, list(0, 10, 0, 500), window{-1500, "7", "10"}, 0},
		"the one after it":             {window{-2000, "7", "10"}, 1, list(1, 0, 1, 1000), window{0, "0", "1"}, 2 * time.Second},
		"a look":                       {window{-400, "10", "3"}, 0, list(1, 10, 3, 600), window{-400, "10", "3"}, 0},
		"a look at nothing":            {window{}, 0, list(1, 0, 0, 1000), window{}, -1},
		"the clock was set back":       {window{hour, "10", "3"}, 1, list(0, 10, 3, 1000), window{0, "10", "3"}, 2 * time.Second},
		"and there is room":            {window{hour, "2", "3"}, 1, list(1, 2, 4, 1000), window{0, "2", "4"}, 2 * time.Second},
		"a look after it was set back": {window{hour, "10", "3"}, 0, list(0, 10, 3, 1000), window{hour, "10", "3"}, 0},
		"the limit was lowered":        {window{-400, "0", "50"}, 1, list(0, 0, 10, 600), window{-400, "0", "50"}, 0},
		"no number":                    {window{-400, "0", "many"}, 1, list(0, 0, 10, 600), window{-400, "0", "many"}, 0},
		"less than nothing":            {window{-400, "-50", "0"}, 5, list(0, 10, 0, 600), window{-400, "-50", "0"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			mini, rdb := frozen(t, noon)
			if tc.holds != (window{}) {
				rdb.HSet(t.Context(), limitKey, tc.holds.fields())
				rdb.Expire(t.Context(), limitKey, time.Minute)
			}
			if got := limited(t, rdb, lua.SlidingWindow, tc.cost, 10, 1000); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
			if holds := rdb.HGetAll(t.Context(), limitKey).Val(); !maps.Equal(holds, tc.left.fields()) {
				t.Errorf("the server holds %v, want %v", holds, tc.left.fields())
			}
			want := tc.ttl
			switch want {
			case 0:
				want = time.Minute
			case -1:
				want = 0
			}
			if ttl := mini.TTL(limitKey); ttl != want {
				t.Errorf("the TTL is %v, want %v", ttl, want)
			}
		})
	}
}

// takes are the scripts that take, with arguments for 3 at most, and states in
// which they are used up.
var takes = map[string]struct {
	script *lua.Script
	args   []any
	usedUp func(t *testing.T, rdb redis.UniversalClient)
	taken  func(reply any) bool
}{
	"gcra": {lua.GCRA, []any{60_000_000, 180_000_000},
		func(t *testing.T, rdb redis.UniversalClient) {
			rdb.Set(t.Context(), limitKey, time.Now().Add(170*time.Second).UnixMicro(), 0)
		},
		func(reply any) bool { return reply.(int64) >= 0 }},
	"fixedwindow": {lua.FixedWindow, []any{1, 3, 180_000},
		func(t *testing.T, rdb redis.UniversalClient) { rdb.Set(t.Context(), limitKey, 3, 0) }, first},
	"slidingwindow": {lua.SlidingWindow, []any{1, 3, 180_000},
		func(t *testing.T, rdb redis.UniversalClient) {
			rdb.HSet(t.Context(), limitKey, "start", time.Now().UnixMilli(), "previous", 0, "current", 3)
		}, first},
	"acquirelease": {lua.AcquireLease, []any{mine, 3, 180_000},
		func(t *testing.T, rdb redis.UniversalClient) {
			for _, who := range []string{"a", "b", "c"} {
				rdb.ZAdd(t.Context(), limitKey, redis.Z{Score: float64(in(170 * time.Second)), Member: who})
			}
		}, first},
}

func first(reply any) bool { return reply.([]any)[0] == int64(1) }

// TestRefusalsWriteNothing looks at how many changes the server counts.
func TestRefusalsWriteNothing(t *testing.T) {
	env := securecachetest.Start(t)
	if env.Server.Lacks() != nil {
		t.Skip("the embedded server does not count its changes")
	}
	changes := func() string {
		t.Helper()
		info := env.Admin.InfoMap(t.Context(), "persistence").Item("Persistence", "rdb_changes_since_last_save")
		if info == "" {
			t.Fatal("the server does not say how much has changed")
		}
		return info
	}
	for name, tc := range takes {
		t.Run(name, func(t *testing.T) {
			env.Admin.Del(t.Context(), limitKey)
			tc.usedUp(t, env.Admin)
			env.Admin.Expire(t.Context(), limitKey, 175*time.Second)
			before := changes()
			for range 10 {
				if reply := limited(t, env.Client, tc.script, tc.args...); tc.taken(reply) {
					t.Fatalf("taken: %v", reply)
				}
			}
			if after := changes(); after != before {
				t.Errorf("%s changes, then %s", before, after)
			}
		})
	}
}

// TestNothingStaysWithoutTTL takes a TTL away, as PERSIST and RESTORE do, and
// has the script refuse. A bucket, which is full in time without one, is let fill
// and taken from.
func TestNothingStaysWithoutTTL(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, tc := range takes {
			t.Run(name, func(t *testing.T) {
				rdb.Del(t.Context(), limitKey)
				tc.usedUp(t, rdb)
				if reply := limited(t, rdb, tc.script, tc.args...); tc.taken(reply) {
					t.Fatalf("taken: %v", reply)
				}
				if tc.script == lua.GCRA {
					rdb.Set(t.Context(), limitKey, time.Now().Add(110*time.Second).UnixMicro(), 0)
					if reply := limited(t, rdb, tc.script, tc.args...); !tc.taken(reply) {
						t.Fatalf("not taken: %v", reply)
					}
				}
				if ttl := rdb.PTTL(t.Context(), limitKey).Val(); ttl < 160*time.Second || ttl > 6*time.Minute {
					t.Errorf("the TTL is %v", ttl)
				}
			})
		}
	})
}

// TestTakenByThreeOfMany has many take at once what is enough for three.
func TestTakenByThreeOfMany(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, tc := range takes {
			t.Run(name, func(t *testing.T) {
				rdb.Del(t.Context(), limitKey)
				r := lua.NewRunner(rdb, nil)
				var wg sync.WaitGroup
				var mu sync.Mutex
				got := 0
				for i := range 32 {
					wg.Go(func() {
						args := slices.Clone(tc.args)
						if name == "acquirelease" {
							args[0] = strconv.Itoa(i)
						}
						reply, err := r.Run(t.Context(), tc.script, []string{limitKey}, args...)
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						if tc.taken(reply.Value) {
							got++
						}
					})
				}
				wg.Wait()
				if got != 3 {
					t.Errorf("%d have taken", got)
				}
				if ttl := rdb.PTTL(t.Context(), limitKey).Val(); ttl < 170*time.Second || ttl > 6*time.Minute {
					t.Errorf("the TTL is %v", ttl)
				}
			})
		}
	})
}

// TestWholeMicroseconds: a double printed as Lua does by itself would end in
// zeros.
func TestWholeMicroseconds(t *testing.T) {
	env := securecachetest.Start(t)
	for range 5 {
		env.Admin.Del(t.Context(), limitKey)
		limited(t, env.Client, lua.GCRA, 1, 1_000_000)
		before := time.Now().Add(-time.Minute).UnixMicro()
		text := env.Admin.Get(t.Context(), limitKey).Val()
		if text == "" { // it had one microsecond to live, and a millisecond more
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < before || n > time.Now().Add(time.Minute).UnixMicro() {
			t.Errorf("the server holds %q", text)
		}
	}
	limited(t, env.Client, lua.GCRA, 20_000_003, 60_000_000)
	one, _ := strconv.ParseInt(env.Admin.Get(t.Context(), limitKey).Val(), 10, 64)
	limited(t, env.Client, lua.GCRA, 20_000_003, 60_000_000)
	two, _ := strconv.ParseInt(env.Admin.Get(t.Context(), limitKey).Val(), 10, 64)
	if two-one != 20_000_003 {
		t.Errorf("from %d to %d", one, two)
	}
}

func TestLeases(t *testing.T) {
	type leases map[string]int64 // by whose they are, milliseconds from noon
	const minute, hour = 60_000, 3_600_000
	for name, tc := range map[string]struct {
		holds  leases
		script *lua.Script
		args   []any
		want   any
		left   leases
		ttl    time.Duration // of a minute that they had
	}{
		"the first":        {nil, lua.AcquireLease, []any{"me", 2, 1000}, list(1, 1, 0), leases{"me": 1000}, 1001 * time.Millisecond},
		"the second":       {leases{"you": 500}, lua.AcquireLease, []any{"me", 2, 1000}, list(1, 2, 0), leases{"you": 500, "me": 1000}, time.Minute},
		"beyond their TTL": {leases{"you": 500}, lua.AcquireLease, []any{"me", 2, hour}, list(1, 2, 0), leases{"you": 500, "me": hour}, time.Hour + time.Millisecond},
		"no room":          {leases{"you": 500, "they": 700}, lua.AcquireLease, []any{"me", 2, 1000}, list(0, 2, 500), leases{"you": 500, "they": 700}, time.Minute},
		"fewer than there were": {leases{"you": 500, "they": 700, "we": 900}, lua.AcquireLease, []any{"me", 2, 1000}, list(0, 3, 700),
			leases{"you": 500, "they": 700, "we": 900}, time.Minute},
		"refused, what has ended stays": {leases{"you": 500, "old": 0}, lua.AcquireLease, []any{"me", 1, 1000}, list(0, 1, 500), leases{"you": 500, "old": 0}, time.Minute},
		"in the place of what ended":    {leases{"you": 500, "old": 0}, lua.AcquireLease, []any{"me", 2, 1000}, list(1, 2, 0), leases{"you": 500, "me": 1000}, time.Minute},
		"again":                         {leases{"you": 500, "me": 700}, lua.AcquireLease, []any{"me", 2, 1000}, list(1, 2, 0), leases{"you": 500, "me": 1000}, time.Minute},
		"again, late":                   {leases{"you": 500, "me": 5000}, lua.AcquireLease, []any{"me", 2, 1000}, list(1, 2, 0), leases{"you": 500, "me": 5000}, time.Minute},
		"again, too late":               {leases{"you": 500, "me": 0}, lua.AcquireLease, []any{"me", 1, 1000}, list(0, 1, 500), leases{"you": 500, "me": 0}, time.Minute},
		"a look":                        {leases{"you": 500, "old": -1}, lua.AcquireLease, []any{"", 2, 0}, list(1, 1, 0), leases{"you": 500, "old": -1}, time.Minute},
		"a look at no room":             {leases{"you": 500}, lua.AcquireLease, []any{"", 1, 0}, list(0, 1, 500), leases{"you": 500}, time.Minute},

		"renewed":          {leases{"me": 1}, lua.RenewLease, []any{"me", 1000}, int64(1), leases{"me": 1000}, time.Minute},
		"renewed for long": {leases{"me": 1}, lua.RenewLease, []any{"me", hour}, int64(1), leases{"me": hour}, time.Hour + time.Millisecond},
		"never shortened":  {leases{"me": 5000}, lua.RenewLease, []any{"me", 1000}, int64(1), leases{"me": 5000}, time.Minute},
		"after its end":    {leases{"me": 0}, lua.RenewLease, []any{"me", 1000}, int64(0), leases{"me": 0}, time.Minute},
		"none":             {leases{"you": 500}, lua.RenewLease, []any{"me", 1000}, int64(0), leases{"you": 500}, time.Minute},

		"given back":                {leases{"me": 500, "you": 500}, lua.ReleaseLease, []any{"me"}, int64(1), leases{"you": 500}, time.Minute},
		"given back when it is old": {leases{"me": 0, "you": 500}, lua.ReleaseLease, []any{"me"}, int64(0), leases{"you": 500}, time.Minute},
		"given back by another":     {leases{"you": 500}, lua.ReleaseLease, []any{"me"}, int64(0), leases{"you": 500}, time.Minute},
		"the last is given back":    {leases{"me": 500}, lua.ReleaseLease, []any{"me"}, int64(1), leases{}, 0},

		"all forgotten": {leases{"me": 500, "you": minute}, lua.ResetLimit, nil, int64(1), leases{}, 0},
		"nothing there": {nil, lua.ResetLimit, nil, int64(0), leases{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			mini, rdb := frozen(t, noon)
			ctx := t.Context()
			for who, end := range tc.holds {
				rdb.ZAdd(ctx, limitKey, redis.Z{Score: float64(noon.UnixMilli() + end), Member: who})
			}
			rdb.Expire(ctx, limitKey, time.Minute)
			if got := limited(t, rdb, tc.script, tc.args...); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
			left := leases{}
			for _, z := range rdb.ZRangeWithScores(ctx, limitKey, 0, -1).Val() {
				left[z.Member.(string)] = int64(z.Score) - noon.UnixMilli()
			}
			if !maps.Equal(left, tc.left) {
				t.Errorf("the server holds %v, want %v", left, tc.left)
			}
			if ttl := mini.TTL(limitKey); ttl != tc.ttl {
				t.Errorf("the TTL is %v, want %v", ttl, tc.ttl)
			}
		})
	}
}
