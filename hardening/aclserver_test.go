package hardening_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

const key = "sc:ns:v:{blind}"

// works has a call of every command that the profile can list. Where a command
// needs something to be there, the calls before it make it.
func works(sha string) [][]any {
	return [][]any{
		{"PING"}, {"HELLO", "3"}, {"CLIENT", "SETNAME", "app"}, {"CLIENT", "SETINFO", "lib-name", "test"},
		{"COMMAND"}, {"TIME"}, {"SET", key, "value", "PX", "60000"}, {"GET", key}, {"GETRANGE", key, "0", "59"}, {"MGET", key},
		{"EXISTS", key}, {"PTTL", key}, {"PEXPIRE", key, "1000"}, {"PEXPIREAT", key, "4102444800000"}, {"GETDEL", key}, {"DEL", key}, {"UNLINK", key},
		{"SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"}, {"SCRIPT", "EXISTS", sha}, {"EVALSHA", sha, "1", key},
		{"PUBLISH", "sc:ns:l:{blind}", "x"}, {"CLUSTER", "SLOTS"}, {"ASKING"}, {"READONLY"}, {"SCAN", "0"}, {"INFO", "server"},
		{"HSET", key, "field", "1"}, {"HGET", key, "field"}, {"HINCRBY", key, "field", "1"}, {"HLEN", key},
		{"HSCAN", key, "0"}, {"HRANDFIELD", key, "2", "WITHVALUES"}, {"HDEL", key, "field"},
		{"ZADD", key, "1", "member"}, {"ZRANGE", key, "0", "0", "WITHSCORES"}, {"ZSCORE", key, "member"}, {"ZCARD", key},
		{"ZCOUNT", key, "-inf", "+inf"}, {"ZRANGEBYSCORE", key, "-inf", "+inf"}, {"ZREM", key, "member"}, {"ZREMRANGEBYSCORE", key, "-inf", "1"},
		{"SUBSCRIBE", "sc:ns:l:{blind}"}, {"UNSUBSCRIBE"}, {"AUTH", "app", ""},
	}
}

// forbidden are the commands that would undo what the profile promises.
var forbidden = [][]any{
	{"EVAL", "return 1", "0"}, {"EVAL_RO", "return 1", "0"}, {"SCAN", "0"}, {"KEYS", "*"}, {"RANDOMKEY"}, {"DBSIZE"},
	{"CONFIG", "GET", "*"}, {"CONFIG", "SET", "maxmemory", "1"}, {"FLUSHALL"}, {"FLUSHDB"}, {"MONITOR"}, {"DEBUG", "SLEEP", "0"},
	{"ACL", "WHOAMI"}, {"ACL", "LIST"}, {"ACL", "SETUSER", "app", "+@all"}, {"SCRIPT", "FLUSH"}, {"SCRIPT", "KILL"},
	{"FUNCTION", "LIST"}, {"FUNCTION", "LOAD", "#!lua name=x\n"}, {"FCALL", "f", "0"}, {"SAVE"}, {"BGSAVE"}, {"SHUTDOWN"},
	{"REPLICAOF", "NO", "ONE"}, {"DUMP", key}, {"RESTORE", key, "0", "x"}, {"MIGRATE", "h", "1", key, "0", "1"}, {"CLIENT", "LIST"},
	{"CLIENT", "KILL", "127.0.0.1:1"}, {"INFO"}, {"SELECT", "1"}, {"SWAPDB", "0", "1"}, {"MODULE", "LIST"}, {"SLOWLOG", "GET"},
	{"PERSIST", key}, {"RENAME", key, key}, {"COPY", key, key}, {"OBJECT", "ENCODING", key}, {"SORT", key}, {"PSUBSCRIBE", "*"},
	{"GET", "sc:other:v:x"}, {"SET", "sc:other:v:x", "1"}, {"DEL", "other"}, {"MGET", key, "sc:other:v:x"}, {"EVALSHA", "0", "1", "sc:other:v:x"},
	{"PUBLISH", "sc:other:l:x", "1"}, {"SUBSCRIBE", "__keyevent@0__:expired"}, {"SUBSCRIBE", "sc:other:l:x"},
}

func TestACLOnServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		// DEBUG is switched on so that it is the ACL that has to refuse it.
		s := servertest.Start(t, server.Options{Binary: binary, Namespace: "ns", Config: []string{"enable-debug-command local"}})
		admin := connect(t, s.AdminOptions())
		t.Run("every command it lists works", func(t *testing.T) { allWork(t, s, admin) })
		app := connect(t, s.Options())
		for _, args := range forbidden {
			t.Run(strings.ReplaceAll(strings.TrimSpace(sprint(args)), "\n", ""), func(t *testing.T) {
				refused(t, app, args)
			})
		}
		t.Run("nothing else", func(t *testing.T) { nothingElse(t, s, admin) })
		t.Run("scripts have the caller's rights", func(t *testing.T) { scriptsAreBound(t, app) })
		t.Run("operator", func(t *testing.T) {
			operator := connect(t, s.OperatorOptions())
			if err := operator.Scan(t.Context(), 0, "*", 10).Err(); err != nil {
				t.Error(err)
			}
			refused(t, operator, []any{"KEYS", "*"})
		})
	})
}

// allWork logs in as a user with all that a profile can grant, and calls every
// command of its line.
func allWork(t *testing.T, s *server.Server, admin *redis.Client) {
	const password = "a password for this test"
	sum := sha256.Sum256([]byte(password))
	line, err := hardening.ACL(hardening.Profile{
		User: "all", PasswordSHA256: hex.EncodeToString(sum[:]), Namespace: "ns", Version: s.Version(), Cluster: true, Scan: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	setUser(t, admin, line)
	o := s.Options()
	o.Username, o.Password, o.PoolSize = "all", password, 1
	rdb := connect(t, o)
	sha, err := rdb.ScriptLoad(t.Context(), "return redis.call('GET', KEYS[1])").Result()
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, w := range strings.Fields(line) {
		if name, ok := strings.CutPrefix(w, "+"); ok {
			left[name] = true
		}
	}
	for _, args := range works(sha) {
		name := granted(left, args)
		if name == "" {
			if args[1] == "SETINFO" { // left out for servers before 7.2
				continue
			}
			t.Errorf("the profile does not list %v", args)
			continue
		}
		delete(left, name)
		if name == "auth" {
			args[2] = password
			args[1] = "all"
		}
		if err := rdb.Do(t.Context(), args...).Err(); err != nil && !tolerated(err) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if len(left) > 0 {
		t.Errorf("listed and never called: %v", left)
	}
}

// granted returns the word of the ACL line that a call needs.
func granted(list map[string]bool, args []any) string {
	name := strings.ToLower(args[0].(string))
	if list[name] {
		return name
	}
	if len(args) > 1 {
		if full := name + "|" + strings.ToLower(args[1].(string)); list[full] {
			return full
		}
	}
	return ""
}

// tolerated are the answers of a command that was let through: nothing is
// there, or the server is no cluster.
func tolerated(err error) bool {
	return err == redis.Nil || err.Error() == "ERR This instance has cluster support disabled"
}

func setUser(t *testing.T, admin *redis.Client, line string) {
	t.Helper()
	args := []any{"ACL", "SETUSER"}
	for _, w := range strings.Fields(line)[1:] {
		args = append(args, w)
	}
	if err := admin.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
}

// refused wants NOPERM, over a connection of its own: a subscription that
// went through would spoil another's.
func refused(t *testing.T, rdb *redis.Client, args []any) {
	t.Helper()
	conn := rdb.Conn()
	defer conn.Close()
	err := conn.Do(t.Context(), args...).Err()
	if err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
		t.Errorf("%v: %v, want NOPERM", args, err)
	}
}

// nothingElse asks the server about every command and subcommand that it has.
func nothingElse(t *testing.T, s *server.Server, admin *redis.Client) {
	acl, err := os.ReadFile(s.Dir() + "/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(acl)) {
		if strings.HasPrefix(line, "user app ") {
			list = strings.Fields(line)
		}
	}
	commands, err := admin.Do(t.Context(), "COMMAND").Slice()
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, c := range commands {
		asked += dryRun(t, admin, list, c.([]any))
	}
	if asked < 200 {
		t.Errorf("only %d commands were asked about", asked)
	}
}

// dryRun asks about one command, or about its subcommands, and returns how
// many that were.
func dryRun(t *testing.T, admin *redis.Client, granted []string, entry []any) (asked int) {
	t.Helper()
	name, arity := entry[0].(string), int(entry[1].(int64))
	if subs, ok := entry[9].([]any); ok && len(subs) > 0 {
		for _, sub := range subs {
			asked += dryRun(t, admin, granted, sub.([]any))
		}
		return asked
	}
	container, _, _ := strings.Cut(name, "|")
	if name == "quit" || name == "reset" { // of one's own connection, and beyond the ACL's reach
		return 0
	}
	if slices.Contains(granted, "+"+name) || slices.Contains(granted, "+"+container) {
		return 0
	}
	args := []any{"ACL", "DRYRUN", "app"}
	for part := range strings.SplitSeq(name, "|") {
		args = append(args, part)
	}
	for len(args)-3 < max(arity, -arity) {
		args = append(args, "1")
	}
	got, err := admin.Do(t.Context(), args...).Text()
	if err != nil || !strings.Contains(got, "no permissions to run") {
		t.Errorf("%s: %q, %v", name, got, err)
	}
	return 1
}

func scriptsAreBound(t *testing.T, app *redis.Client) {
	for name, source := range map[string]string{
		"another tenant's key": "return redis.call('GET', 'sc:other:v:x')",
		"a withheld command":   "return redis.call('FLUSHALL')",
		"a wider channel":      "return redis.call('PUBLISH', 'sc:other:l:x', 'x')",
	} {
		sha, err := app.ScriptLoad(t.Context(), source).Result()
		if err != nil {
			t.Fatal(err)
		}
		err = app.EvalSha(t.Context(), sha, nil).Err()
		if err == nil || !strings.Contains(err.Error(), "ACL failure") && !strings.Contains(err.Error(), "The user executing the script can't") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDoorbellOnServers: a doorbell hears expired keys and reads nothing.
func TestDoorbellOnServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := servertest.Start(t, server.Options{Binary: binary, Namespace: "ns", Config: []string{"enable-debug-command local"}})
		sum := sha256.Sum256([]byte("bell"))
		line, err := hardening.ACL(hardening.Profile{
			User: "bell", PasswordSHA256: hex.EncodeToString(sum[:]), Namespace: "ns", Version: s.Version(), Doorbell: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		setUser(t, connect(t, s.AdminOptions()), line)
		o := s.Options()
		o.Username, o.Password = "bell", "bell"
		bell := connect(t, o)
		for _, args := range [][]any{
			{"SET", "sc:ns:e:{0}:bell", "", "PX", "1"}, {"EXISTS", "sc:ns:e:{0}:bell"}, {"SUBSCRIBE", "__keyevent@0__:expired"},
		} {
			conn := bell.Conn()
			if err := conn.Do(t.Context(), args...).Err(); err != nil {
				t.Errorf("%v: %v", args, err)
			}
			_ = conn.Close()
		}
		for _, args := range append([][]any{
			{"GET", "sc:ns:v:{blind}"}, {"GET", "sc:ns:e:{0}:bell"}, {"SET", "sc:ns:v:{blind}", "x"}, {"EXISTS", "sc:ns:v:{blind}"},
			{"EVALSHA", "0", "1", "sc:ns:e:{0}:bell"}, {"PUBLISH", "__keyevent@0__:expired", "x"}, {"SUBSCRIBE", "sc:ns:e:{00}:wake"},
			{"SUBSCRIBE", "__keyevent@0__:del"}, {"PSUBSCRIBE", "__keyevent@0__:*"}, {"SCRIPT", "LOAD", "return 1"},
		}, forbidden...) {
			if args[0] != "SUBSCRIBE" || args[1] != "__keyevent@0__:expired" {
				refused(t, bell, args)
			}
		}
	})
}

func TestStrictProfileOnServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := servertest.Start(t, server.Options{Binary: binary, Namespace: "ns", NoScriptLoad: true})
		app := connect(t, s.Options())
		refused(t, app, []any{"SCRIPT", "LOAD", "return 1"})
		sha, err := connect(t, s.OperatorOptions()).ScriptLoad(t.Context(), "return redis.call('SET', KEYS[1], 'x')").Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := app.EvalSha(t.Context(), sha, []string{key}).Err(); err != nil {
			t.Error(err)
		}
	})
}

func connect(t *testing.T, o *redis.Options) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	return rdb
}

func sprint(args []any) string {
	var words []string
	for _, a := range args {
		words = append(words, a.(string))
	}
	return strings.Join(words, " ")
}

func TestFuzzSeedsAreThere(t *testing.T) {
	for _, name := range []string{"plain", "second-line", "wide-pattern"} {
		if _, err := os.Stat("testdata/fuzz/FuzzACL/" + name); err != nil {
			t.Error(err)
		}
	}
}
