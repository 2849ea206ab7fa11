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

// Blinds have 22 characters: that is how a script knows them in a key.
var (
	blind      = strings.Repeat("a", 22)
	other      = strings.Repeat("b", 22)
	sessionKey = "sc:test:s:{tag}" + blind
	otherKey   = "sc:test:s:{tag}" + other
	subjectKey = "sc:test:u:{tag}" + strings.Repeat("u", 22)
)

// sessionState is what the server holds of a subject's sessions.
type sessionState struct {
	One, Other string
	Index      []string
}

func stateOf(t *testing.T, rdb redis.UniversalClient) sessionState {
	t.Helper()
	ctx := t.Context()
	return sessionState{rdb.Get(ctx, sessionKey).Val(), rdb.Get(ctx, otherKey).Val(), rdb.ZRange(ctx, subjectKey, 0, -1).Val()}
}

// become puts a state on the server, members scored an hour ahead.
func (s sessionState) become(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	ctx := t.Context()
	rdb.Del(ctx, sessionKey, otherKey, subjectKey)
	for k, v := range map[string]string{sessionKey: s.One, otherKey: s.Other} {
		if v != "" {
			rdb.Set(ctx, k, v, time.Minute)
		}
	}
	for _, m := range s.Index {
		rdb.ZAdd(ctx, subjectKey, redis.Z{Score: float64(in(time.Hour)), Member: m})
	}
}

