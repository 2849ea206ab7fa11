package lua_test

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

// A shard of a schedule, and the value that the tests announce.
const (
	scheduledID = "{0b}aaaaaaaaaaaaaaaaaaaaaa"
	scheduled   = "sc:test:v:" + scheduledID
	dueKey      = "sc:test:e:{0b}:due"
	eventKey    = "sc:test:e:{0b}:event"
	triesKey    = "sc:test:e:{0b}:tries"
	deadKey     = "sc:test:e:{0b}:dead"
	wakeKey     = "sc:test:e:{0b}:wake"
)

var (
	setKeys   = []string{scheduled, dueKey, eventKey}
	claimKeys = []string{dueKey, eventKey, triesKey, deadKey}
)

// owed is the field of an event that is owed, whose payload has this mark: the
// nonce stands in bytes 49 to 60, and a test's header has the mark there.
func owed(id string, mark byte) string {
	return id + ":" + strings.Repeat(fmt.Sprintf("%02x", mark), 12)
}

func clearShard(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	if err := rdb.Del(t.Context(), scheduled, dueKey, eventKey, triesKey, deadKey).Err(); err != nil {
		t.Fatal(err)
	}
}

// plant puts an event on the schedule, due in a while or since.
func plant(t *testing.T, rdb redis.UniversalClient, field string, due time.Duration, payload string) {
	t.Helper()
	rdb.ZAdd(t.Context(), dueKey, redis.Z{Score: float64(in(due)), Member: field})
	if payload != "" {
		rdb.HSet(t.Context(), eventKey, field, payload)
	}
}

// holds wants exactly these fields, each with its payload, in the schedule.
func holds(t *testing.T, rdb redis.UniversalClient, want map[string]string) {
	t.Helper()
	ctx := t.Context()
	members := rdb.ZRange(ctx, dueKey, 0, -1).Val()
	got := make(map[string]string)
	for _, m := range members {
		got[m] = rdb.HGet(ctx, eventKey, m).Val()
	}
	if n := rdb.HLen(ctx, eventKey).Val(); !reflect.DeepEqual(got, want) || n != int64(len(want)) {
		t.Errorf("scheduled: %d of %d payloads, %q, want %q", len(got), n, keysOf(got), keysOf(want))
	}
}

func keysOf(m map[string]string) (list []string) {
	for k, v := range m {
		list = append(list, fmt.Sprintf("%s %.20q", k, v))
	}
	sort.Strings(list)
	return list
}

// soon wants a score some milliseconds ahead, give or take what a test takes.
func soon(t *testing.T, rdb redis.UniversalClient, field string, ahead time.Duration) {
	t.Helper()
	score := rdb.ZScore(t.Context(), dueKey, field).Val()
	if off := int64(score) - in(ahead); off > 5000 || off < -5000 {
		t.Errorf("%s is due %d ms off", field, off)
	}
}

