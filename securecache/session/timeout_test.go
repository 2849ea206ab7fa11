package session_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache/session"
)

const (
	idle     = 30 * time.Minute
	absolute = 24 * time.Hour
)

// TestADay uses a session all day: it lives as long as it is used, and until its
// absolute end.
func TestADay(t *testing.T) {
	b := onMini(t)
	s := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
	began := b.clock.Now()
	token := create(t, s, "alice", "one")
	steps := []time.Duration{20 * time.Minute, time.Second, 26 * time.Minute, 4 * time.Minute, time.Minute}
	for i := 0; ; i++ {
		step := steps[i%len(steps)]
		if b.clock.Now().Add(step).Sub(began) >= absolute {
			break
		}
		b.pass(step)
		got := holds(t, s, token, "one")
		if i%10 == 0 {
			ok(t, s.Update(t.Context(), got))
		}
	}
	b.pass(absolute - b.clock.Now().Sub(began) - time.Millisecond)
	holds(t, s, token, "one")
	listed(t, s, "alice", "one")
	b.pass(time.Millisecond)
	gone(t, s, token)
	listed(t, s, "alice", "")
	if left := b.names(t, codec.KindSession); len(left) != 0 {
		t.Errorf("the server still holds %d", len(left))
	}
}

// TestIdle leaves a session alone at several ages.
func TestIdle(t *testing.T) {
	for name, uses := range map[string][]time.Duration{
		"never used":              nil,
		"used at once":            {0},
		"used late":               {29 * time.Minute},
		"used past the re-seal":   {20 * time.Minute, 20 * time.Minute, 20 * time.Minute},
		"used before its end":     {idle - time.Minute, idle - time.Minute, idle - time.Minute, idle - time.Minute},
		"used again and again":    {time.Minute, time.Minute, time.Minute, time.Minute, time.Minute, time.Minute},
		"used just past a window": {idle - time.Minute, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onMini(t)
			s := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
			token := create(t, s, "", "one")
			for _, d := range uses {
				b.pass(d)
				holds(t, s, token, "one")
			}
			b.pass(idle - idle/10) // a tenth is what a touch may have been left out for
			holds(t, s, token, "one")
			b.pass(idle)
			gone(t, s, token)
		})
	}
}

// TestKeptAlive has the server keep a session: its idle end comes at most one
// window late, and its absolute end on time.
func TestKeptAlive(t *testing.T) {
	for name, keep := range map[string]func(t *testing.T, b *bed){
		"PERSIST": func(t *testing.T, b *bed) {
			ok(t, b.admin.Persist(t.Context(), b.only(t, codec.KindSession)).Err())
		},
		"a longer TTL": func(t *testing.T, b *bed) {
			ok(t, b.admin.Expire(t.Context(), b.only(t, codec.KindSession), 1000*time.Hour).Err())
		},
		"a stopped clock": func(*testing.T, *bed) {}, // the server's, below
		"RESTORE": func(t *testing.T, b *bed) {
			name := b.only(t, codec.KindSession)
			was := b.admin.Get(t.Context(), name).Val()
			ok(t, b.admin.Del(t.Context(), name).Err())
			ok(t, b.admin.Set(t.Context(), name, was, 0).Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onServer(t).withClock(t) // whose clock stands still, compared with ours
			o := &session.Options{Idle: idle, Absolute: absolute}
			s := b.store(t, o)
			for _, used := range []time.Duration{0, idle / 2, idle - time.Minute} {
				ok(t, b.admin.FlushDB(t.Context()).Err())
				token := create(t, s, "alice", "one")
				b.pass(used)
				holds(t, s, token, "one")
				keep(t, b)
				b.pass(2*idle - time.Millisecond - used)
				listed(t, s, "alice", "one") // which is no use
				b.pass(used + time.Millisecond)
				gone(t, s, token)
				listed(t, s, "alice", "")
			}
			ok(t, b.admin.FlushDB(t.Context()).Err())
			began := b.clock.Now()
			token := create(t, s, "alice", "one")
			for b.clock.Now().Sub(began) < absolute-idle {
				b.pass(idle / 2)
				holds(t, s, token, "one")
				keep(t, b)
			}
			b.pass(absolute - b.clock.Now().Sub(began) - time.Millisecond)
			listed(t, s, "alice", "one") // a use would give it the TTL of a millisecond that is left
			b.pass(time.Millisecond)
			gone(t, s, token)
			if len(b.names(t, codec.KindSession)) != 1 {
				t.Error("the server has not kept it")
			}
		})
	}
}

// TestShorterTimeouts has an option changed while sessions are alive.
func TestShorterTimeouts(t *testing.T) {
	b := onMini(t)
	before := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
	token := create(t, before, "alice", "one")
	after := b.store(t, &session.Options{Idle: 10 * time.Minute, Absolute: time.Hour})
	if got := holds(t, after, token, "one"); got.Ends() != got.Created().Add(time.Hour) {
		t.Errorf("it ends %v after it was created", got.Ends().Sub(got.Created()))
	}
	if ttl := b.admin.PTTL(t.Context(), b.only(t, codec.KindSession)).Val(); ttl != 10*time.Minute {
		t.Errorf("the server keeps it for %v", ttl)
	}
	for range 6 {
		b.pass(9*time.Minute + 59*time.Second)
		holds(t, after, token, "one")
	}
	b.pass(10 * time.Second)
	gone(t, after, token)
	longer := b.store(t, &session.Options{Idle: 48 * time.Hour, Absolute: 48 * time.Hour})
	token = create(t, before, "alice", "two")
	if got := holds(t, longer, token, "two"); got.Ends() != got.Created().Add(absolute) {
		t.Errorf("it ends %v after it was created", got.Ends().Sub(got.Created()))
	}
}

