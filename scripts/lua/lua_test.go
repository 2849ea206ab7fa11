package lua_test

import (
	"context"
	"crypto/fips140"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// head is the start of a record with the given expiry in Unix milliseconds: its
// header as far as scripts read it, told apart by its mark.
func head(mark byte, expires int64) string {
	b := []byte("SC\x01\x01")
	b = append(b, 0, 0, 0, 0, 0, 0)
	for shift := 40; shift >= 0; shift -= 8 {
		b = append(b, byte(expires>>shift))
	}
	return string(b) + strings.Repeat(string(mark), 44) + "ciphertext"
}

const key = "sc:test:v:{name}"

// servers runs a test on the server of the environment, and on miniredis as
// the one whose clock is the test's.
func servers(t *testing.T, run func(t *testing.T, rdb redis.UniversalClient)) {
	t.Run("server", func(t *testing.T) {
		env := securecachetest.Start(t)
		run(t, env.Client)
	})
	t.Run("miniredis", func(t *testing.T) {
		if fips140.Enforced() {
			t.Skip("miniredis needs SHA-1 for SCRIPT LOAD, which FIPS 140-only mode does not have")
		}
		mini := miniredis.RunT(t)
		rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = rdb.Close() })
		run(t, rdb)
	})
}

func in(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }

func TestReplace(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		one, two, three := head('1', in(time.Hour)), head('2', in(time.Hour)), head('3', in(time.Hour))
		for name, tc := range map[string]struct {
			there, etag, record string
			ttl                 int
			want                int64
			holds               string
			keeps               bool // the TTL that ran
		}{
			"the one that was read":    {there: one, etag: one[:60], record: two, ttl: 5000, want: 1, holds: two},
			"and the TTL kept":         {there: one, etag: one[:60], record: two, ttl: 0, want: 1, holds: two, keeps: true},
			"asked again":              {there: two, etag: one[:60], record: two, ttl: 5000, want: 2, holds: two, keeps: true},
			"another one":              {there: three, etag: one[:60], record: two, ttl: 5000, want: 0, holds: three, keeps: true},
			"nothing there":            {etag: one[:60], record: two, ttl: 5000, want: -1},
			"something shorter there":  {there: "SC", etag: one[:60], record: two, ttl: 5000, want: 0, holds: "SC", keeps: true},
			"an etag that is too long": {there: one, etag: one[:61], record: two, ttl: 5000, want: 0, holds: one, keeps: true},
		} {
			t.Run(name, func(t *testing.T) {
				ctx := t.Context()
				rdb.Del(ctx, key)
				if tc.there != "" {
					rdb.Set(ctx, key, tc.there, time.Minute)
				}
				if got := run(t, rdb, lua.Replace, tc.etag, tc.record, tc.ttl); got != tc.want {
					t.Errorf("%d, want %d", got, tc.want)
				}
				if holds, _ := rdb.Get(ctx, key).Result(); holds != tc.holds {
					t.Errorf("the server holds %q", holds)
				}
				if ttl := rdb.PTTL(ctx, key).Val(); tc.holds != "" && tc.keeps != (ttl > 5*time.Second) {
					t.Errorf("the TTL is %v", ttl)
				}
			})
		}
	})
}

func TestReplaceField(t *testing.T) {
	env := securecachetest.Start(t)
	rdb, ctx := env.Admin, t.Context()
	one, two, three := head('1', in(time.Hour)), head('2', in(time.Hour)), head('3', in(time.Hour))
	for name, tc := range map[string]struct {
		there string
		want  int64
		holds string
	}{
		"the one that was read": {one, 1, two},
		"asked again":           {two, 2, two},
		"another one":           {three, 0, three},
		"nothing there":         {"", -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rdb.Del(ctx, key)
			if tc.there != "" {
				rdb.HSet(ctx, key, "field", tc.there)
				rdb.Expire(ctx, key, time.Minute)
			}
			if got := run(t, rdb, lua.ReplaceField, "field", one[:60], two); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
			if holds := rdb.HGet(ctx, key, "field").Val(); holds != tc.holds {
				t.Errorf("the server holds %q", holds)
			}
			if ttl := rdb.PTTL(ctx, key).Val(); tc.there != "" && ttl <= 0 {
				t.Errorf("the TTL is gone: %v", ttl)
			}
		})
	}
}

