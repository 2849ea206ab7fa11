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
	// Role says what the user is for.
	Role Role
	// User is the login name; "" means the role's name.
	User string
	// PasswordSHA256 is the SHA-256 of the password, in 64 lower-case hex
	// digits: the form in which the server keeps it. The hash has no salt, so
	// the password should be random and long.
	PasswordSHA256 string
	// Prefix and Namespace bound the keys and channels that the user may touch
	// to <prefix>:<namespace>:*; Prefix "" means "sc". Backup and Monitor touch
	// neither, and both mean nothing to them.
	Prefix, Namespace string
	// Version is the server's, as INFO's redis_version or valkey_version gives
	// it ("7.0.15"). One unknown word makes a server refuse the whole line, so
	// what Version does not prove to be known is left out; "" stands for the
	// oldest supported server, 6.2.
	Version string
	// Cluster adds what a cluster client needs to find the slots.
	Cluster bool
	// NoScriptLoad is the strict profile of an App: SCRIPT LOAD with EVALSHA lets
	// a stolen credential run any Lua, within the user's keys and commands.
	// Without it an operator loads the scripts beforehand.
	NoScriptLoad bool
	// Commands are further commands, in ACL notation without the plus
	// ("incrby", "object|freq"), for the application's own scripts: a script
	// runs with the rights of who calls it. Those that would undo the profile
	// are refused.
	Commands []string
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
// An application's user reads and writes records by name, runs loaded scripts,
// and can neither list keys, nor run EVAL, nor see or change the server; see
// [Role] for the others. Database 0 only: SELECT is granted to none.
func ACL(p Profile) (string, error) {
	p = p.withDefaults()
	major, minor, err := p.validate()
	if err != nil {
		return "", err
	}
	words := []string{"user", p.User, "reset", "on", "#" + p.PasswordSHA256}
	words = append(words, p.scope()...)
	words = append(words, "-@all")
	for _, c := range p.commands(major, minor) {
		words = append(words, "+"+c)
	}
	return strings.Join(words, " "), nil
}

func (p Profile) withDefaults() Profile {
	if p.User == "" {
		p.User = p.Role.String()
	}
	if p.Prefix == "" {
		p.Prefix = "sc"
	}
	if p.Version == "" {
		p.Version = "6.2"
	}
	return p
}

// scope are the words that bound keys and channels.
func (p Profile) scope() []string {
	inner := p.Prefix + ":" + p.Namespace + ":"
	switch {
	case p.Role.keyless():
		return []string{"resetkeys", "resetchannels"}
	case p.Role == Doorbell:
		return []string{"~" + inner + "e:{*}:bell", "resetchannels", "&__keyevent@0__:expired"}
	}
	return []string{"~" + inner + "*", "resetchannels", "&" + inner + "*"}
}

func (p Profile) commands(major, minor int) []string {
	list := slices.Concat(opening, granted[p.Role])
	if p.Cluster {
		list = append(list, clustered[p.Role]...)
	}
	if p.Role == App && !p.NoScriptLoad {
		list = append(list, "script|load")
	}
	list = slices.DeleteFunc(list, func(c string) bool { return !knownTo(c, major, minor) })
	return append(list, p.Commands...)
}

// validate refuses what could smuggle a second rule into the line, and returns
// the server's version.
func (p Profile) validate() (major, minor int, err error) {
	switch {
	case p.Role < App || p.Role > Doorbell:
		return 0, 0, errors.New("hardening: there is no such role")
	case !userForm.MatchString(p.User):
		return 0, 0, errors.New("hardening: the user name must be 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit")
	case p.User == "default":
		return 0, 0, errors.New("hardening: the default user is for switching off; give the application a name of its own")
	case !hashForm.MatchString(p.PasswordSHA256):
		return 0, 0, errors.New("hardening: the password hash must be a SHA-256 in 64 lower-case hex digits (printf %s \"$PASSWORD\" | sha256sum)")
	case p.Role.keyless():
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
