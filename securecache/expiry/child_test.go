package expiry_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecachetest"
)

// A child is this test binary once more: a consumer in a process of its own,
// which can die at any step. It prints what it handles, a line an event.

const (
	roleEnv       = "SECURECACHE_TEST_ROLE"
	assignmentEnv = "SECURECACHE_TEST_ASSIGNMENT"
)

// The steps at which a child dies.
const (
	afterClaim    = "after its claim was answered"
	inHandler     = "when its handler begins"
	beforeAck     = "when it has handled an event and is about to acknowledge"
	afterAck      = "when its acknowledgement was answered"
	never         = ""
	visibility    = 300 * time.Millisecond
	childDelivers = 7 // events of which a child may die at the last
)

// assignment is what a child is told, in its environment.
type assignment struct {
	URL, Keyring string
	Files        hardening.Files
	Step         string
	Idle         time.Duration // listen for so long, and print the CPU time taken
}

// delivery is what a child prints.
type delivery struct {
	ID, Name string
	Attempt  int
}

func child() int {
	var a assignment
	err := json.Unmarshal([]byte(os.Getenv(assignmentEnv)), &a)
	if err == nil {
		err = a.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// die is kill -9 from within: nothing is flushed, closed or given back.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (a assignment) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	keyring, err := keys.Open(ctx, "test", keys.NewFile(a.Keyring), keys.InsecurePlain(), nil)
	if err != nil {
		return err
	}
	defer keyring.Close()
	tls, err := hardening.ClientTLS(a.Files, "")
	if err != nil {
		return err
	}
	rdb, err := securecache.Connect(a.URL, tls)
	if err != nil {
		return err
	}
	defer rdb.Close()
	rdb.AddHook(mortal{a.Step, new(atomic.Int64)})
	c, err := securecache.New(rdb, keyring, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if a.Idle > 0 {
		return a.idle(ctx, c)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var handled atomic.Int64
	err = expiry.Listen(ctx, c, func(_ context.Context, e expiry.Event) error {
		if a.Step == inHandler && handled.Add(1) == childDelivers {
			die()
		}
		line, err := json.Marshal(delivery{e.ID, e.Name, e.Attempt})
		if err == nil {
			_, err = os.Stdout.Write(append(line, '\n'))
		}
		return err
	}, &expiry.Options{Visibility: visibility, MaxClaims: 1000, Concurrency: 2, Batch: 8})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// idle listens where nothing happens.
func (a assignment) idle(ctx context.Context, c *securecache.Cache) error {
	ctx, cancel := context.WithTimeout(ctx, a.Idle)
	defer cancel()
	before, err := cpu()
	if err != nil {
		return err
	}
	if err := expiry.Listen(ctx, c, func(context.Context, expiry.Event) error { return nil }, nil); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	after, err := cpu()
	fmt.Println(int64(after - before))
	return err
}

func cpu() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// mortal dies at a step of the talk with the server, once some events have
// been claimed or acknowledged.
type mortal struct {
	step string
	seen *atomic.Int64
}

func (mortal) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (mortal) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (m mortal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if m.step == beforeAck && m.counts(cmds, lua.Ack) {
			die()
		}
		err := next(ctx, cmds)
		if m.step == afterAck && m.counts(cmds, lua.Ack) || m.step == afterClaim && m.counts(cmds, lua.Claim) {
			die()
		}
		return err
	}
}

// counts reports whether with these commands enough have been seen. A claim's
// events are in its reply, an acknowledgement's in its arguments.
func (m mortal) counts(cmds []redis.Cmder, script *lua.Script) bool {
	n := 0
	for _, cmd := range cmds {
		args := cmd.Args()
		if cmd.Name() != "evalsha" || args[1] != script.SHA() {
			continue
		}
		if script == lua.Ack {
			n += len(args) - 3 - 4
		} else if reply, ok := cmd.(interface{ Val() any }).Val().([]any); ok {
			n += (len(reply) - 5) / 3
		}
	}
	return n > 0 && m.seen.Add(int64(n)) >= childDelivers
}

// estate is a server with a keyring that children can open too.
type estate struct {
	*securecachetest.Env
	cache   *securecache.Cache
	keyring string
}

func startEstate(t testing.TB, opts ...securecachetest.Option) estate {
	t.Helper()
	e := estate{Env: start(t, opts...), keyring: filepath.Join(t.TempDir(), "keyring.json")}
	store, wrapper := keys.NewFile(e.keyring), keys.InsecurePlain()
	ok(t, keys.Create(t.Context(), "test", store, wrapper, keys.Layout{Shards: shards}))
	keyring, err := keys.Open(t.Context(), "test", store, wrapper, nil)
	ok(t, err)
	t.Cleanup(func() { _ = keyring.Close() })
	e.cache, err = securecache.New(e.Client, keyring, nil)
	ok(t, err)
	t.Cleanup(func() { _ = e.cache.Close() })
	return e
}

// spawn starts a child. It ends with the test at the latest.
func (e estate) spawn(t testing.TB, a assignment) (lines *bufio.Scanner, stop func(), wait func() error) {
	t.Helper()
	a.URL, a.Keyring, a.Files = e.Server.URL(), e.keyring, e.Files
	text, err := json.Marshal(a)
	ok(t, err)
	self, err := os.Executable()
	ok(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
	cmd.Env = append(os.Environ(), roleEnv+"=consumer", assignmentEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	return bufio.NewScanner(out), func() { _ = in.Close() }, cmd.Wait
}
