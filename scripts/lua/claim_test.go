package lua_test

import (
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

// claimed is what a claim answered.
type claimed struct {
	next, due, late, lost, buried int64
	fields                        []string
	payloads                      []string
	tries                         []int64
}

func claim(t *testing.T, rdb redis.UniversalClient, visibility, most, limit int) (c claimed) {
	t.Helper()
	reply := ask(t, rdb, lua.Claim, claimKeys, visibility, most, limit).([]any)
	for i, field := range []*int64{&c.next, &c.due, &c.late, &c.lost, &c.buried} {
		*field = reply[i].(int64)
	}
	for rest := reply[5:]; len(rest) > 0; rest = rest[3:] {
		c.fields = append(c.fields, rest[0].(string))
		c.payloads = append(c.payloads, rest[1].(string))
		c.tries = append(c.tries, rest[2].(int64))
	}
	return c
}

func TestClaim(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		clearShard(t, rdb)
		if c := claim(t, rdb, 1000, 2, 10); !reflect.DeepEqual(c, claimed{next: -1}) {
			t.Errorf("nothing scheduled: %+v", c)
		}
		payload, second := head('p', in(time.Hour)), head('q', in(time.Hour))
		plant(t, rdb, "{0b}c", time.Hour, payload)
		if c := claim(t, rdb, 1000, 2, 10); c.next < 3_595_000 || c.next > 3_600_001 || c.fields != nil {
			t.Errorf("nothing due: %+v", c)
		}
		plant(t, rdb, "{0b}a", -2*time.Second, payload)
		plant(t, rdb, "{0b}b", -time.Second, second)
		c := claim(t, rdb, 60_000, 2, 1)
		if c.next != 0 || c.due != 1 || c.late < 2000 || !reflect.DeepEqual(c.fields, []string{owed("{0b}a", 'p')}) || c.payloads[0] != payload || c.tries[0] != 1 {
			t.Errorf("the first of two: %+v", c)
		}
		c = claim(t, rdb, 60_000, 2, 10)
		if c.due != 0 || c.next < 55_000 || c.next > 60_001 || !reflect.DeepEqual(c.fields, []string{owed("{0b}b", 'q')}) {
			t.Errorf("the other: %+v", c)
		}
		soon(t, rdb, owed("{0b}b", 'q'), time.Minute)
		holds(t, rdb, map[string]string{owed("{0b}a", 'p'): payload, owed("{0b}b", 'q'): second, "{0b}c": payload})

		// The first comes back once, and then it has been claimed too often.
		again := owed("{0b}a", 'p')
		for try := 2; try <= 3; try++ {
			rdb.ZAdd(ctx, dueKey, redis.Z{Score: float64(in(-time.Second)), Member: again})
			c = claim(t, rdb, 60_000, 2, 10)
			if try == 2 && (len(c.fields) != 1 || c.fields[0] != again || c.tries[0] != 2) || try == 3 && (c.fields != nil || c.buried != 1) {
				t.Errorf("claim %d: %+v", try, c)
			}
		}
		if rdb.HGet(ctx, deadKey, again).Val() != payload || rdb.HGet(ctx, triesKey, again).Val() != "" || rdb.ZScore(ctx, dueKey, again).Val() != 0 || rdb.HGet(ctx, eventKey, again).Val() != "" {
			t.Error("a dead letter is in another place than among the dead letters, or not there")
		}
		if ttl := rdb.PTTL(ctx, deadKey).Val(); ttl < 55*time.Minute || ttl > time.Hour {
			t.Errorf("the dead letters are kept for %s", ttl)
		}

		plant(t, rdb, "{0b}d", -time.Second, "")
		rdb.HSet(ctx, triesKey, "{0b}d", 1)
		if c := claim(t, rdb, 60_000, 2, 10); c.lost != 1 || c.fields != nil || rdb.HLen(ctx, triesKey).Val() != 1 {
			t.Errorf("a payload that is gone: %+v", c)
		}
	})
}

// TestLettersEnd buries letters one after another: those past their end make
// room.
func TestLettersEnd(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		clearShard(t, rdb)
		const many = 200
		for i := range many {
			rdb.HSet(ctx, deadKey, "{0b}old:"+strconv.Itoa(i), head('p', in(-time.Second)))
		}
		for i := range many {
			plant(t, rdb, "{0b}new:"+strconv.Itoa(i), -time.Second, head('p', in(time.Hour)))
		}
		for c := (claimed{next: 0}); c.next == 0; {
			c = claim(t, rdb, 1000, 0, 50)
		}
		if left := rdb.HLen(ctx, deadKey).Val(); left < many || left > many+many/2 {
			t.Errorf("%d letters of which %d are past their end", left, left-many)
		}
	})
}

