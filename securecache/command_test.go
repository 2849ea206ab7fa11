package securecache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
)

// TestManyAtOnce has goroutines use commands one after the other that others
// have used for other names, sizes, TTLs and outcomes.
func TestManyAtOnce(t *testing.T) {
	rounds := 25
	if servertest.Long() {
		rounds = 100
	}
	faces(t, func(t *testing.T, o securecache.Options) {
		o.Codec.Compression = codec.CompressionNone
		env, c := start(t, &o)
		ctx := t.Context()
		odd, err := c.Key(codec.KindValue, "a list")
		ok(t, err)
		ok(t, env.Admin.LPush(ctx, odd.String(), "x").Err())
		var group sync.WaitGroup
		for worker := range 16 {
			group.Go(func() {
				name := fmt.Sprint("name ", worker)
				for i := range rounds {
					value := bytes.Repeat([]byte{byte(worker), byte(i)}, 1+worker*i*8)
					ttl := time.Minute + time.Duration(worker*100+i)*time.Second
					if err := c.Set(ctx, name, value, ttl); err != nil {
						t.Errorf("Set: %v", err)
					}
					if got, err := c.Get(ctx, name); err != nil || !bytes.Equal(got, value) {
						t.Errorf("Get: %d bytes for %d, %v", len(got), len(value), err)
					}
					if left, err := c.TTL(ctx, name); err != nil || left > ttl || left < ttl-20*time.Second {
						t.Errorf("TTL: %v for %v, %v", left, ttl, err)
					}
					if got, err := c.Get(ctx, name+" not"); got != nil || !errors.Is(err, securecache.ErrMiss) {
						t.Errorf("a miss: %d bytes, %v", len(got), err)
					}
					gone, cancel := context.WithTimeout(ctx, time.Duration(i)*20*time.Microsecond)
					_, _ = c.Get(gone, name)
					_ = c.GetMany(gone, []string{name + " not", name})
					_ = c.Set(gone, name+" late", value, ttl)
					cancel()
					all := c.GetMany(ctx, []string{name + " not", name, "a list", name, name + " not"})
					for n, want := range []error{securecache.ErrMiss, nil, all[2].Err, nil, securecache.ErrMiss} {
						if r := all[n]; r.Err != want || want == nil && !bytes.Equal(r.Value, value) || want != nil && r.Value != nil {
							t.Errorf("GetMany, %d: %d bytes for %d, %v", n, len(r.Value), len(value), r.Err)
						}
					}
					if err := all[2].Err; err == nil || errors.Is(err, securecache.ErrMiss) {
						t.Errorf("GetMany, another type: %v", err)
					}
					if got, err := c.Get(ctx, "a list"); got != nil || err == nil || errors.Is(err, securecache.ErrMiss) {
						t.Errorf("another type: %d bytes, %v", len(got), err)
					}
				}
			})
		}
		group.Wait()
	})
}

// TestHooksMayChangeArguments has a hook put another key in the place of each, for
// some commands, alone and in a pipeline, and then no more.
func TestHooksMayChangeArguments(t *testing.T) {
	env, c := start(t, nil)
	on := true
	env.Client.AddHook(hook(func(cmd redis.Cmder) {
		if args := cmd.Args(); on && len(args) > 1 {
			args[1] = keyOf(t, c, "elsewhere")
		}
	}))
	ctx := t.Context()
	for range 10 {
		set(t, c, "elsewhere", "theirs", time.Minute)
		value, err := c.Get(ctx, "elsewhere")
		if string(value) != "theirs" || err != nil {
			t.Fatalf("%q, %v", value, err)
		}
		for _, r := range c.GetMany(ctx, []string{"elsewhere", "elsewhere"}) {
			if string(r.Value) != "theirs" || r.Err != nil {
				t.Fatalf("%q, %v", r.Value, r.Err)
			}
		}
	}
	on = false
	for i := range 10 {
		name := fmt.Sprint("name ", i)
		set(t, c, name, name, time.Minute)
		if value, err := c.Get(ctx, name); string(value) != name || err != nil {
			t.Fatalf("%s: %q, %v", name, value, err)
		}
		if all := c.GetMany(ctx, []string{"not there", name}); all[0].Err != securecache.ErrMiss || string(all[1].Value) != name {
			t.Fatalf("%s: %v, %q, %v", name, all[0].Err, all[1].Value, all[1].Err)
		}
	}
}

// TestFoundBySecondTry has each GET of a pipeline find nothing, as a try may that
// is cut off before the last reply, and then go on.
func TestFoundBySecondTry(t *testing.T) {
	env, c := start(t, nil)
	env.Client.AddHook(hook(func(cmd redis.Cmder) { cmd.SetErr(redis.Nil) }))
	set(t, c, "a", "value", time.Minute)
	for range 3 {
		all := c.GetMany(t.Context(), []string{"a", "not there", "a"})
		if string(all[0].Value) != "value" || all[1].Err != securecache.ErrMiss || string(all[2].Value) != "value" {
			t.Errorf("%+v", all)
		}
	}
}

// hook is called before every command.
type hook func(redis.Cmder)

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h(cmd)
		return next(ctx, cmd)
	}
}

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			h(cmd)
		}
		return next(ctx, cmds)
	}
}

// TestHooksSeeNoNames logs commands as a tracing hook would.
func TestHooksSeeNoNames(t *testing.T) {
	env, c := start(t, nil)
	var seen []string
	env.Client.AddHook(hook(func(cmd redis.Cmder) { seen = append(seen, cmd.String()) }))
	ctx := t.Context()
	set(t, c, "patient 4711", "diagnosis", time.Minute)
	_, err := c.Get(ctx, "patient 4711")
	ok(t, err)
	_, err = c.Item(ctx, "patient 4711")
	ok(t, err)
	all := strings.Join(seen, "\n")
	for _, secret := range []string{"patient 4711", keyOf(t, c, "patient 4711"), "diagnosis", "SC\x01"} {
		if strings.Contains(all, secret) {
			t.Errorf("a hook sees %q in %q", secret, all)
		}
	}
	if len(seen) != 3 || !strings.Contains(all, "record of ") {
		t.Errorf("hooks saw %q", all)
	}
}
