package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

// source is where a check's knowledge comes from: a command, and what it takes
// to be allowed to send it.
type source string

const (
	fromInfo      source = "INFO"
	fromConfig    source = "CONFIG GET"
	fromUsers     source = "ACL LIST"
	fromDenials   source = "ACL LOG"
	fromClients   source = "CLIENT LIST"
	fromModules   source = "MODULE LIST"
	fromLibraries source = "FUNCTION LIST"
	fromCommands  source = "COMMAND INFO"
	fromScript    source = "EVAL"
	fromKeys      source = "SCAN"

	// These are what INFO of a Sentinel tells of where it listens.
	fromAddresses source = "the addresses in INFO"
	fromPorts     source = "the ports in INFO"

	// These are connections of the audit's own.
	fromAnonymous   source = "a connection without credentials"
	fromBare        source = "a connection without a client certificate"
	fromOldTLS      source = "an offer of TLS 1.0 and 1.1"
	fromWeakTLS     source = "an offer of weak suites"
	fromCertificate source = "the server's certificate"
)

func (s source) command() string { return string(s) }

// grant is the ACL word that gives the source; the keys' sample reads a little
// of each of them too.
func (s source) grant() string {
	switch s {
	case fromCommands:
		return "+command"
	case fromKeys:
		return "+scan +pttl +getrange +hrandfield"
	}
	name, sub, two := strings.Cut(strings.ToLower(string(s)), " ")
	if two {
		return "+" + name + "|" + sub
	}
	return "+" + name
}

// gap is why a source has nothing.
type gap struct {
	why            string
	denied, absent bool
}

// node is a server with all that the checks may look at, gathered once.
type node struct {
	ctx     context.Context // of one audit, which a node does not outlive
	addr    string
	at      *redis.Options
	options *Options
	rdb     *redis.Client

	missing         map[source]gap
	server, version string
	mode            string // standalone, cluster or sentinel
	whoami          string
	self            map[string]string // this connection, as CLIENT INFO shows it
	info, config    map[string]string
	users           []user
	denials         map[string]int // by reason
	clients         []map[string]string
	modules         []string
	libraries       []string
	renamed         []string
	dangerous       string // Lua's type of the package table
	may             map[string][]string
	sample          sample
	dials           dials
	program         *origin // nil until a check asks
}

