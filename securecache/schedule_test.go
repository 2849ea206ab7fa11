package securecache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// scheduled is a cache in a namespace with a schedule, and a look behind it.
type scheduled struct {
	*securecache.Cache
	env *securecachetest.Env
}

const shards = 4

func startScheduled(t *testing.T, o *securecache.Options) scheduled {
	t.Helper()
	env, c := start(t, o, securecachetest.WithLayout(keys.Layout{Shards: shards}))
	return scheduled{c, env}
}

// place returns the base of the shard that name belongs to, and name's id.
func (s scheduled) place(t *testing.T, c *securecache.Cache, name string) (base securecache.Key, id string) {
	t.Helper()
	key, err := c.Key(codec.KindValue, name)
	ok(t, err)
	id = key.Binding().ID
	for _, base := range s.Shards() {
		if strings.HasPrefix(id, base.Binding().ID) {
			return base, id
		}
	}
	t.Fatalf("no shard for %s", id)
	return base, id
}

// event is what is scheduled for name, false where nothing is.
func (s scheduled) event(t *testing.T, c *securecache.Cache, name string) (securecache.Event, bool) {
	t.Helper()
	ctx := t.Context()
	base, id := s.place(t, c, name)
	score, noScore := s.env.Admin.ZScore(ctx, base.Part("due").String(), id).Result()
	payload, noPayload := s.env.Admin.HGet(ctx, base.Part("event").String(), id).Bytes()
	if errors.Is(noScore, redis.Nil) != errors.Is(noPayload, redis.Nil) {
		t.Fatalf("%s: a deadline without an event, or the other way round: %v, %v", name, noScore, noPayload)
	}
	if noScore != nil {
		return securecache.Event{}, false
	}
	event, err := s.OpenEvent(ctx, base, id, payload)
	ok(t, err)
	if off := time.UnixMilli(int64(score)).Sub(event.Deadline).Abs(); off > 10*time.Second {
		t.Errorf("%s: the event's deadline and the schedule's are %s apart", name, off)
	}
	return event, true
}

// ends wants name announced at the end of the TTL that runs, about ttl from now.
func (s scheduled) ends(t *testing.T, c *securecache.Cache, name string, ttl time.Duration) securecache.Event {
	t.Helper()
	event, there := s.event(t, c, name)
	runs, err := c.TTL(t.Context(), name)
	ok(t, err)
	if !there || event.Name != name || event.Key.String() != keyOf(t, c, name) {
		t.Fatalf("%s: %t, %+v", name, there, event)
	}
	for what, is := range map[string]time.Duration{"TTL": runs, "deadline": time.Until(event.Deadline)} {
		if is > ttl || is < ttl-10*time.Second {
			t.Errorf("%s: the %s is in %s, want %s", name, what, is, ttl)
		}
	}
	return event
}

