package expiry_test

import (
	"cmp"
	"context"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecachetest"
)

func setMany(t testing.TB, c *securecache.Cache, from, many int, ttl time.Duration) {
	t.Helper()
	entries := make([]securecache.Entry, many)
	for i := range entries {
		entries[i].Name = strconv.Itoa(from + i)
	}
	ok(t, errors.Join(c.SetMany(t.Context(), entries, ttl)...))
}

// tally holds what was delivered against what was scheduled: all of it, and
// whatever comes twice under the same id.
type tally struct {
	ids        map[string]string // by name
	deliveries int
}

func (y *tally) add(t testing.TB, name, id string) {
	t.Helper()
	if y.ids == nil {
		y.ids = make(map[string]string)
	}
	if was, again := y.ids[name]; again && was != id {
		t.Errorf("%s came as %s and as %s", name, was, id)
	}
	y.ids[name] = id
	y.deliveries++
}

// TestConsumersDie kills consumers at every step, one after another, beside
// one that is killed at any time. The last two live.
func TestConsumersDie(t *testing.T) {
	t.Parallel()
	e := startEstate(t)
	steps := []string{afterClaim, inHandler, beforeAck, afterAck, afterClaim, inHandler, beforeAck, afterAck, never}
	if servertest.Long() {
		for range 4 {
			steps = append(steps[:8:8], steps...)
		}
	}
	n, err := expiry.New(e.cache, nil)
	ok(t, err)
	var all tally
	total := 0
	for i, step := range steps {
		const each = 20
		setMany(t, e.cache, total, each, 50*time.Millisecond)
		total += each
		lines, stop, wait := e.spawn(t, assignment{Step: step})
		for lines.Scan() {
			var d delivery
			ok(t, json.Unmarshal(lines.Bytes(), &d))
			all.add(t, d.Name, d.ID)
			if step == never && len(all.ids) == total {
				break
			}
		}
		if step == never {
			servertest.Eventually(t, "nothing left", func() bool { return depth(t, n) == expiry.Depth{} })
		}
		stop()
		err := wait()
		var exit *exec.ExitError
		switch {
		case step == never && err != nil:
			t.Errorf("the last: %v", err)
		case step != never && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL):
			t.Fatalf("child %d was to die %s: %v", i, step, err)
		}
	}
	if len(all.ids) != total {
		t.Errorf("%d of %d were delivered", len(all.ids), total)
	}
	if all.deliveries == total {
		t.Error("nothing came twice: no child died with an event in hand")
	}
	t.Logf("%d events, %d deliveries, %d children died", total, all.deliveries, len(steps)-1)
}

// TestServerDies kills the server, which writes an append-only file, with events
// ahead, due, claimed and handled.
func TestServerDies(t *testing.T) {
	t.Parallel()
	env := start(t, securecachetest.WithPersistence())
	servertest.Real(t, env.Server)
	c := env.Cache
	var all tally
	h := newHeard()
	n, _ := listen(t, c, func(ctx context.Context, e expiry.Event) error {
		if e.Attempt == 1 && len(e.Name)%2 == 1 {
			return errors.New("not now")
		}
		return h.handle(ctx, e)
	}, &expiry.Options{Visibility: visibility, MaxClaims: 1000, Concurrency: 2, Batch: 8})
	t.Cleanup(func() {
		if t.Failed() {
			d, err := n.Depth(context.Background())
			t.Logf("%+v, %v, %+v", d, err, n.Stats())
		}
	})
	const rounds, each = 3, 200
	for round := range rounds {
		setMany(t, c, round*each, each/2, 50*time.Millisecond)
		setMany(t, c, round*each+each/2, each/2, 1500*time.Millisecond)
		h.awaitCount(t, len(h.all())+each/10)
		ok(t, env.Server.Kill())
		ok(t, env.Server.Restart(t.Context()))
	}
	h.await(t, "all of them", func(events []expiry.Event) bool {
		names := map[string]bool{}
		for _, e := range events {
			names[e.Name] = true
		}
		return len(names) == rounds*each
	})
	for _, e := range h.all() {
		all.add(t, e.Name, e.ID)
	}
	servertest.Eventually(t, "nothing left", func() bool { return depth(t, n) == expiry.Depth{} })
	t.Logf("%d events, %d deliveries", len(all.ids), all.deliveries)
}