// commands counts what a client sends, by name.
type commands struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.mu.Lock()
		c.n[strings.ToLower(cmd.Name())]++
		c.mu.Unlock()
		return next(ctx, cmd)
	}
}

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *commands) take() (gets, scripts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gets, scripts = c.n["get"], c.n["evalsha"]
	c.n = make(map[string]int)
	return gets, scripts
}

// TestHotPath counts commands: reading a session is a plain GET, but for one
// touch in a tenth of the idle window.
func TestHotPath(t *testing.T) {
	b := onMini(t)
	count := &commands{n: make(map[string]int)}
	b.rdb.(*redis.Client).AddHook(count)
	s := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
	token := create(t, s, "alice", "one")
	_, _ = count.take()
	for range 100 {
		holds(t, s, token, "one")
	}
	if gets, scripts := count.take(); gets != 100 || scripts != 0 {
		t.Errorf("%d GETs, %d scripts, want 100 and 0: it was written just now", gets, scripts)
	}
	for range 10 { // half a window, in which no record has to be sealed anew
		b.pass(idle / 20)
		for range 10 {
			holds(t, s, token, "one")
		}
	}
	if gets, scripts := count.take(); gets != 100 || scripts != 5 {
		t.Errorf("%d GETs, %d scripts, want 100 and 5", gets, scripts)
	}
	other := b.store(t, &session.Options{Idle: idle, Absolute: absolute}) // as another process would be
	holds(t, other, token, "one")
	holds(t, other, token, "one")
	if gets, scripts := count.take(); gets != 2 || scripts != 1 {
		t.Errorf("%d GETs, %d scripts, want 2 and 1", gets, scripts)
	}
	b.clock.Advance(-time.Hour) // a clock set back
	holds(t, s, token, "one")
	if _, scripts := count.take(); scripts != 1 {
		t.Errorf("%d scripts, want 1", scripts)
	}
}

// TestReSeal holds a read to sealing the record anew once less than a window of
// it is left, up to the absolute end.
func TestReSeal(t *testing.T) {
	b := onMini(t)
	s := b.store(t, &session.Options{Idle: idle, Absolute: 100 * time.Minute})
	token := create(t, s, "alice", "one")
	began := b.clock.Now()
	expires := func() time.Duration {
		header, err := codec.ParseHeader([]byte(b.admin.Get(t.Context(), b.only(t, codec.KindSession)).Val()))
		ok(t, err)
		return header.Expires.Sub(began)
	}
	for _, step := range []struct{ at, want time.Duration }{
		{0, 60 * time.Minute}, {25 * time.Minute, 60 * time.Minute}, {30 * time.Minute, 60 * time.Minute}, {34 * time.Minute, 94 * time.Minute},
		{60 * time.Minute, 94 * time.Minute}, {64*time.Minute + time.Second, 100 * time.Minute}, {75 * time.Minute, 100 * time.Minute}, {99 * time.Minute, 100 * time.Minute},
	} {
		b.pass(step.at - b.clock.Now().Sub(began))
		got := holds(t, s, token, "one")
		if has := expires(); has != step.want {
			t.Errorf("at %v the record ends at %v, want %v", step.at, has, step.want)
		}
		if got.Created().Sub(began).Abs() > time.Millisecond || got.Ends().Sub(began) != 100*time.Minute {
			t.Errorf("created at %v, ends at %v", got.Created().Sub(began), got.Ends().Sub(began))
		}
		if step.at == 34*time.Minute {
			ok(t, s.Update(t.Context(), got)) // which is the one that the read has sealed
		}
	}
}

// TestDestroyedWhileRenewed has a session go between a read and its renewal.
func TestDestroyedWhileRenewed(t *testing.T) {
	for name, at := range map[string]time.Duration{"touch": idle / 2, "re-seal": idle + time.Minute} {
		t.Run(name, func(t *testing.T) {
			b := onServer(t).withClock(t)
			s := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
			token := create(t, s, "alice", "one")
			b.pass(at)
			b.rdb.(*redis.Client).AddHook(before{"evalsha", func() { ok(t, b.admin.FlushDB(t.Context()).Err()) }})
			gone(t, s, token)
		})
	}
}

// before does something before each command of a name.
type before struct {
	name string
	do   func()
}

func (b before) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.EqualFold(cmd.Name(), b.name) {
			b.do()
		}
		return next(ctx, cmd)
	}
}

func (b before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestRenewalThatFails has a read succeed and its renewal not: the session is
// served, and the failure is told.
func TestRenewalThatFails(t *testing.T) {
	b := onServer(t)
	servertest.Real(t, b.env.Server)
	b = b.withClock(t)
	var mu sync.Mutex
	var told []error
	o := &session.Options{Idle: idle, Absolute: absolute, OnError: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err)
	}}
	s := b.store(t, o)
	token := create(t, s, "alice", "one")
	user := b.rdb.(*redis.Client).Options().Username
	ok(t, b.admin.Do(t.Context(), "acl", "setuser", user, "-pexpire", "-set").Err())
	for _, step := range []time.Duration{idle / 2, idle} {
		b.pass(step)
		holds(t, s, token, "one")
	}
	if len(told) != 2 {
		t.Errorf("told were %v", told)
	}
	for _, err := range told {
		if strings.Contains(err.Error(), token) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
	silent := b.store(t, &session.Options{Idle: idle, Absolute: absolute})
	holds(t, silent, token, "one")
	if err := s.Update(t.Context(), holds(t, s, token, "one")); err == nil {
		t.Error("an update was said to be stored")
	}
}