func TestAckAndUnclaim(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		clearShard(t, rdb)
		plant(t, rdb, "{0b}a", -time.Second, head('a', in(time.Hour)))
		second, third := head('b', in(time.Hour)), head('c', in(time.Hour))
		plant(t, rdb, "{0b}b", -time.Second, second)
		claim(t, rdb, 60_000, 9, 10)
		plant(t, rdb, "{0b}a", time.Hour, third) // scheduled anew meanwhile
		a, b := owed("{0b}a", 'a'), owed("{0b}b", 'b')
		for _, want := range []int64{1, 0} {
			if got := ask(t, rdb, lua.Ack, claimKeys, a, "{0b}nobody"); got != want {
				t.Errorf("acknowledged: %v, want %d", got, want)
			}
		}
		holds(t, rdb, map[string]string{"{0b}a": third, b: second})

		rdb.HSet(ctx, deadKey, "{0b}late:00", second, "{0b}never:00", second)
		ask(t, rdb, lua.Ack, claimKeys, "{0b}late:00")
		if dead := rdb.HLen(ctx, deadKey).Val(); dead != 1 {
			t.Errorf("%d dead letters, one of which was dealt with", dead)
		}

		unclaim := func(args ...any) any {
			t.Helper()
			return ask(t, rdb, lua.Unclaim, []string{dueKey, triesKey}, append([]any{wakeKey}, args...)...)
		}
		if got := unclaim(b, 2, a, 1); got != int64(0) {
			t.Errorf("another claim than the latest, and one that is done: %v", got)
		}
		soon(t, rdb, b, time.Minute)
		for _, want := range []int64{1, 0} {
			if got := unclaim(b, 1); got != want {
				t.Errorf("given back: %v, want %d", got, want)
			}
		}
		if n := rdb.HLen(ctx, triesKey).Val(); n != 0 {
			t.Errorf("%d are still counted", n)
		}
		claim(t, rdb, 1, 9, 10)
		rdb.ZAdd(ctx, dueKey, redis.Z{Score: float64(in(-time.Second)), Member: b})
		if c := claim(t, rdb, 60_000, 9, 10); !reflect.DeepEqual(c.tries, []int64{2}) {
			t.Errorf("%+v", c)
		}
		unclaim(b, 2)
		if c := claim(t, rdb, 60_000, 9, 10); !reflect.DeepEqual(c.tries, []int64{2}) {
			t.Errorf("the second claim was given back, and is the second again: %+v", c)
		}
	})
}

func TestLetters(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		clearShard(t, rdb)
		payload := head('p', in(time.Hour))
		rdb.HSet(ctx, deadKey, "{0b}a:00", payload, "{0b}b:00", payload, "{0b}c:00", payload)
		page := ask(t, rdb, lua.DeadLetters, []string{deadKey}, "0", 100).([]any)
		if list := page[1].([]any); page[0] != "0" || len(list) != 6 || list[1] != payload {
			t.Errorf("%v", page)
		}
		for _, want := range []int64{2, 0} {
			if got := ask(t, rdb, lua.Requeue, []string{dueKey, eventKey, deadKey}, wakeKey, "{0b}a:00", "{0b}b:00", "{0b}nobody:00"); got != want {
				t.Errorf("requeued %v, want %d", got, want)
			}
		}
		holds(t, rdb, map[string]string{"{0b}a:00": payload, "{0b}b:00": payload})
		if c := claim(t, rdb, 60_000, 9, 1); len(c.fields) != 1 || c.tries[0] != 1 {
			t.Errorf("%+v", c)
		}
		depth := ask(t, rdb, lua.ScheduleDepth, []string{dueKey, triesKey, deadKey}).([]any)
		if late := depth[4].(int64); !reflect.DeepEqual(depth[:4], []any{int64(2), int64(1), int64(1), int64(1)}) || late < 1 || late > 5000 {
			t.Errorf("depth %v", depth)
		}
		for _, want := range []int64{1, 0} {
			if got := ask(t, rdb, lua.DropLetters, []string{deadKey}, "{0b}c:00", "{0b}a:00"); got != want {
				t.Errorf("dropped %v, want %d", got, want)
			}
		}
		if n := rdb.Exists(ctx, deadKey).Val(); n != 0 {
			t.Error("there are dead letters left")
		}
	})
}

// TestClaimsAreOfOneEach has many callers claim at once.
func TestClaimsAreOfOneEach(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		clearShard(t, rdb)
		const many, callers = 300, 16
		for i := range many {
			plant(t, rdb, fmt.Sprintf("{0b}%d", i), -time.Second, head('p', in(time.Hour)))
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		seen := map[string]int{}
		for range callers {
			wg.Go(func() {
				for {
					reply, err := lua.NewRunner(rdb, nil).Run(t.Context(), lua.Claim, claimKeys, 60_000, 9, 7)
					if err != nil {
						t.Error(err)
						return
					}
					rest := reply.Value.([]any)[5:]
					if len(rest) == 0 {
						return
					}
					mu.Lock()
					for ; len(rest) > 0; rest = rest[3:] {
						seen[rest[0].(string)]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != many {
			t.Errorf("%d of %d were claimed", len(seen), many)
		}
		for field, n := range seen {
			if n != 1 {
				t.Errorf("%s was claimed %d times", field, n)
			}
		}
	})
}
