package securecache_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// unanswered checks that no call takes the lack of an answer for a miss, a
// refusal or a success. The server holds a value under "a".
func unanswered(t *testing.T, env *securecachetest.Env, rdb *redis.Client, o securecache.Options, says string) {
	t.Helper()
	t.Cleanup(func() { _ = rdb.Close() })
	refused := new(refusals)
	o.OnRefused = refused.add
	c, err := securecache.New(rdb, env.Keyring, &o)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	ctx := t.Context()
	want := func(what string, err error) {
		t.Helper()
		if err == nil || errors.Is(err, securecache.ErrMiss) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = c.Get(ctx, "a")
	want("Get", err)
	_, err = c.Item(ctx, "a")
	want("Item", err)
	want("Set", c.Set(ctx, "b", nil, time.Minute))
	_, err = c.Delete(ctx, "a")
	want("Delete", err)
	_, err = c.Touch(ctx, "a", time.Minute)
	want("Touch", err)
	for _, r := range c.GetMany(ctx, []string{"a", "b"}) {
		want("GetMany", r.Err)
	}
	for _, err := range c.SetMany(ctx, []securecache.Entry{{Name: "b"}, {Name: "c"}}, time.Minute) {
		want("SetMany", err)
	}
	for _, r := range c.TouchMany(ctx, []string{"a", "b"}, time.Minute) {
		want("TouchMany", r.Err)
	}
	if all := refused.take(); len(all) != 0 {
		t.Errorf("%d records were refused, the first with %v", len(all), all[0].Err)
	}
	if s := c.Stats(); s.Hits+s.Misses+s.Refused+s.Sets != 0 {
		t.Errorf("%+v", s)
	}
}

// TestWrongPassword is of a client that the server lets in no more.
func TestWrongPassword(t *testing.T) {
	faces(t, func(t *testing.T, o securecache.Options) {
		env, c := start(t, nil)
		set(t, c, "a", "value", time.Minute)
		options := *env.Client.Options()
		options.Password = "another"
		unanswered(t, env, redis.NewClient(&options), o, "WRONGPASS")
	})
}

// TestNoServerToDial is of a failover client whose sentinels all answer that they
// know of no server: what go-redis says then wraps that reply of nothing.
func TestNoServerToDial(t *testing.T) {
	faces(t, func(t *testing.T, o securecache.Options) {
		env, c := start(t, nil)
		set(t, c, "a", "value", time.Minute)
		options := *env.Client.Options()
		options.DialerRetries = 1
		options.Dialer = func(context.Context, string, string) (net.Conn, error) {
			return nil, fmt.Errorf("the sentinels know of no server: %w", redis.Nil)
		}
		unanswered(t, env, redis.NewClient(&options), o, "the sentinels know of no server")
	})
}

// TestHookGivesUp is of a hook that lets nothing through, and says so for all of
// a pipeline and for none of its commands.
func TestHookGivesUp(t *testing.T) {
	env, c := start(t, nil)
	set(t, c, "a", "value", time.Minute)
	rdb := redis.NewClient(env.Client.Options())
	rdb.AddHook(breaker{})
	unanswered(t, env, rdb, securecache.Options{}, errOpen.Error())
}

var errOpen = errors.New("the breaker is open")

type breaker struct{}

func (breaker) DialHook(next redis.DialHook) redis.DialHook { return next }

func (breaker) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { return errOpen }
}

func (breaker) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return errOpen }
}
