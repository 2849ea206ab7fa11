package hardening_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

const key = "sc:ns:v:{blind}"

// works has a call of every command that a profile can list, on the key and the
// channel of its own. Where a command needs something to be there, the calls
// before it make it. What turns the connection into another thing comes last.
func works(key, channel, sha string) [][]any {
	return [][]any{
		{"PING"}, {"HELLO", "3"}, {"CLIENT", "SETNAME", "app"}, {"CLIENT", "SETINFO", "lib-name", "test"},
		{"COMMAND"}, {"TIME"}, {"SET", key, "value", "PX", "60000"}, {"GET", key}, {"GETRANGE", key, "0", "59"},
		{"EXISTS", key}, {"PTTL", key}, {"PEXPIRE", key, "1000"}, {"PEXPIREAT", key, "4102444800000"}, {"DEL", key}, {"UNLINK", key},
		{"SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"}, {"EVALSHA", sha, "1", key},
		{"PUBLISH", channel, "x"}, {"CLUSTER", "SLOTS"}, {"CLUSTER", "INFO"}, {"ASKING"}, {"READONLY"}, {"SCAN", "0"}, {"INFO", "server"},
		{"HSET", key, "field", "1"}, {"HGET", key, "field"}, {"HINCRBY", key, "field", "1"}, {"HLEN", key},
		{"HSCAN", key, "0"}, {"HRANDFIELD", key, "2", "WITHVALUES"}, {"HDEL", key, "field"},
		{"ZADD", key, "1", "member"}, {"ZRANGE", key, "0", "0", "WITHSCORES"}, {"ZSCORE", key, "member"}, {"ZCARD", key},
		{"ZCOUNT", key, "-inf", "+inf"}, {"ZRANGEBYSCORE", key, "-inf", "+inf"}, {"ZREM", key, "member"}, {"ZREMRANGEBYSCORE", key, "-inf", "1"},
		{"DBSIZE"}, {"LASTSAVE"}, {"ROLE"}, {"ACL", "WHOAMI"}, {"LATENCY", "LATEST"}, {"LATENCY", "HISTOGRAM"}, {"MEMORY", "STATS"}, {"SLOWLOG", "LEN"},
		{"BGSAVE"}, {"REPLCONF", "listening-port", "1"}, {"AUTH", "", ""}, {"SUBSCRIBE", channel}, {"UNSUBSCRIBE"},
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
	{"MGET", key}, {"GETDEL", key}, {"SLOWLOG", "RESET"}, {"LATENCY", "RESET"}, {"MEMORY", "USAGE", key}, {"ACL", "LOG"}, {"ACL", "GETUSER", "admin"},
	{"CLUSTER", "RESET"}, {"SCRIPT", "EXISTS", "0"}, {"SUBSCRIBE", "*"},
	{"GET", "sc:other:v:x"}, {"SET", "sc:other:v:x", "1"}, {"DEL", "other"}, {"MGET", key, "sc:other:v:x"}, {"EVALSHA", "0", "1", "sc:other:v:x"},
	{"PUBLISH", "sc:other:l:x", "1"}, {"SUBSCRIBE", "__keyevent@0__:expired"}, {"SUBSCRIBE", "sc:other:l:x"},
}

var roles = []hardening.Role{hardening.App, hardening.Operator, hardening.Backup, hardening.Monitor, hardening.Doorbell}

func TestACLOnServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		// DEBUG is switched on so that it is the ACL that has to refuse it.
		s := servertest.Start(t, server.Options{Binary: binary, Namespace: "ns", Config: []string{"enable-debug-command local"}})
		admin := connect(t, s.AdminOptions())
		for _, role := range roles {
			t.Run(role.String(), func(t *testing.T) {
				rdb, list := logIn(t, s, admin, hardening.Profile{Role: role, Cluster: true})
				t.Run("every command it lists works", func(t *testing.T) { allWork(t, rdb, role, maps.Clone(list)) })
				for _, args := range forbidden {
					if granted(list, args) == "" || strings.Contains(sprint(args), "other") {
						t.Run(strings.ReplaceAll(strings.TrimSpace(sprint(args)), "\n", ""), func(t *testing.T) {
							refused(t, rdb, args)
						})
					}
				}
				t.Run("nothing else", func(t *testing.T) { nothingElse(t, admin, rdb.Options().Username, list) })
			})
		}
		t.Run("scripts have the caller's rights", func(t *testing.T) { scriptsAreBound(t, connect(t, s.Options())) })
	})
}

const password = "a password for this test"

// logIn gives the server a user of its own for the profile, and returns a client
// logged in as it, and the commands that its line lists.
func logIn(t *testing.T, s *server.Server, admin *redis.Client, p hardening.Profile) (rdb *redis.Client, list map[string]bool) {
	t.Helper()
	sum := sha256.Sum256([]byte(password))
	p.User, p.PasswordSHA256, p.Namespace, p.Version = "test-"+p.Role.String(), hex.EncodeToString(sum[:]), "ns", s.Version()
	line, err := hardening.ACL(p)
	if err != nil {
		t.Fatal(err)
	}
	setUser(t, admin, line)
	list = map[string]bool{}
	for _, w := range strings.Fields(line) {
		if name, ok := strings.CutPrefix(w, "+"); ok {
			list[name] = true
		}
	}
	o := s.Options()
	o.Username, o.Password, o.PoolSize = p.User, password, 1
	return connect(t, o), list
}

