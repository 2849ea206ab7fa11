package lua_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

// echo answers with what it was called with, or with what its first argument
// names.
var echo = lua.New("echo", `
if ARGV[1] == 'nothing' then return nil end
if ARGV[1] == 'fail' then return redis.error_reply('ERR as told') end
local all = {}
for _, k in ipairs(KEYS) do all[#all + 1] = k end
for _, a in ipairs(ARGV) do all[#all + 1] = a end
return all`, lua.Repeatable)

// TestManyCallsAtOnce has goroutines make calls one after the other with words
// that others have used for other keys, arguments and outcomes.
func TestManyCallsAtOnce(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		r := lua.NewRunner(rdb, nil)
		var group sync.WaitGroup
		for worker := range 8 {
			group.Go(func() {
				for i := range 60 {
					keys, args, want := words(worker, i)
					reply, err := r.Run(t.Context(), echo, keys, args...)
					if got, _ := reply.Value.([]any); err != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("%v, %v; want %v", reply.Value, err, want)
					}
					if reply, err := r.Run(t.Context(), echo, keys, "nothing"); reply.Value != nil || err != nil {
						t.Errorf("%v, %v", reply.Value, err)
					}
					if reply, err := r.Run(t.Context(), echo, keys, "fail"); reply.Value != nil || err == nil || !strings.Contains(err.Error(), "as told") {
						t.Errorf("%v, %v", reply.Value, err)
					}
					gone, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
					reply, err = r.Run(gone, echo, keys, args...)
					cancel()
					if got, _ := reply.Value.([]any); err == nil && !reflect.DeepEqual(got, want) {
						t.Errorf("%v, want %v", reply.Value, want)
					}
				}
			})
		}
		group.Wait()
	})
}

// words are up to 2 keys and 24 arguments, and what echo makes of them.
func words(worker, i int) (keys []string, args, want []any) {
	for n := range i % 3 {
		keys = append(keys, fmt.Sprintf("sc:test:v:{%d}%d.%d", worker, i, n))
		want = append(want, keys[n])
	}
	for n := range 1 + i%24 {
		arg := fmt.Sprintf("%d, %d, %d", worker, i, n)
		args, want = append(args, arg), append(want, arg)
	}
	return keys, args, want
}

// TestHooksMayChangeCalls has a hook put another key and argument in the place
// of each, for some calls and then no more.
func TestHooksMayChangeCalls(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		on := true
		rdb.AddHook(changing(func(words []any) {
			if on && words[0] == "evalsha" {
				words[3], words[4] = key+"theirs", "their argument"
			}
		}))
		r := lua.NewRunner(rdb, nil)
		for i := range 20 {
			on = i < 10
			want := []any{key, "argument"}
			if on {
				want = []any{key + "theirs", "their argument"}
			}
			reply, err := r.Run(t.Context(), echo, []string{key}, "argument")
			if err != nil || !reflect.DeepEqual(reply.Value, want) {
				t.Fatalf("%v, %v; want %v", reply.Value, err, want)
			}
		}
	})
}

// changing is called with the words of every command that goes alone.
type changing func(words []any)

func (changing) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c changing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c(cmd.Args())
		return next(ctx, cmd)
	}
}

func (changing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
