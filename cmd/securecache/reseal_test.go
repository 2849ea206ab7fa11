package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// field is a server with records under a key that is no longer the primary.
type field struct {
	*rig
	cache   *securecache.Cache
	keyring *keys.Keyring
	file    string
	primary keys.ID
	env     []string
}

// startField stores n records and then makes another key the primary.
func startField(t *testing.T, n int, o server.Options) *field {
	t.Helper()
	f := &field{rig: startRig(t, o), file: filepath.Join(t.TempDir(), "keyring.json")}
	t.Cleanup(func() { _ = f.server.Close() })
	if f.server.Lacks() != nil {
		t.Skip("the embedded server is slow beyond some thousand keys, keeps nothing and has no cursors; testdata/script/reseal.txtar runs on it")
	}
	f.prepare(t, n, f.server.URL(), f.rig.environ(filepath.Dir(f.file)))
	return f
}

func (f *field) prepare(t *testing.T, n int, url string, environ []string) {
	t.Helper()
	ctx := t.Context()
	must(t, keys.Create(ctx, "test", keys.NewFile(f.file), keys.InsecurePlain(), keys.Layout{}))
	var err error
	f.keyring, err = keys.Open(ctx, "test", keys.NewFile(f.file), keys.InsecurePlain(), nil)
	must(t, err)
	t.Cleanup(func() { _ = f.keyring.Close() })
	f.cache, err = securecache.Dial(ctx, url, f.server.TLS(), f.keyring, nil)
	must(t, err)
	t.Cleanup(func() { _ = f.cache.Close() })
	must(t, store(ctx, f.cache, n))
	f.primary, err = rotateNow(ctx, f.file)
	must(t, err)
	must(t, f.keyring.Refresh(ctx))
	f.env = append(os.Environ(), environ...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// as sets the login that the command works with.
func (f *field) as(url string) *field {
	g := *f
	g.env = append(g.env, "REDIS_URL="+url)
	return &g
}

func (r *rig) adminURL() string {
	o := r.server.AdminOptions()
	return "rediss://" + o.Username + ":" + o.Password + "@" + o.Addr
}

// resealed is what one run of the command did.
type resealed struct {
	status int
	stderr string
	tally  struct {
		tally
		Keys []refusal `json:"refused_keys"`
	}
}

// reseal runs the verb, and interferes while it runs.
func (f *field) reseal(t *testing.T, interfere func(*os.Process), args ...string) resealed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "securecache", append([]string{"reseal", "-o", "json"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = f.env, &stdout, &stderr
	must(t, cmd.Start())
	if interfere != nil {
		interfere(cmd.Process)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	out := resealed{status: cmd.ProcessState.ExitCode(), stderr: stderr.String()}
	if stdout.Len() > 0 {
		must(t, json.Unmarshal(stdout.Bytes(), &out.tally))
	}
	t.Logf("status %d, %+v\n%s", out.status, out.tally, out.stderr)
	return out
}

// underPrimary checks that every record of the namespace is, opens and has a TTL.
func (f *field) underPrimary(t *testing.T, want int, clients ...*redis.Client) {
	t.Helper()
	ctx, seen := t.Context(), 0
	records, err := codec.New(f.keyring, nil)
	must(t, err)
	for _, rdb := range clients {
		all := rdb.Scan(ctx, 0, "sc:test:*", 1000).Iterator()
		for all.Next(ctx) {
			seen++
			record, err := rdb.Get(ctx, all.Val()).Bytes()
			must(t, err)
			header, err := codec.ParseHeader(record)
			must(t, err)
			key, err := securecache.ParseKey(all.Val())
			must(t, err)
			if header.KeyID != f.primary {
				t.Fatalf("%s is still under %s", all.Val(), header.KeyID)
			}
			if _, err := records.Open(nil, key.Binding(), record); err != nil {
				t.Fatalf("%s: %v", all.Val(), err)
			}
			if left := time.Until(header.Expires); left <= 0 || left > time.Hour {
				t.Fatalf("%s ends in %s", all.Val(), left)
			}
			ttl := rdb.PTTL(ctx, all.Val()).Val()
			if ends := time.Now().Add(ttl); ttl <= 0 || ends.Sub(header.Expires).Abs() > 10*time.Second {
				t.Fatalf("%s: the server keeps it for %s, its own end is %s", all.Val(), ttl, header.Expires)
			}
		}
		must(t, all.Err())
	}
	if seen < want {
		t.Fatalf("%d records are there, want %d", seen, want)
	}
}

// traffic reads and writes records as applications do, until stop, and fails
// the test where a read goes wrong.
func (f *field) traffic(t *testing.T, n int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var reads, writes atomic.Int64
	for range 3 {
		group.Go(func() {
			for ctx.Err() == nil {
				name := recordName(rand.IntN(n))
				value, err := f.cache.Get(ctx, name)
				if ctx.Err() == nil && (err != nil || !strings.HasPrefix(string(value), name+"/") && string(value) != name) {
					t.Errorf("reading %s: %q, %v", name, value, err)
					return
				}
				reads.Add(1)
			}
		})
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := recordName(rand.IntN(n))
				err := f.cache.Set(ctx, name, fmt.Appendf(nil, "%s/%d", name, i), time.Hour)
				if err != nil && ctx.Err() == nil {
					t.Errorf("writing %s: %v", name, err)
					return
				}
				writes.Add(1)
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
		t.Logf("%d reads, %d writes meanwhile", reads.Load(), writes.Load())
	}
}

func TestResealUnderTraffic(t *testing.T) {
	t.Parallel()
	const n = 20_000
	f := startField(t, n, server.Options{})
	stop := f.traffic(t, n)
	done := make(chan struct{})
	var flushing sync.WaitGroup
	flushing.Go(func() { // SCRIPT FLUSH as somebody may do it at any time
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				f.admin.ScriptFlush(t.Context())
			}
		}
	})
	out := f.as(f.server.OperatorURL()).reseal(t, nil)
	close(done)
	flushing.Wait()
	stop()
	if out.status != exitOK || out.tally.Refused != 0 || out.tally.Scanned < n || out.tally.Resealed == 0 {
		t.Fatalf("status %d, %+v", out.status, out.tally.tally)
	}
	if sum := out.tally.Resealed + out.tally.Already + out.tally.Changed + out.tally.Gone; sum < n {
		t.Errorf("%d records are accounted for", sum)
	}
	f.underPrimary(t, n, f.admin)
}

func TestResealRefusesWhatIsTamperedWith(t *testing.T) {
	t.Parallel()
	const n = 3000
	f := startField(t, n, server.Options{})
	all, err := f.admin.Keys(t.Context(), "sc:test:v:*").Result()
	must(t, err)
	must(t, flipBit(t.Context(), f.admin, all[7], -1))
	before, err := f.admin.Get(t.Context(), all[7]).Bytes()
	must(t, err)
	out := f.as(f.server.OperatorURL()).reseal(t, nil)
	if out.status != exitRefused || out.tally.Refused != 1 || out.tally.Resealed != n-1 {
		t.Fatalf("status %d, %+v", out.status, out.tally.tally)
	}
	if want := (refusal{all[7], "authentication"}); len(out.tally.Keys) != 1 || out.tally.Keys[0] != want {
		t.Errorf("listed: %v", out.tally.Keys)
	}
	after, err := f.admin.Get(t.Context(), all[7]).Bytes()
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the refused record was changed")
	}
	f.admin.Del(t.Context(), all[7])
	f.underPrimary(t, n-1, f.admin)
}

// interruptAfter interrupts the command once its state says that it has scanned
// so many keys.
func interruptAfter(t *testing.T, file string, scanned int) func(*os.Process) {
	return func(p *os.Process) {
		must(t, waitFor(t.Context(), file, scanned))
		must(t, p.Signal(os.Interrupt))
	}
}

// withoutInfo takes INFO from the operator.
func (f *field) withoutInfo(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(f.server.OperatorURL())
	must(t, err)
	must(t, f.admin.Do(t.Context(), "acl", "setuser", u.User.Username(), "-info").Err())
	return u.String()
}

func TestResealGoesOn(t *testing.T) {
	t.Parallel()
	const n, first = 12_000, 1000
	for name, tc := range map[string]struct {
		login  func(*field) string
		anew   bool // it has to scan from the beginning
		resets bool // the server restarts in between
	}{
		"where it was":                          {login: func(f *field) string { return f.adminURL() }},
		"where it was, as the operator":         {login: func(f *field) string { return f.server.OperatorURL() }},
		"anew without INFO":                     {login: func(f *field) string { return f.withoutInfo(t) }, anew: true},
		"anew after a restart, whose hash seed": {login: func(f *field) string { return f.adminURL() }, anew: true, resets: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startField(t, n, server.Options{Persist: tc.resets})
			f = f.as(tc.login(f))
			file := filepath.Join(t.TempDir(), "state.json")
			out := f.reseal(t, interruptAfter(t, file, first), "--state", file, "--rate", "4000")
			if out.status != exitError || !strings.Contains(out.stderr, "securecache: interrupted") || !strings.Contains(out.stderr, "goes on from there") {
				t.Fatalf("status %d", out.status)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("the state: %v, %v", info, err)
			}
			if tc.resets {
				must(t, f.server.Restart(t.Context()))
			}
			out = f.reseal(t, nil, "--state", file)
			if out.status != exitOK || strings.Contains(out.stderr, "from the beginning") != tc.anew {
				t.Fatalf("status %d", out.status)
			}
			if more := out.tally.Scanned - n; tc.anew != (more >= first) {
				t.Errorf("%d keys scanned in both runs", out.tally.Scanned)
			}
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the state of a run that is complete: %v", err)
			}
			f.underPrimary(t, n, f.admin)
		})
	}
}