func TestReplaceByOneOfMany(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		was := head('0', in(time.Hour))
		rdb.Set(t.Context(), key, was, time.Minute)
		r := lua.NewRunner(rdb, nil)
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range 32 {
			wg.Go(func() {
				reply, err := r.Run(t.Context(), lua.Replace, []string{key}, was[:60], head(byte('a'+i), in(time.Hour)), 5000)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if n, _ := reply.Int(); n == 1 {
					won++
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("%d callers replaced the same record", won)
		}
	})
}

func TestTouch(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		const hour, minute = 3_600_000, 60_000
		for name, tc := range map[string]struct {
			expires     time.Duration // 0: none
			runs        time.Duration // the TTL that runs; 0: none
			ttl         int
			shorten     int
			least, most int64
		}{
			"extends":                        {time.Hour, time.Minute, 600_000, 0, 600_000, 600_000},
			"to its end at most":             {time.Hour, time.Minute, 2 * hour, 0, hour - 5000, hour},
			"never shortens":                 {time.Hour, time.Minute, 1000, 0, minute - 5000, minute},
			"unless asked":                   {time.Hour, time.Minute, 1000, 1, 1000, 1000},
			"no TTL, but an end":             {time.Hour, 0, 2 * hour, 0, hour - 5000, hour},
			"no end":                         {0, time.Minute, 2 * hour, 0, 2 * hour, 2 * hour},
			"no end and no TTL":              {0, 0, minute, 0, -1, -1},
			"no end and no TTL, and shorter": {0, 0, minute, 1, minute, minute},
			"past its end":                   {-time.Second, time.Minute, minute, 0, -2, -2},
		} {
			t.Run(name, func(t *testing.T) {
				expires := int64(0)
				if tc.expires != 0 {
					expires = in(tc.expires)
				}
				rdb.Set(t.Context(), key, head('1', expires), tc.runs)
				got := run(t, rdb, lua.Touch, tc.ttl, tc.shorten)
				if got < tc.least || got > tc.most {
					t.Errorf("%d, want %d to %d", got, tc.least, tc.most)
				}
				if ttl := rdb.PTTL(t.Context(), key).Val().Milliseconds(); got > 0 && (ttl > got || ttl < got-5000) {
					t.Errorf("answered %d, the TTL is %d", got, ttl)
				}
			})
		}
		rdb.Set(t.Context(), key, "plaintext of somebody", time.Minute)
		if got := run(t, rdb, lua.Touch, 5000, 0); got != -3 {
			t.Errorf("no record: %d", got)
		}
		rdb.Del(t.Context(), key)
		if got := run(t, rdb, lua.Touch, 5000, 0); got != -2 {
			t.Errorf("nothing there: %d", got)
		}
	})
}