// TestScheduleFollowsWrites uses every write of the cache's.
func TestScheduleFollowsWrites(t *testing.T) {
	t.Parallel()
	faces(t, func(t *testing.T, o securecache.Options) {
		s := startScheduled(t, &o)
		ctx := t.Context()
		for name, c := range map[string]*securecache.Cache{"untagged": s.Cache, "tagged": s.Tagged("tenant")} {
			t.Run(name, func(t *testing.T) {
				set(t, c, "a", "one", time.Minute, securecache.MaxLife(time.Hour))
				if e := s.ends(t, c, "a", time.Minute); e.Value != nil {
					t.Errorf("a copy nobody asked for: %q", e.Value)
				}
				ttl, err := c.Touch(ctx, "a", 10*time.Minute)
				if err != nil || ttl != 10*time.Minute {
					t.Errorf("%s, %v", ttl, err)
				}
				s.ends(t, c, "a", 10*time.Minute)
				_, err = c.Touch(ctx, "a", time.Minute)
				ok(t, err)
				s.ends(t, c, "a", 10*time.Minute) // never shortens
				_, err = c.Touch(ctx, "a", time.Minute, securecache.Shorten())
				ok(t, err)
				s.ends(t, c, "a", time.Minute)
				_, err = c.Touch(ctx, "a", 24*time.Hour)
				ok(t, err)
				s.ends(t, c, "a", time.Hour) // the record's own end

				item, err := c.Item(ctx, "a")
				ok(t, err)
				ok(t, c.Replace(ctx, "a", item.ETag, []byte("two"), 2*time.Minute))
				s.ends(t, c, "a", 2*time.Minute)
				if err := c.Replace(ctx, "a", item.ETag, []byte("three"), time.Hour); !errors.Is(err, securecache.ErrConflict) {
					t.Errorf("replaced what has changed: %v", err)
				}
				s.ends(t, c, "a", 2*time.Minute)

				for range 2 {
					there, err := c.Delete(ctx, "a")
					ok(t, err)
					if _, still := s.event(t, c, "a"); still {
						t.Errorf("deleted: %t, and still to be announced", there)
					}
				}
				if err := c.Replace(ctx, "a", item.ETag, nil, time.Hour); !errors.Is(err, securecache.ErrMiss) {
					t.Errorf("replaced what is gone: %v", err)
				}
				if _, err := c.Touch(ctx, "a", time.Hour); !errors.Is(err, securecache.ErrMiss) {
					t.Errorf("touched what is gone: %v", err)
				}
				if _, there := s.event(t, c, "a"); there {
					t.Error("what failed left an event")
				}

				_, err = c.Fetch(ctx, "b", time.Minute, func(context.Context) ([]byte, error) { return nil, nil })
				ok(t, err)
				s.ends(t, c, "b", time.Minute)
				ok(t, securecache.For(c, codec.JSON[int]()).Set(ctx, "c", 7, time.Minute))
				s.ends(t, c, "c", time.Minute)
			})
		}
	})
}

func TestScheduleFollowsSetMany(t *testing.T) {
	t.Parallel()
	faces(t, func(t *testing.T, o securecache.Options) {
		s := startScheduled(t, &o)
		s.env.Admin.ScriptFlush(t.Context()) // and the scripts load on the way
		entries := make([]securecache.Entry, 200)
		for i := range entries {
			entries[i] = securecache.Entry{Name: fmt.Sprintf("user/%d", i), Value: []byte("x")}
		}
		entries[7].Name = ""
		for i, err := range s.SetMany(t.Context(), entries, time.Minute) {
			switch {
			case i == 7 && !errors.Is(err, securecache.ErrName):
				t.Errorf("no name: %v", err)
			case i != 7:
				ok(t, err)
				s.ends(t, s.Cache, entries[i].Name, time.Minute)
			}
		}
		if n := s.Stats().Sets; n != 199 {
			t.Errorf("%d sets", n)
		}
	})
}

// TestScheduleFollowsTouchMany touches what ends at different times, and what is
// copied and what is not.
func TestScheduleFollowsTouchMany(t *testing.T) {
	t.Parallel()
	faces(t, func(t *testing.T, o securecache.Options) {
		plain := startScheduled(t, &o)
		o.Schedule.CopyValue = true
		copying := scheduled{open(t, plain.env, &o), plain.env}
		for name, s := range map[string]scheduled{"plain": plain, "copying": copying} {
			t.Run(name, func(t *testing.T) {
				var names []string
				var ends []time.Duration
				for i := range 20 {
					names = append(names, fmt.Sprintf("%s/%d", name, i))
					life := []time.Duration{time.Hour, 30 * time.Minute}[i%2] // up to its end, and beyond
					ends = append(ends, min(life, 45*time.Minute))
					set(t, s.Cache, names[i], names[i], time.Minute, securecache.MaxLife(life))
				}
				got := s.TouchMany(t.Context(), append(names, "absent"), 45*time.Minute)
				if !errors.Is(got[20].Err, securecache.ErrMiss) {
					t.Errorf("touched what is not there: %v", got[20].Err)
				}
				for i, want := range ends {
					ok(t, got[i].Err)
					if got[i].TTL > want || got[i].TTL < want-10*time.Second {
						t.Errorf("%s: %v, want %v", names[i], got[i].TTL, want)
					}
					e := s.ends(t, s.Cache, names[i], want)
					if copied := string(e.Value) == names[i]; copied != (name == "copying") {
						t.Errorf("%s: the event's copy is %q", names[i], e.Value)
					}
				}
			})
		}
	})
}