func TestResealSurvivesARestart(t *testing.T) {
	t.Parallel()
	const n = 6000
	f := startField(t, n, server.Options{Persist: true})
	f = f.as(f.adminURL())
	file := filepath.Join(t.TempDir(), "state.json")
	restart := func(*os.Process) {
		must(t, waitFor(t.Context(), file, 500))
		must(t, f.server.Kill())
		must(t, f.server.Restart(t.Context()))
	}
	out := f.reseal(t, restart, "--state", file, "--rate", "2000", "--timeout", "1s")
	if out.status != exitOK || !strings.Contains(out.stderr, "from the beginning") {
		t.Fatalf("status %d", out.status)
	}
	f.underPrimary(t, n, f.admin)
}

// waitFor waits until a state says that so many keys were scanned.
func waitFor(ctx context.Context, file string, scanned int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var s resealState
		if text, err := os.ReadFile(file); err == nil && json.Unmarshal(text, &s) == nil && s.Tally.Scanned >= scanned {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func TestResealHoldsItsRate(t *testing.T) {
	t.Parallel()
	const n, rate = 3000, 2000
	f := startField(t, n, server.Options{})
	began := time.Now()
	out := f.as(f.server.OperatorURL()).reseal(t, nil, "--rate", fmt.Sprint(rate))
	// The first tenth of a second's worth goes out at once.
	if least := time.Second * (n - rate/10) / rate; out.status != exitOK || time.Since(began) < least {
		t.Errorf("status %d after %s, want %s at least", out.status, time.Since(began), least)
	}
	f.underPrimary(t, n, f.admin)
}

// startClusterField is startField on a cluster.
func startClusterField(t *testing.T, n int) (*field, *server.Cluster) {
	t.Helper()
	c, err := server.StartCluster(t.Context(), server.Options{Namespace: "test"})
	switch {
	case errors.Is(err, server.ErrNotInstalled) && os.Getenv("CI") != "true", errors.Is(err, server.ErrLacking):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	f := &field{rig: &rig{server: c.Nodes()[0]}, file: filepath.Join(t.TempDir(), "keyring.json")}
	f.prepare(t, n, c.URL(), f.rig.environ(filepath.Dir(f.file)))
	return f, c
}

// masters returns an admin's clients of a cluster's masters.
func masters(t *testing.T, c *server.Cluster) []*redis.Client {
	t.Helper()
	admin := redis.NewClusterClient(c.AdminOptions())
	t.Cleanup(func() { _ = admin.Close() })
	var mu sync.Mutex
	var list []*redis.Client
	must(t, admin.ForEachMaster(t.Context(), func(_ context.Context, rdb *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, rdb)
		return nil
	}))
	if len(list) != 3 {
		t.Fatalf("%d masters", len(list))
	}
	return list
}

func TestResealOnACluster(t *testing.T) {
	t.Parallel()
	const n = 3000
	f, c := startClusterField(t, n)
	out := f.as(f.adminURL()+"?cluster=true").reseal(t, nil)
	if out.status != exitOK || out.tally.Resealed != n {
		t.Fatalf("status %d, %+v", out.status, out.tally.tally)
	}
	f.underPrimary(t, n, masters(t, c)...)
}

// TestResealThroughATakeover kills a master in the middle: its replica is
// scanned in its place, and the exit status says that slots have moved.
func TestResealThroughATakeover(t *testing.T) {
	if os.Getenv("SECURECACHE_LONG") == "" {
		t.Skip("takes half a minute: SECURECACHE_LONG=1, or make test-all, runs it")
	}
	t.Parallel()
	const n = 6000
	f, c := startClusterField(t, n)
	f = f.as(f.adminURL() + "?cluster=true")
	file := filepath.Join(t.TempDir(), "state.json")
	kill := func(*os.Process) {
		must(t, waitFor(t.Context(), file, 500))
		victim := c.Nodes()[1]
		must(t, victim.Kill())
		must(t, c.AwaitTakeover(t.Context(), victim))
	}
	out := f.reseal(t, kill, "--state", file, "--rate", "500", "--timeout", "2s")
	if out.status != exitNotNow || !strings.Contains(out.stderr, "slots moved") {
		t.Fatalf("status %d", out.status)
	}
	if out.tally.Resealed < n*9/10 {
		t.Errorf("%+v", out.tally.tally)
	}
	if out = f.reseal(t, nil, "--state", file); out.status != exitOK || out.tally.Scanned < n*9/10 {
		t.Fatalf("status %d once more", out.status)
	}
	f.underPrimary(t, n*9/10, masters(t, c)...) // replication may have lost the latest
}