func TestSetScheduled(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		one, two, three := head('1', in(time.Hour)), head('2', in(time.Hour)), head('3', in(time.Hour))
		payload, old := head('p', in(2*time.Hour)), head('o', in(2*time.Hour))
		for name, tc := range map[string]struct {
			there string        // the value, for a minute
			was   time.Duration // of the event that is there; 0: none
			etag  string
			ttl   int
			want  int64
			value string
			keeps bool // the TTL that ran
			holds map[string]string
		}{
			"the first":                     {ttl: 5000, want: 1, value: two, holds: map[string]string{scheduledID: payload}},
			"another, its end ahead":        {there: one, was: time.Minute, ttl: 5000, want: 1, value: two, holds: map[string]string{scheduledID: payload}},
			"another, its end passed":       {was: -time.Second, ttl: 5000, want: 1, value: two, holds: map[string]string{scheduledID: payload, owed(scheduledID, 'o'): old}},
			"without a TTL":                 {there: one, was: time.Minute, ttl: 0, want: 1, value: two, holds: map[string]string{}},
			"without a TTL, its end passed": {was: -time.Second, ttl: 0, want: 1, value: two, holds: map[string]string{owed(scheduledID, 'o'): old}},
			"the one that was read":         {there: one, was: time.Minute, etag: one[:60], ttl: 5000, want: 1, value: two, holds: map[string]string{scheduledID: payload}},
			"and the TTL kept":              {there: one, was: time.Minute, etag: one[:60], ttl: 0, want: 1, value: two, keeps: true, holds: map[string]string{scheduledID: old}},
			"asked again":                   {there: two, was: time.Minute, etag: one[:60], ttl: 5000, want: 2, value: two, keeps: true, holds: map[string]string{scheduledID: old}},
			"another one":                   {there: three, was: time.Minute, etag: one[:60], ttl: 5000, want: 0, value: three, keeps: true, holds: map[string]string{scheduledID: old}},
			"nothing there":                 {etag: one[:60], ttl: 5000, want: -1, holds: map[string]string{}},
		} {
			t.Run(name, func(t *testing.T) {
				clearShard(t, rdb)
				if tc.there != "" {
					rdb.Set(t.Context(), scheduled, tc.there, time.Minute)
				}
				if tc.was != 0 {
					plant(t, rdb, scheduledID, tc.was, old)
				}
				if got := ask(t, rdb, lua.SetScheduled, setKeys, two, tc.ttl, scheduledID, payload, wakeKey, tc.etag); got != tc.want {
					t.Errorf("%v, want %d", got, tc.want)
				}
				if value := rdb.Get(t.Context(), scheduled).Val(); value != tc.value {
					t.Errorf("the value is %.10q", value)
				}
				ttl := rdb.PTTL(t.Context(), scheduled).Val()
				if tc.keeps != (ttl > 5*time.Second) && tc.value != "" {
					t.Errorf("the TTL is %s", ttl)
				}
				holds(t, rdb, tc.holds)
				if tc.holds[scheduledID] == payload {
					soon(t, rdb, scheduledID, time.Duration(tc.ttl)*time.Millisecond)
				}
			})
		}
	})
}

// TestOwedOnce sends a write twice, as after a lost reply, the first time long
// enough ago for its own end to have passed.
func TestOwedOnce(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		clearShard(t, rdb)
		payload := head('p', in(time.Hour))
		for range 3 {
			plant(t, rdb, scheduledID, -time.Second, payload)
			ask(t, rdb, lua.SetScheduled, setKeys, head('1', in(time.Hour)), 1, scheduledID, payload, wakeKey, "")
		}
		holds(t, rdb, map[string]string{scheduledID: payload, owed(scheduledID, 'p'): payload})
	})
}

func TestDeleteScheduled(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		payload := head('p', in(time.Hour))
		for name, tc := range map[string]struct {
			there bool
			was   time.Duration
			left  map[string]string
		}{
			"its end ahead":      {true, time.Minute, map[string]string{}},
			"its end passed":     {true, -time.Second, map[string]string{scheduledID: payload}},
			"gone, end passed":   {false, -time.Second, map[string]string{scheduledID: payload}},
			"never scheduled":    {true, 0, map[string]string{}},
			"nothing there":      {false, 0, map[string]string{}},
			"deadline left over": {false, time.Minute, map[string]string{}},
		} {
			t.Run(name, func(t *testing.T) {
				clearShard(t, rdb)
				want := int64(0)
				if tc.there {
					rdb.Set(t.Context(), scheduled, "x", time.Minute)
					want = 1
				}
				if tc.was != 0 {
					plant(t, rdb, scheduledID, tc.was, payload)
				}
				for _, want := range []int64{want, 0} {
					if got := ask(t, rdb, lua.DeleteScheduled, setKeys, scheduledID); got != want {
						t.Errorf("%v, want %d", got, want)
					}
				}
				holds(t, rdb, tc.left)
			})
		}
	})
}