// gather asks for everything. An error means that there is no server to audit.
func (n *node) gather() error {
	n.missing = map[source]gap{}
	n.rdb = redis.NewClient(n.at)
	defer n.rdb.Close()
	if err := n.rdb.Ping(n.ctx).Err(); err != nil {
		return fmt.Errorf("no answer to PING: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(n.connect)
	n.ask()
	n.dryRun()
	if !n.sentinel() {
		n.takeSample()
	}
	wg.Wait()
	for from, why := range n.dials.failed {
		n.missing[from] = gap{why: why}
	}
	return nil
}

// ask sends all commands in one go and sorts the replies.
func (n *node) ask() {
	var cmds []redis.Cmder
	do := func(words ...any) *redis.Cmd {
		cmd := redis.NewCmd(n.ctx, words...)
		cmds = append(cmds, cmd)
		return cmd
	}
	hello := do("HELLO")
	whoami, self := do("ACL", "WHOAMI"), do("CLIENT", "INFO")
	info, config := do("INFO"), do("CONFIG", "GET", "*")
	users, denials := do("ACL", "LIST"), do("ACL", "LOG", "20")
	clients, modules, libraries := do("CLIENT", "LIST"), do("MODULE", "LIST"), do("FUNCTION", "LIST")
	commands := do(append([]any{"COMMAND", "INFO"}, every(watchedCommands)...)...)
	script := do("EVAL", "return type(rawget(_G, 'package'))", 0)
	n.send(cmds)

	if text, err := whoami.Text(); err == nil {
		n.whoami = text
	}
	if text, err := self.Text(); err == nil {
		n.self = pairs(strings.TrimSpace(text), " ", "=")
	}
	if n.has(fromInfo, info) {
		text, _ := info.Text()
		n.info = pairs(text, "\r\n", ":")
	}
	if n.has(fromConfig, config) {
		n.config = redact(flat(config))
	}
	if n.has(fromUsers, users) {
		for _, l := range texts(users) {
			n.users = append(n.users, parseUser(l))
		}
	}
	if n.has(fromDenials, denials) {
		n.denials = countDenials(denials)
	}
	if n.has(fromClients, clients) {
		text, _ := clients.Text()
		for l := range strings.Lines(text) {
			n.clients = append(n.clients, pairs(strings.TrimSpace(l), " ", "="))
		}
	}
	if n.has(fromModules, modules) {
		n.modules = named(modules, "name")
	}
	if n.has(fromLibraries, libraries) {
		n.libraries = named(libraries, "library_name")
	}
	if n.has(fromCommands, commands) {
		n.renamed = withoutEntry(commands)
	}
	if n.has(fromScript, script) {
		n.dangerous, _ = script.Text()
	}
	n.identify(flat(hello))
	if n.sentinel() {
		n.settle()
	}
}

// send runs commands in one go. Each then carries its own error, also where the
// server let nobody in to answer it.
func (n *node) send(cmds []redis.Cmder) {
	for i, err := range lua.Pipeline(n.ctx, n.rdb, cmds) {
		cmds[i].SetErr(err)
	}
}

func every(words []string) (list []any) {
	for _, w := range words {
		list = append(list, w)
	}
	return list
}

// has reports whether a command was answered, and notes why not.
func (n *node) has(s source, cmd *redis.Cmd) bool {
	err := cmd.Err()
	switch {
	case err == nil:
		if s == fromConfig && len(flat(cmd)) == 0 {
			n.missing[s] = gap{why: "CONFIG GET shows nothing here"}
			return false
		}
		return true
	case redis.HasErrorPrefix(err, "NOPERM"), redis.HasErrorPrefix(err, "ERR The user executing the script can't run this"):
		n.missing[s] = gap{why: s.command() + " was refused", denied: true}
	case strings.HasPrefix(err.Error(), "ERR unknown command"), strings.HasPrefix(strings.ToLower(err.Error()), "err unknown subcommand"):
		n.missing[s] = gap{why: s.command() + " is not known to the server; it may be renamed", absent: s == fromLibraries}
	default:
		n.missing[s] = gap{why: s.command() + " was not answered: " + firstWord(err)}
	}
	return false
}

// firstWord is the kind of an error: what follows it may quote the server's data.
func firstWord(err error) string {
	if reply, ok := errors.AsType[redis.Error](err); ok {
		err = reply // without what go-redis says of where it came
	}
	word, _, _ := strings.Cut(err.Error(), " ")
	return word
}

// identify finds the server's name, version and mode, from INFO or, without the
// right to it, from what everybody is told in the greeting.
func (n *node) identify(hello map[string]string) {
	n.server, n.version, n.mode = hello["server"], hello["version"], hello["mode"]
	switch {
	case n.info["valkey_version"] != "":
		n.server, n.version = "valkey", n.info["valkey_version"]
	case n.info["redis_version"] != "":
		n.server, n.version = "redis", n.info["redis_version"]
	}
}

func (n *node) role() string {
	if n.mode == "sentinel" || n.info["redis_mode"] == "sentinel" || n.info["server_mode"] == "sentinel" {
		return "sentinel"
	}
	return n.info["role"]
}

// secret are settings whose value is one.
var secret = []string{"requirepass", "masterauth", "primaryauth", "tls-key-file-pass", "tls-client-key-file-pass"}

const redacted = "(set)"

// redact keeps no more of a secret than that there is one.
func redact(config map[string]string) map[string]string {
	for _, name := range secret {
		if config[name] != "" {
			config[name] = redacted
		}
	}
	return config
}

// pairs reads a text of separated names and values, as INFO and CLIENT LIST
// write it.
func pairs(text, between, within string) map[string]string {
	m := map[string]string{}
	for part := range strings.SplitSeq(text, between) {
		if name, value, ok := strings.Cut(part, within); ok {
			m[strings.TrimSpace(name)] = strings.TrimRight(value, "\r\n")
		}
	}
	return m
}

// flat reads an array of names and values in turn.
func flat(cmd *redis.Cmd) map[string]string {
	list, _ := cmd.Slice()
	return flatten(list)
}

func flatten(list []any) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		m[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return m
}

func texts(cmd *redis.Cmd) []string {
	list, _ := cmd.StringSlice()
	return list
}

// named returns one field of each entry of a list.
func named(cmd *redis.Cmd, field string) (names []string) {
	list, _ := cmd.Slice()
	for _, entry := range list {
		fields, _ := entry.([]any)
		names = append(names, flatten(fields)[field])
	}
	slices.Sort(names)
	return names
}

func countDenials(cmd *redis.Cmd) map[string]int {
	counts := map[string]int{}
	for _, reason := range named(cmd, "reason") {
		counts[reason]++
	}
	return counts
}

// watchedCommands are those whose renaming hides what an audit relies on.
var watchedCommands = []string{"acl", "auth", "client", "config", "debug", "eval", "evalsha", "flushall", "info", "keys", "replicaof", "scan", "script", "shutdown"}

// withoutEntry returns the watched commands that COMMAND INFO does not know.
func withoutEntry(cmd *redis.Cmd) (names []string) {
	list, _ := cmd.Slice()
	for i, entry := range list {
		if entry == nil && i < len(watchedCommands) {
			names = append(names, watchedCommands[i])
		}
	}
	return names
}
