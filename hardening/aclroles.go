package hardening

import "slices"

// Role is what a user is for. Its zero value is [App].
type Role int

const (
	// App reads and writes the records of one namespace by name.
	App Role = iota
	// Operator is App and what re-sealing a namespace and loading its scripts
	// take. Key patterns do not limit SCAN: it shows the key names of every tenant
	// of the server.
	Operator
	// Backup copies the whole data set, as replicas and redis-cli --rdb do, or has
	// the server write it to its disk. It touches no key by name, and a copy holds
	// every tenant's.
	Backup
	// Monitor sees how the server fares, and no key, value, client or setting.
	Monitor
	// Doorbell hears the server's events of expired keys, for the package expiry,
	// and may do nothing else but prove that they come. It hears the names of
	// every tenant's keys, so give it a login of its own.
	Doorbell
)

var roleNames = []string{App: "app", Operator: "operator", Backup: "backup", Monitor: "monitor", Doorbell: "doorbell"}

// String returns the role's name, which is also the login that [ACL] renders
// unless another is given.
func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return "unknown"
	}
	return roleNames[r]
}

// keyless are the roles whose user touches no key and hears no channel.
func (r Role) keyless() bool { return r == Backup || r == Monitor }

// opening is what go-redis sends on new connections: AUTH to servers that do not
// know HELLO's, a name where the URL has one.
var opening = []string{"hello", "auth", "ping", "client|setname", "client|setinfo"}

// records are what the cache, the packages on top of it, and their scripts send.
var records = []string{
	"time", "get", "getrange", "set", "del", "unlink", "exists", "pttl", "pexpire",
	"evalsha", "subscribe", "unsubscribe", "publish",
	"hdel", "hget", "hincrby", "hlen", "hrandfield", "hscan", "hset", // scheduled expiry
	"pexpireat", "zadd", "zcard", "zcount", "zrange", "zrangebyscore", "zrem", "zscore",
	"zremrangebyscore", // sessions
}

// granted is what each role's user sends beyond the opening. A test compares
// it with what a server has counted while everything ran.
var granted = [][]string{
	App:      records,
	Operator: append(slices.Clone(records), "script|load", "scan", "info"), // info: a resumed scan has to know whether it is still the same process
	Backup:   {"replconf", "sync", "psync", "bgsave", "lastsave", "info"},
	Monitor: {
		"info", "dbsize", "lastsave", "role", "time", "acl|whoami",
		"latency|latest", "latency|histogram", "memory|stats", "slowlog|len",
	},
	Doorbell: {"subscribe", "unsubscribe", "set", "exists"},
}

// clustered is what finding the slots takes, and following one that moves.
var clustered = [][]string{
	App:      {"command", "cluster|slots", "asking", "readonly"},
	Operator: {"command", "cluster|slots", "asking", "readonly"},
	Backup:   nil, // of one node, as it is asked for
	Monitor:  {"command", "cluster|slots", "cluster|info"},
	Doorbell: {"command", "cluster|slots", "asking", "readonly"},
}

// since has the versions that first knew a subcommand. A server refuses a
// line for one word that it does not know.
var since = map[string][2]int{"client|setinfo": {7, 2}, "latency|histogram": {7, 0}}

func knownTo(command string, major, minor int) bool {
	first, ok := since[command]
	return !ok || major > first[0] || major == first[0] && minor >= first[1]
}
