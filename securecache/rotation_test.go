package securecache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestRotationUnderTraffic rotates while three processes write and read. Nobody
// may fail to open what another sealed.
func TestRotationUnderTraffic(t *testing.T) {
	t.Parallel()
	rotations := 5
	if os.Getenv("SECURECACHE_LONG") != "" {
		rotations = 20
	}
	env := securecachetest.Start(t)
	a := assignment{
		URL: env.Server.URL(), Namespace: env.Namespace, Files: env.Files,
		Keyring: filepath.Join(t.TempDir(), "keyring.json"), Began: time.Now(),
	}
	ctx := t.Context()
	ok(t, keys.Create(ctx, a.Namespace, keys.NewFile(a.Keyring), keys.InsecurePlain(), rotationLayout))
	keyring, err := openFast(ctx, a.Namespace, a.Keyring, a.Began)
	ok(t, err)
	t.Cleanup(func() { _ = keyring.Close() })
	now := fastClock(a.Began)
	c, err := securecache.New(env.Client, keyring, &securecache.Options{Codec: codec.Options{Now: now}})
	ok(t, err)
	for i := range names {
		set(t, c, "name "+strconv.Itoa(i), "value", 24*time.Hour)
	}
	var children []*traffickers
	for range 3 {
		children = append(children, a.spawn(t))
	}
	for range rotations {
		info, err := keyring.Rotate(ctx)
		ok(t, err)
		ok(t, servertest.Until(ctx, "the new key seals", func() bool {
			ring, err := keyring.Ring()
			return err == nil && ring.Primary(now()).ID() == info.ID
		}))
	}
	var list []string
	for i := range names {
		list = append(list, "name "+strconv.Itoa(i))
	}
	sealed := sealedUnder(t, env, c, list)
	for _, ch := range children {
		r := ch.end(t)
		if len(r.Failures) > 0 || r.Gets == 0 || r.Sets == 0 {
			t.Errorf("%d sets, %d gets, failures: %q", r.Sets, r.Gets, r.Failures)
		}
		t.Logf("%d sets, %d gets over %d rotations", r.Sets, r.Gets, rotations)
	}
	if len(sealed) > 2 {
		t.Errorf("records are under %d keys after the last rotation", len(sealed))
	}
}

// traffickers is a child process.
type traffickers struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout bytes.Buffer
}

func (a assignment) spawn(t *testing.T) *traffickers {
	t.Helper()
	ch := &traffickers{cmd: a.command(t, "traffic")}
	ch.cmd.Stdout = &ch.stdout
	var err error
	ch.stdin, err = ch.cmd.StdinPipe()
	ok(t, err)
	ok(t, ch.cmd.Start())
	endAfter(t, ch.cmd)
	return ch
}

func (a assignment) command(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(a)
	ok(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, assignmentEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd
}

// endAfter kills a child that the test has not waited for.
func endAfter(t *testing.T, cmd *exec.Cmd) {
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_, _ = cmd.Process.Kill(), cmd.Wait()
		}
	})
}

func (ch *traffickers) end(t *testing.T) report {
	t.Helper()
	ok(t, ch.stdin.Close())
	ok(t, ch.cmd.Wait())
	var r report
	ok(t, json.Unmarshal(ch.stdout.Bytes(), &r))
	return r
}

// process is another user of the same keyring, with a clock of its own.
type process struct {
	*securecache.Cache
	keyring *keys.Keyring
}

func newProcess(t *testing.T, env *securecachetest.Env, path string, now func() time.Time) process {
	t.Helper()
	k, err := keys.Open(t.Context(), env.Namespace, keys.NewFile(path), keys.InsecurePlain(), &keys.Options{Now: now})
	ok(t, err)
	t.Cleanup(func() { _ = k.Close() })
	c, err := securecache.New(env.Client, k, &securecache.Options{Codec: codec.Options{Now: now}})
	ok(t, err)
	return process{c, k}
}

func (p process) refused(t *testing.T, name string, want codec.Reason) {
	t.Helper()
	_, err := p.Get(t.Context(), name)
	var refused *securecache.RefusedError
	if !errors.As(err, &refused) || refused.Reason != want {
		t.Errorf("%v, want a refusal for %v", err, want)
	}
}

func newKeyringFile(t *testing.T, env *securecachetest.Env) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring.json")
	ok(t, keys.Create(t.Context(), env.Namespace, keys.NewFile(path), keys.InsecurePlain(), keys.Layout{}))
	return path
}

func TestUnknownKeyIsLookedUp(t *testing.T) {
	env := securecachetest.Start(t)
	path, now := newKeyringFile(t, env), servertest.NewClock(time.Now())
	one, two := newProcess(t, env, path, now.Now), newProcess(t, env, path, now.Now)
	_, err := one.keyring.Rotate(t.Context())
	ok(t, err)
	now.Advance(time.Hour) // the new key seals; the other process has not heard of it
	set(t, one.Cache, "a", "v", time.Minute)
	if got, err := two.Get(t.Context(), "a"); string(got) != "v" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if s := two.Stats(); s.Refused != 0 {
		t.Errorf("counted as refused: %+v", s)
	}
}

