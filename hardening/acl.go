package hardening

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Profile says for whom [ACL] renders a user.
type Profile struct {
	// User is the login name; "" means "app".
	User string
	// PasswordSHA256 is the SHA-256 of the password, in 64 lower-case hex
	// digits: the form in which the server keeps it. The hash has no salt, so
	// the password should be random and long.
	PasswordSHA256 string
	// Prefix and Namespace bound the keys and channels that the user may touch
	// to <prefix>:<namespace>:*; Prefix "" means "sc".
	Prefix, Namespace string
	// Version is the server's, as INFO's redis_version or valkey_version gives
	// it ("7.0.15"). One unknown word makes a server refuse the whole line, so
	// what Version does not prove to be known is left out; "" stands for the
	// oldest supported server, 6.2.
	Version string
	// Cluster adds what a cluster client needs to find the slots.
	Cluster bool
	// NoScriptLoad is the strict profile: SCRIPT LOAD with EVALSHA lets a stolen
	// credential run any Lua, within the user's keys and commands. Without
	// it an operator loads the scripts beforehand.
	NoScriptLoad bool
	// Scan adds what re-sealing a namespace takes: SCAN. Key patterns do not limit
	// it: it shows the key names of every tenant of the server.
	Scan bool
	// Doorbell is the user that hears the server's events of expired keys, for the
	// package expiry, and may do nothing else but prove that they come. It hears
	// the names of every tenant's keys, so give it a login of its own. Scan and
	// NoScriptLoad mean nothing to it.
	Doorbell bool
	// Commands are further commands, in ACL notation without the plus
	// ("incrby", "object|freq"), for the application's own scripts: a script
	// runs with the rights of who calls it. Those that would undo the profile
	// are refused.
	Commands []string
}

// granted is what the cache itself sends, over go-redis.
var granted = []string{
	"hello", "auth", "ping", "client|setname", "command", "time",
	"get", "getrange", "mget", "set", "del", "unlink", "getdel", "exists", "pttl", "pexpire",
	"evalsha", "script|exists", "subscribe", "unsubscribe", "publish",
	"hdel", "hget", "hincrby", "hlen", "hrandfield", "hscan", "hset", // scheduled expiry
	"pexpireat", "zadd", "zcard", "zcount", "zrange", "zrangebyscore", "zrem", "zscore",
	"zremrangebyscore", // sessions
}

// doorbell is what the listener to keyspace events sends.
var doorbell = []string{
	"hello", "auth", "ping", "client|setname", "command", "subscribe", "unsubscribe", "set", "exists",
}

// withheld may not be granted by way of [Profile.Commands]. What stands here
// reads or changes more than one namespace's records, or runs code of its own.
var withheld = []string{
	"acl", "bgrewriteaof", "bgsave", "client", "cluster", "commandlog", "config", "dbsize", "debug", "dump", "eval", "eval_ro", "failover", "fcall",
	"fcall_ro", "flushall", "flushdb", "function", "info", "keys", "latency", "migrate", "module", "monitor", "move", "psubscribe",
	"psync", "pubsub", "randomkey", "replconf", "replicaof", "restore", "restore-asking", "role", "save", "scan", "script",
	"select", "shutdown",
	"slaveof", "slowlog", "sort", "sort_ro", "swapdb", "sync",
}

// spared are the subcommands of withheld commands that concern the caller's own
// connection, or what a cluster client must know.
var spared = []string{"client|caching", "client|id", "client|tracking", "cluster|shards"}

var (
	userForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	hashForm      = regexp.MustCompile(`^[0-9a-f]{64}$`)
	prefixForm    = regexp.MustCompile(`^[a-z0-9._-]{1,32}$`)
	namespaceForm = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)
	commandForm   = regexp.MustCompile(`^[a-z][a-z0-9_-]*(\|[a-z][a-z0-9_-]*)?$`)
	versionForm   = regexp.MustCompile(`^(\d{1,5})\.(\d{1,5})(\.\d{1,5})?([.-][0-9A-Za-z.-]*)?$`)
)

