package expiry_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
)

// place returns the parts of the schedule that a name belongs to, and its id.
func place(t testing.TB, c *securecache.Cache, name string) (base securecache.Key, id string) {
	t.Helper()
	key, err := c.Key(codec.KindValue, name)
	ok(t, err)
	id = key.Binding().ID
	for _, base := range c.Shards() {
		if strings.HasPrefix(id, base.Binding().ID) {
			return base, id
		}
	}
	t.Fatal("no shard")
	return base, id
}

// TestHostileSchedule has the server do what it may do with a schedule, and a
// writer leave events for too long.
func TestHostileSchedule(t *testing.T) {
	t.Parallel()
	env := start(t)
	ctx, rdb := t.Context(), env.Admin
	var mu sync.Mutex
	refused := map[codec.Reason]int{}
	early := 0
	c, err := securecache.New(env.Client, env.Keyring, &securecache.Options{OnRefused: func(r securecache.Refusal) {
		mu.Lock()
		defer mu.Unlock()
		refused[r.Err.Reason]++
	}})
	ok(t, err)
	defer c.Close()
	brief, err := securecache.New(env.Client, env.Keyring, &securecache.Options{Schedule: securecache.Schedule{Retention: 20 * time.Millisecond}})
	ok(t, err)
	defer brief.Close()

	past := redis.Z{Score: float64(time.Now().Add(-time.Minute).UnixMilli())}
	due := func(name string) (events, id string) {
		t.Helper()
		base, id := place(t, c, name)
		past.Member = id
		ok(t, rdb.ZAdd(ctx, base.Part("due").String(), past).Err())
		return base.Part("event").String(), id
	}
	set(t, c, "too early", time.Hour)
	due("too early")
	set(t, c, "tampered", 50*time.Millisecond)
	events, id := due("tampered")
	payload := []byte(rdb.HGet(ctx, events, id).Val())
	payload[len(payload)-1] ^= 1
	ok(t, rdb.HSet(ctx, events, id, payload).Err())
	set(t, c, "plaintext", 50*time.Millisecond)
	events, id = due("plaintext")
	ok(t, rdb.HSet(ctx, events, id, "an event of the server's own").Err())
	set(t, c, "without its payload", 50*time.Millisecond)
	events, id = due("without its payload")
	ok(t, rdb.HDel(ctx, events, id).Err())
	set(t, brief, "kept too briefly", 50*time.Millisecond)
	servertest.Eventually(t, "its retention has ended", func() bool {
		base, id := place(t, c, "kept too briefly")
		_, err := c.OpenEvent(ctx, base, id, []byte(rdb.HGet(ctx, base.Part("event").String(), id).Val()))
		return errors.Is(err, securecache.ErrMiss)
	})
	set(t, c, "good", 50*time.Millisecond)

	h := newHeard()
	n, _ := listen(t, c, h.handle, &expiry.Options{Visibility: time.Second, MaxClaims: 2, OnError: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if !errors.Is(err, expiry.ErrEarly) {
			t.Errorf("told %v", err)
		}
		early++
	}})
	servertest.Eventually(t, "three dead letters", func() bool { return depth(t, n) == expiry.Depth{Dead: 3} && n.Stats().Buried == 3 })
	if all := h.all(); len(all) != 1 || all[0].Name != "good" {
		t.Errorf("%+v", all)
	}
	s := n.Stats()
	if s.Refused != 4 || s.Early != 2 || s.Lost != 1 || s.Expired != 1 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	mu.Lock()
	if refused[codec.ReasonAuthentication] != 2 || refused[codec.ReasonNotRecord] != 2 || early != 2 {
		t.Errorf("%v, %d early", refused, early)
	}
	mu.Unlock()

	letters := 0
	for letter, err := range n.Dead(ctx) {
		ok(t, err)
		if letters++; (letter.Err == nil) != (letter.Event.Name == "too early") {
			t.Errorf("%+v", letter)
		}
	}
	if letters != 3 {
		t.Errorf("%d letters", letters)
	}
	// A letter whose event would not be kept any more goes when it is found.
	base, id := place(t, c, "kept too briefly")
	set(t, brief, "kept too briefly", 50*time.Millisecond)
	ok(t, rdb.HSet(ctx, base.Part("dead").String(), id+":00", rdb.HGet(ctx, base.Part("event").String(), id).Val()).Err())
	servertest.Eventually(t, "it is gone", func() bool {
		letters = 0
		for _, err := range n.Dead(ctx) {
			ok(t, err)
			letters++
		}
		return letters == 3
	})
	if d := depth(t, n); d.Dead != 3 {
		t.Errorf("%+v", d)
	}
}

// TestKeyringFailsClosed takes the keyring away: what is due waits, uncounted,
// until it is back.
func TestKeyringFailsClosed(t *testing.T) {
	t.Parallel()
	env := start(t)
	file := filepath.Join(t.TempDir(), "keyring.json")
	store, wrapper := keys.NewFile(file), keys.InsecurePlain()
	ok(t, keys.Create(t.Context(), "test", store, wrapper, keys.Layout{Shards: shards, Refresh: 50 * time.Millisecond, MaxOffline: 2 * time.Second}))
	keyring, err := keys.Open(t.Context(), "test", store, wrapper, nil)
	ok(t, err)
	defer keyring.Close()
	c, err := securecache.New(env.Client, keyring, nil)
	ok(t, err)
	defer c.Close()
	setMany(t, c, 0, 50, 300*time.Millisecond)
	ok(t, os.Rename(file, file+".away"))
	servertest.Eventually(t, "stale", func() bool {
		_, err := keyring.Ring()
		return errors.Is(err, keys.ErrStale)
	})
	h := newHeard()
	told := make(chan error, 1)
	n, _ := listen(t, c, h.handle, &expiry.Options{OnError: func(err error) {
		select {
		case told <- err:
		default:
		}
	}})
	if err := <-told; !errors.Is(err, keys.ErrStale) {
		t.Errorf("told %v", err)
	}
	servertest.Eventually(t, "due", func() bool { return depth(t, n).Due == 50 })
	if s := n.Stats(); s.Claimed != 0 {
		t.Errorf("%+v", s)
	}
	ok(t, os.Rename(file+".away", file))
	for _, e := range h.awaitCount(t, 50) {
		if e.Attempt != 1 {
			t.Errorf("attempt %d", e.Attempt)
		}
	}
}

// TestSlowServer has answers take longer than handlers may: events are handled
// all the same.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	env := start(t)
	env.Client.AddHook(slow(80 * time.Millisecond))
	const many = 200
	setMany(t, env.Cache, 0, many, 50*time.Millisecond)
	h := newHeard()
	n, _ := listen(t, env.Cache, h.handle, &expiry.Options{Visibility: 60 * time.Millisecond, MaxClaims: 1000})
	h.await(t, "all", func(events []expiry.Event) bool {
		names := map[string]bool{}
		for _, e := range events {
			names[e.Name] = true
		}
		return len(names) == many
	})
	servertest.Eventually(t, "acknowledged", func() bool { return depth(t, n) == expiry.Depth{} })
}

// slow delays the answers to pipelines.
type slow time.Duration

func (slow) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (slow) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (d slow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		select {
		case <-time.After(time.Duration(d)):
		case <-ctx.Done():
		}
		return err
	}
}