func ask(t *testing.T, rdb redis.UniversalClient, s *lua.Script, keys []string, args ...any) any {
	t.Helper()
	reply, err := lua.NewRunner(rdb, nil).Run(t.Context(), s, keys, args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply.Value
}

func TestSessionScripts(t *testing.T) {
	one, two, three := head('1', in(time.Hour)), head('2', in(2*time.Hour)), head('3', in(time.Hour))
	none := sessionState{Index: []string{}}
	here := sessionState{One: one, Index: []string{blind}}
	both := sessionState{One: one, Other: three, Index: []string{blind, other}}
	indexed, alone := []string{sessionKey, subjectKey}, []string{sessionKey, sessionKey}
	cases := map[string]struct {
		was    sessionState
		script *lua.Script
		keys   []string
		args   []any
		want   any
		is     sessionState
	}{
		"create":                          {none, lua.Create, indexed, []any{one, 5000}, int64(1), here},
		"create beside another":           {sessionState{Other: three, Index: []string{other}}, lua.Create, indexed, []any{two, 5000}, int64(1), sessionState{two, three, []string{other, blind}}},
		"create without a subject":        {none, lua.Create, alone, []any{one, 5000}, int64(1), sessionState{One: one, Index: []string{}}},
		"create what is there":            {here, lua.Create, indexed, []any{two, 5000}, int64(0), here},
		"update":                          {here, lua.Update, indexed, []any{one[:60], two, 5000}, int64(1), sessionState{One: two, Index: []string{blind}}},
		"update without a subject":        {sessionState{One: one, Index: []string{}}, lua.Update, alone, []any{one[:60], two, 5000}, int64(1), sessionState{One: two, Index: []string{}}},
		"update what an index has lost":   {sessionState{One: one, Index: []string{}}, lua.Update, indexed, []any{one[:60], two, 5000}, int64(1), sessionState{One: two, Index: []string{blind}}},
		"update again":                    {sessionState{One: two, Index: []string{}}, lua.Update, indexed, []any{one[:60], two, 5000}, int64(2), sessionState{One: two, Index: []string{}}},
		"update another":                  {sessionState{One: three, Index: []string{}}, lua.Update, indexed, []any{one[:60], two, 5000}, int64(0), sessionState{One: three, Index: []string{}}},
		"update nothing":                  {none, lua.Update, indexed, []any{one[:60], two, 5000}, int64(-1), none},
		"regenerate":                      {here, lua.Regenerate, append(indexed, otherKey), []any{one[:60], two, 5000}, int64(1), sessionState{Other: two, Index: []string{other}}},
		"regenerate without a subject":    {sessionState{One: one, Index: []string{}}, lua.Regenerate, append(alone, otherKey), []any{one[:60], two, 5000}, int64(1), sessionState{Other: two, Index: []string{}}},
		"regenerate again":                {sessionState{Other: two, Index: []string{other}}, lua.Regenerate, append(indexed, otherKey), []any{one[:60], two, 5000}, int64(2), sessionState{Other: two, Index: []string{other}}},
		"regenerate another":              {sessionState{One: three, Index: []string{blind}}, lua.Regenerate, append(indexed, otherKey), []any{one[:60], two, 5000}, int64(0), sessionState{One: three, Index: []string{blind}}},
		"regenerate nothing":              {none, lua.Regenerate, append(indexed, otherKey), []any{one[:60], two, 5000}, int64(-1), none},
		"destroy":                         {both, lua.Destroy, indexed, []any{""}, int64(1), sessionState{Other: three, Index: []string{other}}},
		"destroy without the index":       {both, lua.Destroy, alone, []any{""}, int64(1), sessionState{Other: three, Index: []string{blind, other}}},
		"destroy the one that was read":   {here, lua.Destroy, indexed, []any{one[:60]}, int64(1), none},
		"destroy another":                 {here, lua.Destroy, indexed, []any{two[:60]}, int64(0), here},
		"destroy nothing":                 {none, lua.Destroy, indexed, []any{""}, int64(-1), none},
		"destroy nothing that was read":   {none, lua.Destroy, indexed, []any{one[:60]}, int64(-1), none},
		"destroy what the index had left": {sessionState{Index: []string{blind}}, lua.Destroy, indexed, []any{""}, int64(-1), none},
		"destroyall":                      {both, lua.DestroyAll, []string{subjectKey, sessionKey, otherKey}, []any{2, 0}, []any{int64(1), int64(2)}, none},
		"destroyall but one":              {both, lua.DestroyAll, []string{subjectKey, otherKey, sessionKey}, []any{1, 0}, []any{int64(1), int64(1)}, here},
		"destroyall again":                {none, lua.DestroyAll, []string{subjectKey, sessionKey, otherKey}, []any{2, 0}, []any{int64(1), int64(0)}, none},
		"destroyall of an empty index":    {none, lua.DestroyAll, []string{subjectKey}, []any{0, 0}, []any{int64(1), int64(0)}, none},
		"destroyall not knowing one":      {both, lua.DestroyAll, []string{subjectKey, sessionKey}, []any{1, 0}, []any{int64(0), []any{blind, other}}, both},
		"destroyall with one gone":        {sessionState{One: one, Index: []string{blind, other}}, lua.DestroyAll, []string{subjectKey, sessionKey, otherKey}, []any{2, 0}, []any{int64(1), int64(1)}, none},
		"sessions":                        {both, lua.Sessions, []string{subjectKey, sessionKey, otherKey}, nil, []any{int64(1), []any{one, three}}, both},
		"sessions with one gone":          {sessionState{Other: three, Index: []string{blind, other}}, lua.Sessions, []string{subjectKey, sessionKey, otherKey}, nil, []any{int64(1), []any{nil, three}}, sessionState{Other: three, Index: []string{blind, other}}},
		"sessions of nobody":              {none, lua.Sessions, []string{subjectKey}, nil, []any{int64(1), []any{}}, none},
		"sessions not knowing one":        {both, lua.Sessions, []string{subjectKey}, nil, []any{int64(0), []any{blind, other}}, both},
	}
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				tc.was.become(t, rdb)
				if got := ask(t, rdb, tc.script, tc.keys, tc.args...); !reflect.DeepEqual(got, tc.want) {
					t.Errorf("%v, want %v", got, tc.want)
				}
				if is := stateOf(t, rdb); !reflect.DeepEqual(is, tc.is) {
					t.Errorf("the server holds %q, want %q", is, tc.is)
				}
			})
		}
	})
}