// ACL renders the least-privileged user of one namespace as one line of an ACL
// file. What follows the word "user" is also what ACL SETUSER takes, word by
// word. It starts with "reset", so that nothing granted earlier stays.
//
// The user reads and writes records by name, runs loaded scripts, and can
// neither list keys, nor run EVAL, nor see or change the server. Database 0
// only: SELECT is not granted.
func ACL(p Profile) (string, error) {
	p = p.withDefaults()
	major, minor, err := p.validate()
	if err != nil {
		return "", err
	}
	scope := p.Prefix + ":" + p.Namespace + ":*"
	keys, channels := scope, scope
	if p.Doorbell {
		keys, channels = p.Prefix+":"+p.Namespace+":e:{*}:bell", "__keyevent@0__:expired"
	}
	words := []string{"user", p.User, "reset", "on", "#" + p.PasswordSHA256, "~" + keys, "resetchannels", "&" + channels, "-@all"}
	for _, c := range p.commands(major, minor) {
		words = append(words, "+"+c)
	}
	return strings.Join(words, " "), nil
}

func (p Profile) withDefaults() Profile {
	if p.User == "" {
		p.User = "app"
	}
	if p.Prefix == "" {
		p.Prefix = "sc"
	}
	if p.Version == "" {
		p.Version = "6.2"
	}
	return p
}

func (p Profile) commands(major, minor int) []string {
	list := slices.Clone(granted)
	if p.Doorbell {
		list = slices.Clone(doorbell)
	}
	if major > 7 || major == 7 && minor >= 2 {
		list = append(list, "client|setinfo")
	}
	if p.Cluster {
		list = append(list, "cluster|slots", "asking", "readonly")
	}
	if !p.NoScriptLoad && !p.Doorbell {
		list = append(list, "script|load")
	}
	if p.Scan && !p.Doorbell {
		list = append(list, "scan", "info") // a resumed scan has to know whether it is still the same process
	}
	return append(list, p.Commands...)
}

// validate refuses what could smuggle a second rule into the line, and returns
// the server's version.
func (p Profile) validate() (major, minor int, err error) {
	switch {
	case !userForm.MatchString(p.User):
		return 0, 0, errors.New("hardening: the user name must be 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit")
	case p.User == "default":
		return 0, 0, errors.New("hardening: the default user is for switching off; give the application a name of its own")
	case !hashForm.MatchString(p.PasswordSHA256):
		return 0, 0, errors.New("hardening: the password hash must be a SHA-256 in 64 lower-case hex digits (printf %s \"$PASSWORD\" | sha256sum)")
	case !prefixForm.MatchString(p.Prefix):
		return 0, 0, errors.New("hardening: the prefix must be 1 to 32 of a-z 0-9 . _ -")
	case !namespaceForm.MatchString(p.Namespace):
		return 0, 0, errors.New("hardening: the namespace must be 1 to 64 of a-z 0-9 . _ -")
	}
	for _, c := range p.Commands {
		if err := validCommand(c); err != nil {
			return 0, 0, err
		}
	}
	return parseVersion(p.Version)
}

func validCommand(c string) error {
	if !commandForm.MatchString(c) {
		return errors.New("hardening: a command is written in lower case, without a plus, a subcommand behind a bar: incrby, object|freq")
	}
	name, _, _ := strings.Cut(c, "|")
	if slices.Contains(withheld, name) && !slices.Contains(spared, c) {
		return fmt.Errorf("hardening: %s would reach beyond the namespace and is not given to an application; use a login of its own for it", c)
	}
	return nil
}

func parseVersion(text string) (major, minor int, err error) {
	m := versionForm.FindStringSubmatch(text)
	if m == nil {
		return 0, 0, errors.New("hardening: the server version must read like 7.0.15")
	}
	// Five digits at most, by the expression: neither can fail.
	major, _ = strconv.Atoi(m[1])
	minor, _ = strconv.Atoi(m[2])
	if major < 6 || major == 6 && minor < 2 {
		return 0, 0, fmt.Errorf("hardening: server version %d.%d cannot limit channels; 6.2 is the oldest that is supported", major, minor)
	}
	return major, minor, nil
}