// allWork calls every command of a profile.
func allWork(t *testing.T, rdb *redis.Client, role hardening.Role, left map[string]bool) {
	key, channel := key, "sc:ns:l:{blind}"
	if role == hardening.Doorbell {
		key, channel = "sc:ns:e:{0}:bell", "__keyevent@0__:expired"
	}
	sha := strings.Repeat("0", 40)
	if left["script|load"] {
		var err error
		if sha, err = rdb.ScriptLoad(t.Context(), "return redis.call('GET', KEYS[1])").Result(); err != nil {
			t.Fatal(err)
		}
	}
	conn := rdb.Conn()
	defer conn.Close()
	for _, args := range works(key, channel, sha) {
		name := granted(left, args)
		if name == "" {
			continue
		}
		delete(left, name)
		if name == "auth" {
			args = []any{"AUTH", rdb.Options().Username, password}
		}
		if err := conn.Do(t.Context(), args...).Err(); err != nil && !tolerated(err) {
			t.Errorf("%v: %v", args, err)
		}
	}
	delete(left, "sync") // these make a replica of the connection: TestBackupOnServers
	delete(left, "psync")
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
func nothingElse(t *testing.T, admin *redis.Client, user string, list map[string]bool) {
	commands, err := admin.Do(t.Context(), "COMMAND").Slice()
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, c := range commands {
		asked += dryRun(t, admin, user, list, c.([]any))
	}
	if asked < 200 {
		t.Errorf("only %d commands were asked about", asked)
	}
}

// dryRun asks about one command, or about its subcommands, and returns how
// many that were.
func dryRun(t *testing.T, admin *redis.Client, user string, list map[string]bool, entry []any) (asked int) {
	t.Helper()
	name, arity := entry[0].(string), int(entry[1].(int64))
	if subs, ok := entry[9].([]any); ok && len(subs) > 0 {
		for _, sub := range subs {
			asked += dryRun(t, admin, user, list, sub.([]any))
		}
		return asked
	}
	if name == "quit" || name == "reset" { // of one's own connection, and beyond the ACL's reach
		return 0
	}
	if container, _, _ := strings.Cut(name, "|"); list[name] || list[container] || name == "auth" || name == "hello" {
		return 0
	}
	args := []any{"ACL", "DRYRUN", user}
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

// TestDoorbellOnServers: a doorbell hears expired keys, and touches no key but
// its own.
func TestDoorbellOnServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := servertest.Start(t, server.Options{Binary: binary, Namespace: "ns"})
		bell, _ := logIn(t, s, connect(t, s.AdminOptions()), hardening.Profile{Role: hardening.Doorbell})
		for _, args := range [][]any{
			{"GET", "sc:ns:v:{blind}"}, {"GET", "sc:ns:e:{0}:bell"}, {"SET", "sc:ns:v:{blind}", "x"}, {"EXISTS", "sc:ns:v:{blind}"},
			{"EVALSHA", "0", "1", "sc:ns:e:{0}:bell"}, {"PUBLISH", "__keyevent@0__:expired", "x"}, {"SUBSCRIBE", "sc:ns:e:{00}:wake"},
			{"SUBSCRIBE", "__keyevent@0__:del"}, {"PSUBSCRIBE", "__keyevent@0__:*"}, {"SCRIPT", "LOAD", "return 1"},
		} {
			refused(t, bell, args)
		}
	})
}

// TestBackupOnServers takes a copy of the data set as redis-cli --rdb does, and
// reads no key by name.
func TestBackupOnServers(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := servertest.Start(t, server.Options{Binary: binary, Namespace: "ns"})
		admin := connect(t, s.AdminOptions())
		if err := admin.Set(t.Context(), key, "sealed", 0).Err(); err != nil {
			t.Fatal(err)
		}
		backup, _ := logIn(t, s, admin, hardening.Profile{Role: hardening.Backup})
		refused(t, backup, []any{"GET", key})
		conn, err := tls.Dial("tcp", s.Addr(), s.TLS())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		for _, step := range [][2]string{
			{fmt.Sprintf("AUTH test-backup %q", password), "+OK\r\n"}, {"REPLCONF rdb-only 1", "+OK\r\n"}, {"SYNC", "sealed"},
		} {
			if _, err := io.WriteString(conn, step[0]+"\r\n"); err != nil {
				t.Fatal(err)
			}
			var got []byte
			for buf := make([]byte, 4096); !bytes.Contains(got, []byte(step[1])); {
				n, err := conn.Read(buf)
				if got = append(got, buf[:n]...); err != nil || bytes.HasPrefix(got, []byte("-")) {
					t.Fatalf("%v after %q", err, got)
				}
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