func TestScheduleCopiesValues(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, &securecache.Options{Schedule: securecache.Schedule{CopyValue: true}})
	ctx := t.Context()
	copied := func(want string) {
		t.Helper()
		if e, there := s.event(t, s.Cache, "a"); !there || string(e.Value) != want || e.Value == nil {
			t.Errorf("%t, %q, want %q", there, e.Value, want)
		}
	}
	set(t, s.Cache, "a", "one", time.Minute, securecache.MaxLife(time.Hour))
	copied("one")
	for _, ttl := range []time.Duration{2 * time.Minute, 2 * time.Hour} { // up to its end, and beyond
		_, err := s.Touch(ctx, "a", ttl)
		ok(t, err)
		copied("one")
	}
	set(t, s.Cache, "a", "", time.Minute)
	copied("")

	plain := open(t, s.env, nil)
	set(t, plain, "b", "two", time.Minute, securecache.MaxLife(time.Hour))
	_, err := s.Touch(ctx, "b", 10*time.Minute)
	ok(t, err)
	if e := s.ends(t, s.Cache, "b", 10*time.Minute); e.Value != nil {
		t.Errorf("a copy of what was not copied: %q", e.Value)
	}
}

// TestTouchBesideWrites touches what others write: whatever comes last, the
// event carries the value that is there.
func TestTouchBesideWrites(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, &securecache.Options{Schedule: securecache.Schedule{CopyValue: true}})
	ctx := t.Context()
	set(t, s.Cache, "a", "0", time.Minute, securecache.MaxLife(time.Hour))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			if err := s.Set(ctx, "a", fmt.Append(nil, i), time.Minute, securecache.MaxLife(time.Hour)); err != nil {
				t.Error(err)
			}
		}
	}()
	for n := 1; ; n++ {
		if _, err := s.Touch(ctx, "a", time.Minute+time.Duration(n)*time.Millisecond); err != nil && !errors.Is(err, securecache.ErrConflict) {
			t.Error(err)
		}
		select {
		case <-done:
			value, err := s.Get(ctx, "a")
			ok(t, err)
			if e, _ := s.event(t, s.Cache, "a"); string(e.Value) != string(value) {
				t.Errorf("the value is %q, its event says %q", value, e.Value)
			}
			return
		default:
		}
	}
}

// TestScheduleKeepsWhatIsOwed writes a name again after its deadline, before
// anybody has heard of it.
func TestScheduleKeepsWhatIsOwed(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, nil)
	ctx := t.Context()
	base, id := s.place(t, s.Cache, "a")
	due, events := base.Part("due").String(), base.Part("event").String()
	names := func() []string {
		t.Helper()
		list, err := s.env.Admin.ZRange(ctx, due, 0, -1).Result()
		ok(t, err)
		for _, field := range list {
			payload, err := s.env.Admin.HGet(ctx, events, field).Bytes()
			ok(t, err)
			e, err := s.OpenEvent(ctx, base, field, payload)
			if err != nil || e.Name != "a" {
				t.Errorf("%s: %+v, %v", field, e, err)
			}
		}
		return list
	}
	pass := func() {
		t.Helper()
		ok(t, s.env.Admin.ZAdd(ctx, due, redis.Z{Score: float64(time.Now().Add(-time.Second).UnixMilli()), Member: id}).Err())
	}
	set(t, s.Cache, "a", "one", time.Minute)
	pass()
	_, err := s.Delete(ctx, "a")
	ok(t, err)
	if list := names(); len(list) != 1 {
		t.Fatalf("deleted after its deadline: %v", list)
	}
	set(t, s.Cache, "a", "two", time.Minute)
	if list := names(); len(list) != 2 || !strings.HasPrefix(list[0], id+":") || list[1] != id {
		t.Fatalf("set again after its deadline: %v", list)
	}
	pass()
	set(t, s.Cache, "a", "three", time.Minute)
	if list := names(); len(list) != 3 {
		t.Fatalf("and once more: %v", list)
	}
	_, err = s.Delete(ctx, "a")
	ok(t, err)
	if list := names(); len(list) != 2 {
		t.Fatalf("deleted before its deadline: %v", list)
	}
}