func TestTouchScheduled(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		const hour, minute = 3_600_000, 60_000
		payload, old := head('p', in(2*time.Hour)), head('o', in(2*time.Hour))
		for name, tc := range map[string]struct {
			expires     time.Duration // 0: none
			runs        time.Duration // the TTL that runs; 0: none
			ttl         int
			shorten     int
			end         int64 // -1: the record's
			etag        string
			least, most int64
			writes      bool
		}{
			"extends":                          {expires: time.Hour, runs: time.Minute, ttl: 600_000, least: 600_000, most: 600_000, writes: true},
			"sealed for another end":           {expires: time.Hour, runs: time.Minute, ttl: 2 * hour, least: -4, most: -4},
			"sealed for a wrong end":           {expires: time.Hour, runs: time.Minute, ttl: 2 * hour, end: 1234, least: -4, most: -4},
			"to its end at most":               {expires: time.Hour, runs: time.Minute, ttl: 2 * hour, end: -1, least: hour - 5000, most: hour, writes: true},
			"its end known and not in the way": {expires: time.Hour, runs: time.Minute, ttl: 600_000, end: -1, least: 600_000, most: 600_000, writes: true},
			"never shortens":                   {expires: time.Hour, runs: time.Minute, ttl: 1000, least: minute - 5000, most: minute},
			"unless asked":                     {expires: time.Hour, runs: time.Minute, ttl: 1000, shorten: 1, least: 1000, most: 1000, writes: true},
			"no TTL, but an end":               {expires: time.Hour, ttl: 2 * hour, end: -1, least: hour - 5000, most: hour, writes: true},
			"no end":                           {runs: time.Minute, ttl: 2 * hour, least: 2 * hour, most: 2 * hour, writes: true},
			"no end and no TTL":                {ttl: minute, least: -1, most: -1},
			"no end and no TTL, and shorter":   {ttl: minute, shorten: 1, least: minute, most: minute, writes: true},
			"past its end":                     {expires: -time.Second, runs: time.Minute, ttl: minute, least: -2, most: -2},
			"the payload that was read":        {expires: time.Hour, runs: time.Minute, ttl: 600_000, etag: old[:60], least: 600_000, most: 600_000, writes: true},
			"another payload":                  {expires: time.Hour, runs: time.Minute, ttl: 600_000, etag: head('q', in(time.Hour))[:60], least: -5, most: -5},
		} {
			t.Run(name, func(t *testing.T) {
				clearShard(t, rdb)
				expires := int64(0)
				if tc.expires != 0 {
					expires = in(tc.expires)
				}
				end := tc.end
				if end < 0 {
					end = expires
				}
				rdb.Set(t.Context(), scheduled, head('1', expires), tc.runs)
				plant(t, rdb, scheduledID, time.Minute, old)
				reply := ask(t, rdb, lua.TouchScheduled, setKeys, tc.ttl, tc.shorten, scheduledID, payload, end, tc.etag, wakeKey).([]any)
				got := reply[0].(int64)
				if got < tc.least || got > tc.most || reply[1] != expires {
					t.Errorf("%v, want %d to %d, and %d", reply, tc.least, tc.most, expires)
				}
				if !tc.writes {
					holds(t, rdb, map[string]string{scheduledID: old})
					soon(t, rdb, scheduledID, time.Minute)
					return
				}
				holds(t, rdb, map[string]string{scheduledID: payload})
				soon(t, rdb, scheduledID, time.Duration(got)*time.Millisecond)
				if ttl := rdb.PTTL(t.Context(), scheduled).Val().Milliseconds(); ttl > got || ttl < got-5000 {
					t.Errorf("answered %d, the TTL is %d", got, ttl)
				}
				// As after a lost reply.
				reply = ask(t, rdb, lua.TouchScheduled, setKeys, tc.ttl, tc.shorten, scheduledID, payload, end, tc.etag, wakeKey).([]any)
				if again := reply[0].(int64); again > got || again < got-5000 {
					t.Errorf("asked again: %d, before %d", again, got)
				}
				holds(t, rdb, map[string]string{scheduledID: payload})
			})
		}
		rdb.Set(t.Context(), scheduled, "plaintext of somebody", time.Minute)
		if got := ask(t, rdb, lua.TouchScheduled, setKeys, 1, 0, scheduledID, payload, 0, "", wakeKey).([]any); got[0] != int64(-3) {
			t.Errorf("no record: %v", got)
		}
		rdb.Del(t.Context(), scheduled)
		if got := ask(t, rdb, lua.TouchScheduled, setKeys, 1, 0, scheduledID, payload, 0, "", wakeKey).([]any); got[0] != int64(-2) {
			t.Errorf("nothing there: %v", got)
		}
	})
}
