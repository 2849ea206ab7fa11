package securecache_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// placeMany stores values of a size, and returns their keys.
func (r *resealer) placeMany(t *testing.T, size int, names ...string) []securecache.Key {
	t.Helper()
	found, entries := make([]securecache.Key, len(names)), make([]securecache.Entry, len(names))
	for i, name := range names {
		var err error
		found[i], err = r.Key(codec.KindValue, name)
		ok(t, err)
		value := make([]byte, size)
		_, _ = rand.Read(value) // it never fails, and does not compress
		entries[i] = securecache.Entry{Name: name, Value: value}
	}
	ok(t, errors.Join(r.SetMany(t.Context(), entries, time.Hour)...))
	return found
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, "name/"+strconv.Itoa(i))
	}
	return names
}

// underPrimary checks that records are under a key and open.
func (r *resealer) underPrimary(t *testing.T, primary keys.ID, found []securecache.Key) {
	t.Helper()
	for _, key := range found {
		record, err := r.rdb.Get(t.Context(), key.String()).Bytes()
		ok(t, err)
		header, err := codec.ParseHeader(record)
		ok(t, err)
		if _, err := r.Open(t.Context(), key, record); err != nil || header.KeyID != primary {
			t.Fatalf("a record under %s, want %s: %v", header.KeyID, primary, err)
		}
	}
}

// TestResealLosesNoWrite writes between the read of a record and its
// replacement: the hook runs when the commands of the second round trip are
// about to be sent.
func TestResealLosesNoWrite(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), startResealer(t, false)
	names := numbered(300) // of some calls, each of which finds all three
	found := r.placeMany(t, 100, names...)
	primary := r.rotate(t)
	var left, changed []securecache.Key
	r.rdb.AddHook(&beforeScripts{do: func() {
		for i, key := range found {
			switch i % 3 {
			case 0:
				left = append(left, key)
			case 1:
				changed = append(changed, key)
				ok(t, r.Set(ctx, names[i], []byte("newer"), time.Hour))
			case 2:
				ok(t, r.env.Admin.Del(ctx, key.String()).Err())
			}
		}
	}})
	got, err := r.Reseal(ctx, found)
	ok(t, err)
	if got.Changed != 100 || got.Gone != 100 || got.Sealed != 100 {
		t.Errorf("%+v", got)
	}
	r.underPrimary(t, primary, left)
	r.underPrimary(t, primary, changed)
	for i, result := range r.GetMany(ctx, names) {
		switch {
		case i%3 == 1 && string(result.Value) != "newer", i%3 == 2 && !errors.Is(result.Err, securecache.ErrMiss):
			t.Errorf("%d: %q, %v", i, result.Value, result.Err)
		}
	}
}

// TestResealBesideWriters re-seals again and again what writers write: each, who
// alone writes its names, reads what it wrote last.
func TestResealBesideWriters(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), startResealer(t, false)
	const writers, each, rounds = 4, 40, 8
	names := numbered(writers * each)
	found := r.placeMany(t, 10, names...)
	done := make(chan struct{})
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				name, value := names[w*each+i%each], strconv.Itoa(i)
				if err := r.Set(ctx, name, []byte(value), time.Hour); err != nil {
					t.Errorf("writing: %v", err)
					return
				}
				// Two reads, since a replacement may come between.
				for range 2 {
					if got, err := r.Get(ctx, name); string(got) != value || err != nil {
						t.Errorf("%s was written, %q read, %v", value, got, err)
						return
					}
				}
			}
		})
	}
	var sum securecache.Resealed
	var primary keys.ID
	for range rounds {
		primary = r.rotate(t)
		got, err := r.Reseal(ctx, found)
		ok(t, err)
		sum.Add(got)
		if total := got.Sealed + got.Already + got.Changed; total != len(found) {
			t.Errorf("%d of %d records are accounted for: %+v", total, len(found), got)
		}
	}
	close(done)
	group.Wait()
	// The rotations came at once: a writer may have sealed under the key before.
	_, err := r.Reseal(ctx, found)
	ok(t, err)
	r.underPrimary(t, primary, found)
	if sum.Sealed == 0 {
		t.Errorf("nothing was re-sealed: %+v", sum)
	}
}