// whole are complete keys and arguments for every script, and a type that its
// keys may not all be of, or anything.
var whole = map[string]struct {
	keys  []string
	args  []any
	wrong string
}{
	"ack":             {claimKeys, []any{scheduledID}, "string"},
	"acquirelease":    {[]string{limitKey}, []any{mine, 1, 1000}, "hash"},
	"acquirelock":     {lockKeys, []any{mine, 1000, 0}, "hash"},
	"bury":            {[]string{sessionKey, subjectKey}, []any{1000}, anything},
	"claim":           {claimKeys, []any{1000, 5, 10}, "string"},
	"commit":          {[]string{sessionKey, subjectKey}, []any{head('2', 0), 1000}, "hash"},
	"consume":         {[]string{key, used}, []any{strings.Repeat("o", 16)}, "hash"},
	"create":          {[]string{sessionKey, subjectKey}, []any{head('2', 0), 1000}, "hash"},
	"deadletters":     {[]string{deadKey}, []any{"0", 10}, "string"},
	"deletescheduled": {setKeys, []any{scheduledID}, "string"},
	"destroy":         {[]string{sessionKey, subjectKey}, []any{head('1', 0)[:60]}, "hash"},
	"destroyall":      {[]string{subjectKey, sessionKey}, []any{1, 0}, "hash"},
	"dropletters":     {[]string{deadKey}, []any{scheduledID}, "string"},
	"extendlock":      {lockKeys, []any{mine, 1000}, "hash"},
	"fixedwindow":     {[]string{limitKey}, []any{1, 10, 1000}, "hash"},
	"gcra":            {[]string{limitKey}, []any{1, 10}, "hash"},
	"guardedset":      {guardedKeys, []any{7, 1, head('2', 0), 1000}, "hash"},
	"issue":           {[]string{key, used}, []any{head('2', 0), 1000}, "hash"},
	"regenerate":      {[]string{sessionKey, subjectKey, otherKey}, []any{head('1', 0)[:60], head('2', 0), 1000}, "hash"},
	"releaselease":    {[]string{limitKey}, []any{mine}, "hash"},
	"releaselock":     {lockKeys, []any{mine}, "hash"},
	"renewlease":      {[]string{limitKey}, []any{mine, 1000}, "hash"},
	"replace":         {[]string{key}, []any{head('1', 0)[:60], head('2', 0), 0}, "hash"},
	"replaceall":      {[]string{key}, []any{head('1', 0)[:60], head('2', 0)}, "hash"},
	"replacefield":    {[]string{key}, []any{"field", head('1', 0)[:60], head('2', 0)}, "string"},
	"requeue":         {[]string{dueKey, eventKey, deadKey}, []any{wakeKey, scheduledID}, "string"},
	"resetlimit":      {[]string{limitKey}, nil, anything},
	"revoke":          {[]string{key}, []any{head('2', 0), 1000}, "hash"},
	"scheduledepth":   {[]string{dueKey, triesKey, deadKey}, nil, "string"},
	"sessions":        {[]string{subjectKey, sessionKey}, nil, "hash"},
	"setscheduled":    {setKeys, []any{head('1', 0), 1000, scheduledID, head('2', 0), wakeKey, ""}, "string"},
	"slidingwindow":   {[]string{limitKey}, []any{1, 10, 1000}, "string"},
	"touch":           {[]string{key}, []any{1000, 0}, "hash"},
	"touchscheduled":  {setKeys, []any{1000, 0, scheduledID, head('2', 0), 0, "", wakeKey}, "hash"},
	"unclaim":         {[]string{dueKey, triesKey}, []any{wakeKey, scheduledID, 1}, "string"},
	"update":          {[]string{sessionKey, subjectKey}, []any{head('1', 0)[:60], head('2', 0), 1000}, "hash"},
}

// anything says that a script removes or writes over what is there, whatever it
// is.
const anything = ""

// TestScriptsRefuse gives each script too few arguments, no key, and keys of
// another type: an error, and nothing written.
func TestScriptsRefuse(t *testing.T) {
	servers(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx, r := t.Context(), lua.NewRunner(rdb, nil)
		for _, s := range lua.All() {
			call, known := whole[s.Name()]
			if !known {
				t.Fatalf("no arguments are known for %s: add them here", s.Name())
			}
			rdb.Del(ctx, call.keys...)
			rdb.Set(ctx, key, head('1', 0), time.Minute)
			if _, err := r.Run(ctx, s, call.keys); err == nil && len(call.args) > 0 {
				t.Errorf("%s: no arguments were enough", s.Name())
			}
			if holds := rdb.Get(ctx, key).Val(); holds != head('1', 0) {
				t.Errorf("%s: wrote all the same: %q", s.Name(), holds)
			}
			if _, err := r.Run(ctx, s, nil, call.args...); err == nil {
				t.Errorf("%s: no key was enough", s.Name())
			}
			rdb.Del(ctx, call.keys...)
			if call.wrong == anything {
				continue
			}
			for _, k := range call.keys {
				if call.wrong == "hash" {
					rdb.HSet(ctx, k, "field", "value")
				} else {
					rdb.Set(ctx, k, "value", 0)
				}
			}
			if _, err := r.Run(ctx, s, call.keys, call.args...); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Errorf("%s: keys of another type: %v", s.Name(), err)
			}
			for _, k := range call.keys {
				if rdb.Get(ctx, k).Val() != "value" && rdb.HGet(ctx, k, "field").Val() != "value" {
					t.Errorf("%s: wrote all the same", s.Name())
				}
			}
			rdb.Del(ctx, call.keys...)
		}
	})
}

