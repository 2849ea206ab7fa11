package audit

import (
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// user is a line of ACL LIST.
type user struct {
	name       string
	on, nopass bool
	hashes     []string // SHA-256 in hex; never in a report
	patterns   []string // keys and channels, with their sigils
	rules      []string // commands and categories, in their order
}

// parseUser reads "user NAME WORD...". What stands in parentheses is a selector:
// a second set of rules, any of which may allow. They are taken together,
// which can only show a user as stronger than it is.
func parseUser(line string) user {
	words := strings.Fields(strings.NewReplacer("(", " ", ")", " ").Replace(line))
	if len(words) < 2 {
		return user{}
	}
	u := user{name: words[1]}
	for _, w := range words[2:] {
		switch {
		case w == "on":
			u.on = true
		case w == "nopass":
			u.nopass = true
		case w[0] == '#':
			u.hashes = append(u.hashes, w[1:])
		case w[0] == '~', w[0] == '&', w[0] == '%':
			u.patterns = append(u.patterns, w)
		case w[0] == '+', w[0] == '-':
			u.rules = append(u.rules, w)
		}
	}
	return u
}

func (u user) allKeys() bool {
	return slices.ContainsFunc(u.patterns, func(p string) bool { return p[0] != '&' && strings.HasSuffix(p, "~*") })
}

func (u user) allChannels() bool { return slices.Contains(u.patterns, "&*") }

func (u user) all() bool { return slices.Contains(u.rules, "+@all") }

// allows reports whether the rules, in their order, end in leave to run a
// command that belongs to the categories.
func (u user) allows(command string, categories ...string) (yes bool) {
	parent, _, _ := strings.Cut(command, "|")
	for _, rule := range u.rules {
		what := rule[1:]
		category, is := strings.CutPrefix(what, "@")
		if what == command || what == parent || is && (category == "all" || slices.Contains(categories, category)) {
			yes = rule[0] == '+'
		}
	}
	return yes
}

// defaultUser returns the default user; every server has one.
func (n *node) defaultUser() user {
	for _, u := range n.users {
		if u.name == "default" {
			return u
		}
	}
	return user{}
}

// applications are the users that can log in and are neither the default one
// nor named as an administrator.
func (n *node) applications() (list []user) {
	for _, u := range n.users {
		if u.on && u.name != "default" && !slices.Contains(n.options.Admins, u.name) {
			list = append(list, u)
		}
	}
	return list
}

// power is a command that no application should be able to send.
type power struct {
	name       string
	words      []string // a call of it, for ACL DRYRUN
	categories []string // for servers without that
	sentinel   bool     // a Sentinel's, and of no other server
}

var adminOnly = []string{"admin", "slow", "dangerous"}

var powers = []power{
	{name: "eval", words: []string{"EVAL", "return 1", "0"}, categories: []string{"slow", "scripting"}},
	{name: "evalsha", words: []string{"EVALSHA", "x", "0"}, categories: []string{"slow", "scripting"}},
	{name: "script|load", words: []string{"SCRIPT", "LOAD", "return 1"}, categories: []string{"slow", "scripting"}},
	{name: "script|flush", words: []string{"SCRIPT", "FLUSH"}, categories: []string{"slow", "scripting"}},
	{name: "function|load", words: []string{"FUNCTION", "LOAD", "x"}, categories: []string{"write", "slow", "scripting"}},
	{name: "config|set", words: []string{"CONFIG", "SET", "x", "y"}, categories: adminOnly},
	{name: "restore", words: []string{"RESTORE", "x", "0", "y"}, categories: []string{"keyspace", "write", "slow", "dangerous"}},
	{name: "scan", words: []string{"SCAN", "0"}, categories: []string{"keyspace", "read", "slow"}},
	{name: "monitor", words: []string{"MONITOR"}, categories: adminOnly},
	{name: "replicaof", words: []string{"REPLICAOF", "NO", "ONE"}, categories: adminOnly},
	{name: "sentinel|set", words: []string{"SENTINEL", "SET", "x", "y", "z"}, categories: adminOnly, sentinel: true},
	{name: "sentinel|monitor", words: []string{"SENTINEL", "MONITOR", "x", "127.0.0.1", "1", "1"}, categories: adminOnly, sentinel: true},
	{name: "sentinel|remove", words: []string{"SENTINEL", "REMOVE", "x"}, categories: adminOnly, sentinel: true},
	{name: "sentinel|reset", words: []string{"SENTINEL", "RESET", "x"}, categories: adminOnly, sentinel: true},
	{name: "sentinel|failover", words: []string{"SENTINEL", "FAILOVER", "x"}, categories: adminOnly, sentinel: true},
	{name: "sentinel|config", words: []string{"SENTINEL", "CONFIG", "SET", "x", "y"}, categories: adminOnly, sentinel: true},
	// What says hello on this channel names the master, and is believed.
	{name: "publish", words: []string{"PUBLISH", "__sentinel__:hello", "x"}, categories: []string{"pubsub", "fast"}, sentinel: true},
}

// dryRun finds what each user may do. The server itself is asked where it knows
// ACL DRYRUN (7.0) and the caller may; otherwise the rules are read.
func (n *node) dryRun() {
	n.may = map[string][]string{}
	if _, missing := n.missing[fromUsers]; missing {
		return
	}
	ours := slices.DeleteFunc(slices.Clone(powers), func(p power) bool { return p.sentinel != n.sentinel() })
	var cmds []redis.Cmder
	asked := map[string][]*redis.Cmd{}
	for _, u := range n.applications() {
		for _, p := range ours {
			cmd := redis.NewCmd(n.ctx, append([]any{"ACL", "DRYRUN", u.name}, every(p.words)...)...)
			asked[u.name], cmds = append(asked[u.name], cmd), append(cmds, cmd)
		}
	}
	n.send(cmds)
	for _, u := range n.applications() {
		for i, p := range ours {
			allowed := u.allows(p.name, p.categories...)
			if text, err := asked[u.name][i].Text(); err == nil {
				// Keys are looked at after the command was let through.
				allowed = text == "OK" || strings.Contains(text, " key")
			}
			if allowed {
				n.may[u.name] = append(n.may[u.name], p.name)
			}
		}
	}
}