// TestUnknownKeyWithoutKeyring plants a record under a key that nobody has,
// while the keyring's store is away, and while it hangs.
func TestUnknownKeyWithoutKeyring(t *testing.T) {
	env := securecachetest.Start(t)
	path := newKeyringFile(t, env)
	store := &hanging{Store: keys.NewFile(path), released: make(chan struct{})}
	k, err := keys.Open(t.Context(), env.Namespace, store, keys.InsecurePlain(), nil)
	ok(t, err)
	t.Cleanup(func() { _ = k.Close() })
	var told refusals
	c, err := securecache.New(env.Client, k, &securecache.Options{OnRefused: told.add})
	ok(t, err)
	plant := func() {
		set(t, c, "a", "v", time.Minute)
		ok(t, env.Admin.SetRange(t.Context(), keyOf(t, c, "a"), 16, "0123456789abcdef").Err())
	}
	plant()
	store.hang.Store(true)
	late := servertest.Late(time.Now().Add(4 * time.Second))
	_, err = c.Get(t.Context(), "a")
	var refused *securecache.RefusedError
	if !errors.As(err, &refused) || refused.Reason != codec.ReasonUnknownKey || len(told.take()) != 1 {
		t.Errorf("while the store hangs: %v", err)
	}
	if by := late(); by > time.Second {
		t.Errorf("a planted record held its reader for 4 s and %v", by)
	}
	close(store.released)
	ok(t, os.Rename(path, path+".away"))
	plant()
	if _, err = c.Get(t.Context(), "a"); !errors.As(err, &refused) || len(told.take()) != 1 {
		t.Errorf("while the store is away: %v", err)
	}
	if s := c.Stats(); s.Refused != 2 || s.Errors != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// hanging is a store whose Load waits, once told to, until it is released.
type hanging struct {
	keys.Store
	hang     atomic.Bool
	released chan struct{}
}

func (h *hanging) Load(ctx context.Context) ([]byte, error) {
	if h.hang.Load() {
		select {
		case <-h.released:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return h.Store.Load(ctx)
}

func TestDestroyedKeyIsRefusedEverywhere(t *testing.T) {
	env := securecachetest.Start(t)
	path, now := newKeyringFile(t, env), servertest.NewClock(time.Now())
	one, two := newProcess(t, env, path, now.Now), newProcess(t, env, path, now.Now)
	ctx := t.Context()
	set(t, one.Cache, "a", "v", 24*time.Hour)
	ring, err := one.keyring.Ring()
	ok(t, err)
	old := ring.Primary(now.Now()).ID()
	_, err = one.keyring.Rotate(ctx)
	ok(t, err)
	now.Advance(time.Hour)
	if err := one.keyring.Destroy(ctx, old, false); !errors.Is(err, keys.ErrInUse) {
		t.Errorf("destroying a key whose records live: %v", err)
	}
	if _, err := two.Get(ctx, "a"); err != nil {
		t.Errorf("the predecessor does not open: %v", err)
	}
	ok(t, one.keyring.Destroy(ctx, old, true))
	one.refused(t, "a", codec.ReasonDestroyedKey)
	ok(t, two.keyring.Refresh(ctx))
	two.refused(t, "a", codec.ReasonDestroyedKey)
}

func TestRevokeAll(t *testing.T) {
	env := securecachetest.Start(t)
	path, now := newKeyringFile(t, env), servertest.NewClock(time.Now())
	skewed := func(by time.Duration) func() time.Time { return func() time.Time { return now.Now().Add(by) } }
	here := newProcess(t, env, path, now.Now)
	others := map[string]process{
		"fast": newProcess(t, env, path, skewed(10*time.Minute)),
		"slow": newProcess(t, env, path, skewed(-10*time.Minute)),
	}
	ctx := t.Context()
	set(t, here.Cache, "before", "v", time.Hour)
	set(t, others["fast"].Cache, "before, by the fast", "v", time.Hour)
	_, err := here.keyring.Rotate(ctx) // a key that is still to become active goes too
	ok(t, err)
	_, err = here.keyring.RevokeAll(ctx)
	ok(t, err)
	for which, p := range others {
		t.Run(which, func(t *testing.T) {
			ok(t, p.keyring.Refresh(t.Context()))
			p.refused(t, "before", codec.ReasonDestroyedKey)
			p.refused(t, "before, by the fast", codec.ReasonDestroyedKey)
			set(t, p.Cache, "after, by the "+which, "v", time.Hour)
			for _, reader := range []process{here, p} {
				if _, err := reader.Get(t.Context(), "after, by the "+which); err != nil {
					t.Errorf("what is sealed since then does not open: %v", err)
				}
			}
		})
	}
}

// TestStaleKeyringFailsClosed takes the keyring away.
func TestStaleKeyringFailsClosed(t *testing.T) {
	env := securecachetest.Start(t)
	path := newKeyringFile(t, env)
	k, err := keys.Open(t.Context(), env.Namespace, keys.NewFile(path), keys.InsecurePlain(),
		&keys.Options{Refresh: 20 * time.Millisecond, MaxOffline: time.Second})
	ok(t, err)
	t.Cleanup(func() { _ = k.Close() })
	c, err := securecache.New(env.Client, k, nil)
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	set(t, c, "a", "v", time.Minute)
	ok(t, os.Rename(path, path+".away"))
	get := func() error { _, err := c.Get(ctx, "a"); return err }
	if err := get(); err != nil {
		t.Errorf("at once: %v", err)
	}
	ok(t, servertest.Until(ctx, "it fails closed", func() bool { return errors.Is(get(), keys.ErrStale) }))
	if err := c.Set(ctx, "a", nil, time.Minute); !errors.Is(err, keys.ErrStale) {
		t.Errorf("Set: %v", err)
	}
	unused := func(context.Context) ([]byte, error) { t.Error("loaded"); return nil, nil }
	if _, err := c.Fetch(ctx, "a", time.Minute, unused); !errors.Is(err, keys.ErrStale) {
		t.Errorf("Fetch: %v", err)
	}
	ok(t, os.Rename(path+".away", path))
	ok(t, servertest.Until(ctx, "it recovers", func() bool { return get() == nil }))
}