// TestResealThatLostItsReply cuts the answer to the scripts: they are asked
// again, and each record counts once.
func TestResealThatLostItsReply(t *testing.T) {
	t.Parallel()
	r := startResealer(t, false)
	servertest.Real(t, r.env.Server)
	proxy := newLosing(t, r.env)
	r.on(t, proxy.rdb, false)
	found := r.placeMany(t, 100, numbered(200)...)
	primary := r.rotate(t)
	proxy.rdb.AddHook(&beforeScripts{do: func() { proxy.next.Store(true) }})
	got, err := r.Reseal(t.Context(), found)
	ok(t, err)
	if got.Sealed != len(found) || got.Changed != 0 || proxy.Lost() != 1 {
		t.Errorf("%+v, %d replies lost", got, proxy.Lost())
	}
	r.underPrimary(t, primary, found)
}

// TestResealBoundsItsCalls looks at what one script is given, during which the
// server does nothing else.
func TestResealBoundsItsCalls(t *testing.T) {
	t.Parallel()
	r := startResealer(t, false)
	found := r.placeMany(t, 100, numbered(200)...)
	found = append(found, r.placeMany(t, 300<<10, "large")...)
	found = append(found, r.placeMany(t, 100<<10, "a", "b", "c", "d", "e")...)
	primary := r.rotate(t)
	seen := new(scriptCalls)
	r.rdb.AddHook(seen)
	got, err := r.Reseal(t.Context(), found)
	ok(t, err)
	if got.Sealed != len(found) {
		t.Errorf("%+v", got)
	}
	if want := []int{64, 64, 64, 8, 1, 2, 2, 1}; !slices.Equal(seen.keys, want) {
		t.Errorf("records of each call: %v, want %v", seen.keys, want)
	}
	for i, size := range seen.bytes {
		if size > 264<<10 && seen.keys[i] > 1 { // 4 KiB and more are tags
			t.Errorf("%d bytes for %d records", size, seen.keys[i])
		}
	}
	r.underPrimary(t, primary, found)
}

// TestResealOnClusters has a cluster as such, and one that a client takes for a
// server, as behind a proxy: there the keys of a call may be of many slots.
func TestResealOnClusters(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	ctx, r := t.Context(), newResealer(t, env.Namespace, keys.Layout{})
	r.on(t, env.Client, false)
	var names []string // of the first node
	for i := 0; len(names) < 100; i++ {
		name := fmt.Sprint("name/", i)
		node, err := env.Master(ctx, keyOf(t, r.Cache, name))
		ok(t, err)
		if node == env.Nodes[0] {
			names = append(names, name)
		}
	}
	found := r.placeMany(t, 100, names...)
	reseal := func(t *testing.T) []int {
		t.Helper()
		primary, seen := r.rotate(t), new(scriptCalls)
		r.rdb.AddHook(seen)
		got, err := r.Reseal(ctx, found)
		ok(t, err)
		if got.Sealed != len(found) || got.Bytes == 0 {
			t.Errorf("%+v", got)
		}
		r.underPrimary(t, primary, found)
		return seen.keys
	}
	t.Run("as a cluster", func(t *testing.T) {
		if got := reseal(t); len(got) < len(found) || slices.Max(got) > 1 {
			t.Errorf("records of each call: %v", got)
		}
	})
	t.Run("behind one address", func(t *testing.T) {
		r.connect(t, env.Nodes[0].OperatorURL(), env.TLS, false)
		if got := reseal(t); len(got) <= len(found) || got[0] != 64 || slices.Max(got[len(got)-len(found):]) > 1 {
			t.Errorf("records of each call: %v", got)
		}
	})
}

// scriptCalls notes how many keys and bytes each script was given.
type scriptCalls struct{ keys, bytes []int }

func (h *scriptCalls) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *scriptCalls) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *scriptCalls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if cmd.Name() != "evalsha" || redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
				continue
			}
			size := 0
			for _, word := range cmd.Args() {
				if b, is := word.([]byte); is {
					size += len(b)
				}
			}
			h.keys, h.bytes = append(h.keys, cmd.Args()[2].(int)), append(h.bytes, size)
		}
		return err
	}
}

// beforeScripts does something once, before a pipeline of scripts is sent.
type beforeScripts struct {
	do   func()
	done bool
}

func (h *beforeScripts) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *beforeScripts) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *beforeScripts) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "evalsha" && !h.done {
			h.done = true
			h.do()
		}
		return next(ctx, cmds)
	}
}
