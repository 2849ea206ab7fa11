package securecache_test

import (
	"encoding/json"
	"io"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// reader is a child process that reads what it is told to.
type reader struct {
	in  io.WriteCloser
	out *json.Decoder
	end func() error
}

// newReader starts one, its clock so far ahead of the true one.
func newReader(t *testing.T, env *securecachetest.Env, path string, ahead time.Duration) *reader {
	t.Helper()
	a := assignment{URL: env.Server.URL(), Namespace: env.Namespace, Files: env.Files, Keyring: path, Ahead: ahead}
	cmd := a.command(t, "read")
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	endAfter(t, cmd)
	return &reader{in, json.NewDecoder(out), cmd.Wait}
}

// reads wants the reader to report so many of each outcome for list.
func (r *reader) reads(t *testing.T, who string, list []string, want map[string]int) {
	t.Helper()
	ok(t, json.NewEncoder(r.in).Encode(list))
	var became map[string]int
	ok(t, r.out.Decode(&became))
	if !maps.Equal(became, want) {
		t.Errorf("%s: %v, want %v", who, became, want)
	}
}

func (r *reader) ends(t *testing.T) {
	t.Helper()
	ok(t, r.in.Close())
	ok(t, r.end())
}

// written stores so many values and returns their names.
func (p process) written(t *testing.T, when string, many int) (list []string) {
	t.Helper()
	for i := range many {
		list = append(list, when+" "+strconv.Itoa(i))
		set(t, p.Cache, list[i], "v", 24*time.Hour)
	}
	return list
}

// TestDestroyedKeyIsRefusedInEveryProcess destroys a key whose records three
// other processes read.
func TestDestroyedKeyIsRefusedInEveryProcess(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t)
	path, now := newKeyringFile(t, env), servertest.NewClock(time.Now())
	here, ctx := newProcess(t, env, path, now.Now), t.Context()
	old := here.written(t, "old", 10)
	ring, err := here.keyring.Ring()
	ok(t, err)
	key := ring.Primary(now.Now()).ID()
	_, err = here.keyring.Rotate(ctx)
	ok(t, err)
	const ahead = time.Hour // the new key seals
	now.Advance(ahead)
	young := here.written(t, "young", 10)
	var readers []*reader
	for range 3 {
		readers = append(readers, newReader(t, env, path, ahead))
	}
	for _, r := range readers {
		r.reads(t, "before", old, map[string]int{"opened": len(old)})
	}
	ok(t, here.keyring.Destroy(ctx, key, true))
	for _, r := range readers {
		r.reads(t, "what it sealed", old, map[string]int{codec.ReasonDestroyedKey.String(): len(old)})
		r.reads(t, "what its successor sealed", young, map[string]int{"opened": len(young)})
		r.ends(t)
	}
}

// TestRevokeAllReachesEveryProcess revokes what was sealed under the first key,
// under its successor, and after another was announced.
func TestRevokeAllReachesEveryProcess(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t)
	path, now := newKeyringFile(t, env), servertest.NewClock(time.Now())
	here, ctx := newProcess(t, env, path, now.Now), t.Context()
	older := here.written(t, "under the first key", 20)
	_, err := here.keyring.Rotate(ctx)
	ok(t, err)
	older = append(older, here.written(t, "since a successor was announced", 20)...)
	const ahead = time.Hour
	now.Advance(ahead)
	older = append(older, here.written(t, "under the successor", 20)...)
	_, err = here.keyring.Rotate(ctx)
	ok(t, err)
	older = append(older, here.written(t, "since the next was announced", 20)...)
	if n := len(sealedUnder(t, env, here.Cache, older)); n != 2 {
		t.Fatalf("sealed under %d keys, want 2", n)
	}
	readers := map[string]*reader{
		"right": newReader(t, env, path, ahead),
		"fast":  newReader(t, env, path, ahead+10*time.Minute),
		"slow":  newReader(t, env, path, ahead-10*time.Minute),
	}
	for who, r := range readers {
		r.reads(t, who+", before", older, map[string]int{"opened": len(older)})
	}
	_, err = here.keyring.RevokeAll(ctx)
	ok(t, err)
	since := here.written(t, "since", 20)
	for who, r := range readers {
		r.reads(t, who+", older", older, map[string]int{codec.ReasonDestroyedKey.String(): len(older)})
		r.reads(t, who+", since", since, map[string]int{"opened": len(since)})
		r.ends(t)
	}
}

// sealedUnder counts the records of names by the keys they are sealed under.
func sealedUnder(t *testing.T, env *securecachetest.Env, c *securecache.Cache, list []string) map[keys.ID]int {
	t.Helper()
	sealed := map[keys.ID]int{}
	for _, name := range list {
		record, err := env.Admin.Get(t.Context(), keyOf(t, c, name)).Bytes()
		ok(t, err)
		h, err := codec.ParseHeader(record)
		ok(t, err)
		sealed[h.KeyID]++
	}
	return sealed
}