// TestTroubles brings one trouble after another upon the server: Listen says
// so, and catches up.
func TestTroubles(t *testing.T) {
	t.Parallel()
	env := start(t, securecachetest.WithPersistence())
	servertest.Real(t, env.Server)
	impatient := *env.Client.Options()
	impatient.ReadTimeout, impatient.MaxRetries = 300*time.Millisecond, -1
	ctx, c := t.Context(), cacheOn(t, redis.NewClient(&impatient), env)
	told := make(chan error, 1)
	h := newHeard()
	n, _ := listen(t, c, h.handle, &expiry.Options{Visibility: time.Second, MaxClaims: 1000, OnError: func(err error) {
		select {
		case told <- err:
		default:
		}
	}})
	patient := servertest.Patient{Server: env.Server, Admin: env.Admin, App: env.Client.Options().Username}
	const each = 50
	ills := maps.Clone(servertest.Ills)
	ills["scripts flushed"] = servertest.Ill{
		Ail:  func(ctx context.Context, p servertest.Patient) error { return p.Admin.ScriptFlush(ctx).Err() },
		Mend: func(context.Context, servertest.Patient) error { return nil },
	}
	unsaid := map[string]string{"slow": "lua: ", "away": "lua: "}
	silent := map[string]bool{"out of memory": true, "scripts flushed": true} // nothing fails
	for i, name := range slices.Sorted(maps.Keys(ills)) {
		ill := ills[name]
		want := cmp.Or(ill.Says, unsaid[name])
		mend := untilDone(func() error { return ill.Mend(ctx, patient) })
		t.Run(name, func(t *testing.T) {
			// By way of a client that has more patience.
			setMany(t, env.Cache, each*i, each, 200*time.Millisecond)
			ok(t, ill.Ail(ctx, patient))
			if !silent[name] {
				var err error
				servertest.Eventually(t, "it is told of "+want, func() bool {
					select {
					case err = <-told:
					default:
					}
					return err != nil && strings.Contains(err.Error(), want)
				})
				servertest.Eventually(t, "over", func() bool { return mend() == nil })
			}
			h.await(t, "all", func(events []expiry.Event) bool {
				names := map[string]bool{}
				for _, e := range events {
					names[e.Name] = true
				}
				return len(names) == each*(i+1)
			})
			ok(t, mend())
		})
	}
	servertest.Eventually(t, "nothing left", func() bool { // a script that was killed may take a while to end
		d, err := n.Depth(ctx)
		return err == nil && d == expiry.Depth{}
	})
	var all tally
	for _, e := range h.all() {
		all.add(t, e.Name, e.ID)
	}
}

// untilDone does something until that has gone well once.
func untilDone(do func() error) func() error {
	done := false
	return func() error {
		if done {
			return nil
		}
		err := do()
		done = err == nil
		return err
	}
}

// TestServerSays has the server answer each command with an error of its own,
// while events fall due.
func TestServerSays(t *testing.T) {
	t.Parallel()
	if fips140.Enforced() {
		t.Skip("miniredis needs SHA-1 for SCRIPT LOAD, which FIPS 140-only mode does not have")
	}
	store, wrapper := keys.NewFile(filepath.Join(t.TempDir(), "keyring.json")), keys.InsecurePlain()
	ok(t, keys.Create(t.Context(), "test", store, wrapper, keys.Layout{Shards: shards}))
	keyring, err := keys.Open(t.Context(), "test", store, wrapper, nil)
	ok(t, err)
	t.Cleanup(func() { _ = keyring.Close() })
	for name, says := range servertest.Replies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mini := miniredis.RunT(t)
			rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true})
			t.Cleanup(func() { _ = rdb.Close() })
			c, err := securecache.New(rdb, keyring, nil)
			ok(t, err)
			t.Cleanup(func() { _ = c.Close() })
			const many = 20
			setMany(t, c, 0, many, 50*time.Millisecond)
			mini.SetError(says)
			told, h := make(chan error, 1), newHeard()
			listen(t, c, h.handle, &expiry.Options{OnError: func(err error) {
				select {
				case told <- err:
				default:
				}
			}})
			if err := <-told; !strings.Contains(err.Error(), says[:len("LOADING")]) {
				t.Errorf("told %v", err)
			}
			mini.SetError("")
			h.awaitCount(t, many)
		})
	}
}