func TestScheduleWakesWhoSleepsTooLong(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, nil)
	ctx := t.Context()
	base, _ := s.place(t, s.Cache, "a")
	sub := s.env.Client.Subscribe(ctx, base.Part("wake").String())
	defer sub.Close()
	_, err := sub.Receive(ctx)
	ok(t, err)
	set(t, s.Cache, "a", "first", time.Hour)
	set(t, s.Cache, "a", "later", 2*time.Hour)
	set(t, s.Cache, "a", "sooner", time.Minute, securecache.MaxLife(time.Hour))
	_, err = s.Touch(ctx, "a", 10*time.Minute)
	ok(t, err)
	_, err = s.Touch(ctx, "a", 5*time.Minute, securecache.Shorten())
	ok(t, err)
	for _, want := range []string{"3600000", "60000", "300000"} {
		m, err := sub.ReceiveMessage(ctx)
		if err != nil || m.Payload != want {
			t.Errorf("%v, %v, want %s", m, err, want)
		}
	}
}

func TestScheduleWithoutTTL(t *testing.T) {
	t.Parallel()
	env, c := start(t, &securecache.Options{AllowNoTTL: true}, securecachetest.WithLayout(keys.Layout{Shards: shards, MaxLife: keys.Forever}))
	s := scheduled{c, env}
	ctx := t.Context()
	set(t, c, "a", "one", time.Minute)
	set(t, c, "a", "two", 0)
	if _, there := s.event(t, c, "a"); there {
		t.Error("what never ends is to be announced")
	}
	if ttl, err := c.Touch(ctx, "a", time.Minute); err != nil || ttl != securecache.NoTTL {
		t.Errorf("%s, %v", ttl, err)
	}
	if _, there := s.event(t, c, "a"); there {
		t.Error("a touch that changed nothing has scheduled it")
	}
	_, err := c.Touch(ctx, "a", time.Minute, securecache.Shorten())
	ok(t, err)
	s.ends(t, c, "a", time.Minute)
	item, err := c.Item(ctx, "a")
	ok(t, err)
	ok(t, c.Replace(ctx, "a", item.ETag, []byte("three"), 0))
	s.ends(t, c, "a", time.Minute)
}

func TestScheduleOptions(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t, securecachetest.WithLayout(keys.Layout{Shards: shards, MaxLife: time.Hour}))
	for name, schedule := range map[string]securecache.Schedule{
		"negative":   {Retention: -1},
		"no room":    {Retention: time.Hour},
		"more still": {Retention: 24 * time.Hour},
	} {
		if _, err := securecache.New(env.Client, env.Keyring, &securecache.Options{Schedule: schedule}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s := scheduled{open(t, env, nil), env} // a quarter of an hour, then
	ctx := t.Context()
	if err := s.Set(ctx, "a", nil, 46*time.Minute); !errors.Is(err, codec.ErrLifetime) {
		t.Errorf("no room for the retention: %v", err)
	}
	set(t, s.Cache, "a", "", 44*time.Minute, securecache.MaxLife(59*time.Minute))
	if ttl, err := s.Touch(ctx, "a", 50*time.Minute); err != nil || ttl != 45*time.Minute {
		t.Errorf("touched beyond it: %s, %v", ttl, err)
	}
	s.ends(t, s.Cache, "a", 45*time.Minute)
}

func TestNoScheduleWithoutShards(t *testing.T) {
	t.Parallel()
	env, c := start(t, &securecache.Options{Schedule: securecache.Schedule{Retention: 1 << 62, CopyValue: true}})
	if c.Shards() != nil {
		t.Errorf("%v", c.Shards())
	}
	everything(t, c)
	for _, key := range env.Admin.Keys(t.Context(), "*").Val() {
		if !strings.HasPrefix(key, "sc:test:v:") {
			t.Errorf("%s has been written", key)
		}
	}
}