// TestIndexLives holds the index to the life of its last member, and a record
// to the TTL it was given.
func TestIndexLives(t *testing.T) {
	const allowance = 5 * time.Minute
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		ends := func(key string, d time.Duration) {
			t.Helper()
			if ttl := rdb.PTTL(ctx, key).Val(); ttl > d || ttl < d-5*time.Second {
				t.Errorf("%s ends in %v, want %v", key, ttl, d)
			}
		}
		one, three, four := head('1', in(time.Hour)), head('3', in(2*time.Hour)), head('4', in(2*time.Hour))
		ask(t, rdb, lua.Create, []string{sessionKey, subjectKey}, one, 60_000)
		ends(sessionKey, time.Minute)
		ends(subjectKey, time.Hour+allowance)
		ask(t, rdb, lua.Create, []string{otherKey, subjectKey}, head('2', in(time.Minute)), 60_000) // ends sooner
		ends(subjectKey, time.Hour+allowance)
		rdb.Persist(ctx, subjectKey)
		ask(t, rdb, lua.Update, []string{sessionKey, subjectKey}, one[:60], three, 90_000)
		ends(sessionKey, 90*time.Second)
		ends(subjectKey, 2*time.Hour+allowance)

		old := strings.Repeat("o", 22)
		rdb.ZAdd(ctx, subjectKey, redis.Z{Score: float64(in(-allowance - time.Second)), Member: old}, redis.Z{Score: float64(in(-allowance + time.Minute)), Member: "recent"})
		ask(t, rdb, lua.Update, []string{sessionKey, subjectKey}, three[:60], four, 90_000)
		if got := rdb.ZRange(ctx, subjectKey, 0, -1).Val(); !reflect.DeepEqual(got, []string{"recent", other, blind}) {
			t.Errorf("the index names %q", got)
		}
		if score := rdb.ZScore(ctx, subjectKey, blind).Val(); score < float64(in(2*time.Hour)-5000) || score > float64(in(2*time.Hour)) {
			t.Errorf("scored %.0f", score)
		}
	})
}

func TestTombstone(t *testing.T) {
	keys := []string{sessionKey, subjectKey}
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx, one, two := t.Context(), head('1', in(time.Hour)), head('2', in(time.Hour))
		for i, step := range []struct {
			script *lua.Script
			args   []any
			want   int64
			holds  string
		}{
			{lua.Commit, []any{one, 5000}, 1, one},
			{lua.Commit, []any{two, 60_000}, 1, two},
			{lua.Bury, []any{60_000}, 1, ""},
			{lua.Commit, []any{one, 5000}, 0, ""},
			{lua.Bury, []any{60_000}, 0, ""},
		} {
			if got := ask(t, rdb, step.script, keys, step.args...); got != step.want {
				t.Errorf("step %d: %v, want %d", i, got, step.want)
			}
			if holds := rdb.Get(ctx, sessionKey).Val(); holds != step.holds {
				t.Errorf("step %d: the server holds %q", i, holds)
			}
		}
		if ttl := rdb.PTTL(ctx, subjectKey).Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("the tombstone stands for %v", ttl)
		}
		rdb.Del(ctx, subjectKey)
		if got := ask(t, rdb, lua.Commit, keys, one, 5000); got != int64(1) {
			t.Errorf("once it has gone: %v", got)
		}
		if ttl := rdb.PTTL(ctx, sessionKey).Val(); ttl <= 0 || ttl > 5*time.Second {
			t.Errorf("the session ends in %v", ttl)
		}
	})
}

// TestSessionsByManyCallers has one of many moves win, and all others told so.
func TestSessionsByManyCallers(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		was := head('0', in(time.Hour))
		sessionState{One: was, Index: []string{blind}}.become(t, rdb)
		r := lua.NewRunner(rdb, nil)
		var wg sync.WaitGroup
		replies := make([]int64, 32)
		for i := range replies {
			to := fmt.Sprintf("sc:test:s:{tag}%022d", i)
			wg.Go(func() {
				reply, err := r.Run(t.Context(), lua.Regenerate, []string{sessionKey, subjectKey, to}, was[:60], head(byte('a'+i), in(time.Hour)), 5000)
				if err != nil {
					t.Error(err)
				}
				replies[i], _ = reply.Int()
			})
		}
		wg.Wait()
		won := 0
		for _, n := range replies {
			switch n {
			case 1:
				won++
			case -1:
			default:
				t.Errorf("a reply of %d", n)
			}
		}
		if members := rdb.ZRange(t.Context(), subjectKey, 0, -1).Val(); won != 1 || len(members) != 1 {
			t.Errorf("%d callers moved the session, the index names %q", won, members)
		}
	})
}
