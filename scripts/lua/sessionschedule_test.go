package lua_test

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

const (
	shardDue    = "sc:test:e:{tag}:due"
	shardEvents = "sc:test:e:{tag}:event"
	shardWake   = "sc:test:e:{tag}:wake"
	sessionID   = "{tag}" // and the blind
)

// TestSessionsKeepTheSchedule runs each script that writes sessions with the
// keys of a shard: what is due afterwards, by its field.
func TestSessionsKeepTheSchedule(t *testing.T) {
	one, two := head('1', in(time.Hour)), head('2', in(2*time.Hour))
	was, payload := head('w', in(time.Hour)), head('p', in(time.Hour))
	owed := sessionID + blind + ":" + hex.EncodeToString([]byte(strings.Repeat("w", 12)))
	const ahead, passed = time.Minute, -time.Minute
	for name, tc := range map[string]struct {
		script *lua.Script
		keys   []string
		args   []any
		record string
		due    time.Duration // of the session before, 0 for none
		want   map[string]string
	}{
		"create":                        {lua.Create, []string{sessionKey, subjectKey}, []any{one, 5000, payload, shardWake}, "", 0, map[string]string{sessionID + blind: payload}},
		"create what is there":          {lua.Create, []string{sessionKey, subjectKey}, []any{one, 5000, payload, shardWake}, one, ahead, map[string]string{sessionID + blind: was}},
		"update":                        {lua.Update, []string{sessionKey, subjectKey}, []any{one[:60], two, 5000, payload, shardWake}, one, ahead, map[string]string{sessionID + blind: payload}},
		"update of another":             {lua.Update, []string{sessionKey, subjectKey}, []any{one[:60], two, 5000, payload, shardWake}, was, ahead, map[string]string{sessionID + blind: was}},
		"update past the deadline":      {lua.Update, []string{sessionKey, sessionKey}, []any{one[:60], two, 5000, payload, shardWake}, one, passed, map[string]string{sessionID + blind: payload, owed: was}},
		"regenerate":                    {lua.Regenerate, []string{sessionKey, subjectKey, otherKey}, []any{one[:60], two, 5000, payload, shardWake}, one, ahead, map[string]string{sessionID + other: payload}},
		"regenerate past the deadline":  {lua.Regenerate, []string{sessionKey, sessionKey, otherKey}, []any{one[:60], two, 5000, payload, shardWake}, one, passed, map[string]string{sessionID + blind: was, sessionID + other: payload}},
		"destroy":                       {lua.Destroy, []string{sessionKey, subjectKey}, []any{""}, one, ahead, map[string]string{}},
		"destroy of another":            {lua.Destroy, []string{sessionKey, subjectKey}, []any{two[:60]}, one, ahead, map[string]string{sessionID + blind: was}},
		"destroy past the deadline":     {lua.Destroy, []string{sessionKey, sessionKey}, []any{""}, "", passed, map[string]string{sessionID + blind: was}},
		"destroy what was never there":  {lua.Destroy, []string{sessionKey, sessionKey}, []any{""}, "", 0, map[string]string{}},
		"commit":                        {lua.Commit, []string{sessionKey, subjectKey + "x"}, []any{two, 5000, payload, shardWake}, one, ahead, map[string]string{sessionID + blind: payload}},
		"bury":                          {lua.Bury, []string{sessionKey, subjectKey + "x"}, []any{5000}, one, ahead, map[string]string{}},
		"destroyall":                    {lua.DestroyAll, nil, nil, one, ahead, map[string]string{}},
		"destroyall, past the deadline": {lua.DestroyAll, nil, nil, "", passed, map[string]string{sessionID + blind: was}},
	} {
		t.Run(name, func(t *testing.T) {
			servers(t, func(t *testing.T, rdb redis.UniversalClient) {
				ctx := t.Context()
				index := []string{}
				if tc.record != "" {
					index = append(index, blind)
				}
				sessionState{One: tc.record, Index: index}.become(t, rdb)
				rdb.Del(ctx, shardDue, shardEvents, subjectKey+"x")
				if tc.due != 0 {
					rdb.ZAdd(ctx, shardDue, redis.Z{Score: float64(in(tc.due)), Member: sessionID + blind})
					rdb.HSet(ctx, shardEvents, sessionID+blind, was)
				}
				keys, args := append(tc.keys[:len(tc.keys):len(tc.keys)], shardDue, shardEvents), tc.args
				if tc.script == lua.DestroyAll {
					keys, args = []string{subjectKey, shardDue, shardEvents, sessionKey}, []any{1, 1}
				}
				ask(t, rdb, tc.script, keys, args...)
				got := make(map[string]string)
				for _, m := range rdb.ZRangeWithScores(ctx, shardDue, 0, -1).Val() {
					field := m.Member.(string)
					got[field] = rdb.HGet(ctx, shardEvents, field).Val()
					if left := time.Until(time.UnixMilli(int64(m.Score))); got[field] == payload && (left > 5*time.Second || left < 0) {
						t.Errorf("%s is due in %v", field, left)
					}
				}
				if !reflect.DeepEqual(got, tc.want) {
					t.Errorf("due are %q, want %q", got, tc.want)
				}
			})
		})
	}
}

// TestSessionsWake has a session whose end is the next of its shard wake who
// sleeps until then, and no other.
func TestSessionsWake(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		sub := rdb.Subscribe(ctx, shardWake)
		defer sub.Close()
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		create := func(key string, ttl int) {
			ask(t, rdb, lua.Create, []string{key, key, shardDue, shardEvents}, head('1', in(time.Hour)), ttl, head('p', in(time.Hour)), shardWake)
		}
		create(sessionKey, 60_000)
		create(otherKey, 90_000)
		create(sessionKey+"c", 30_000)
		for _, want := range []string{"60000", "30000"} {
			msg, err := sub.ReceiveMessage(ctx)
			if err != nil || msg.Payload != want {
				t.Fatalf("%v, %v; want %s", msg, err, want)
			}
		}
	})
}