func run(t *testing.T, rdb redis.UniversalClient, s *lua.Script, args ...any) int64 {
	t.Helper()
	reply, err := lua.NewRunner(rdb, nil).Run(t.Context(), s, []string{key}, args...)
	if err != nil {
		t.Fatal(err)
	}
	n, err := reply.Int()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDigests holds our digests to the server's.
func TestDigests(t *testing.T) {
	env := securecachetest.Start(t)
	for _, s := range lua.All() {
		sha, err := env.Client.ScriptLoad(t.Context(), s.Source()).Result()
		if err != nil || sha != s.SHA() {
			t.Errorf("%s: %s, the server says %s, %v", s.Name(), s.SHA(), sha, err)
		}
	}
}

func TestLoadingIsTriedOnce(t *testing.T) {
	env := securecachetest.Start(t)
	if env.Server.Lacks() != nil {
		t.Skip("the embedded server has no ACL that could forbid loading")
	}
	ctx := t.Context()
	r := lua.NewRunner(env.Client, nil)
	if err := r.Load(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range lua.All() {
		if there := env.Admin.ScriptExists(ctx, s.SHA()).Val(); len(there) != 1 || !there[0] {
			t.Errorf("%s is not loaded", s.Name())
		}
	}
	user := env.Client.Options().Username
	if err := env.Admin.Do(ctx, "acl", "setuser", user, "-script|load").Err(); err != nil {
		t.Fatal(err)
	}
	env.Admin.ScriptFlush(ctx)
	_, err := r.Run(ctx, lua.Touch, []string{key}, 1000, 0)
	if !errors.Is(err, lua.ErrNotLoaded) || errors.Is(err, lua.ErrOutcomeUnknown) {
		t.Errorf("a user who may not load: %v", err)
	}
	if err := env.Admin.ScriptLoad(ctx, lua.Touch.Source()).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(ctx, lua.Touch, []string{key}, 1000, 0); err != nil {
		t.Errorf("once an operator has loaded it: %v", err)
	}
}

func TestContextThatHasEnded(t *testing.T) {
	env := securecachetest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := lua.NewRunner(env.Client, nil).Run(ctx, lua.Touch, []string{key}, 1000, 0)
	if !errors.Is(err, context.Canceled) || errors.Is(err, lua.ErrOutcomeUnknown) {
		t.Errorf("never sent, and yet: %v", err)
	}
}

// TestNoConnectionIsFree has all connections of a client in use: a call that did
// not get one was not sent, and goes through once one is free.
func TestNoConnectionIsFree(t *testing.T) {
	env := securecachetest.Start(t)
	for name, tc := range map[string]struct {
		size, most int // of the pool, and of connections
		err        error
	}{
		"all in use":      {1, 0, redis.ErrPoolTimeout},
		"no more allowed": {2, 1, redis.ErrPoolExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			o := *env.Client.Options()
			o.PoolSize, o.MaxActiveConns, o.PoolTimeout = tc.size, tc.most, 10*time.Millisecond
			rdb := redis.NewClient(&o)
			t.Cleanup(func() { _ = rdb.Close() })
			held := rdb.Conn()
			if err := held.Ping(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			r := lua.NewRunner(rdb, nil)
			_, err := r.Run(t.Context(), lua.Replace, []string{key}, "", "record", 0)
			if !errors.Is(err, tc.err) || errors.Is(err, lua.ErrOutcomeUnknown) {
				t.Errorf("never sent, and yet: %v", err)
			}
			if err := held.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Run(t.Context(), lua.Touch, []string{key}, 1000, 0); err != nil {
				t.Errorf("with a connection: %v", err)
			}
		})
	}
}
