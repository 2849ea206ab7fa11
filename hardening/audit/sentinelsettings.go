package audit

import (
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
)

const notTold = "a Sentinel does not tell its settings: look into its configuration file, or audit it with a look at its machine"

// settle fills in what can be seen of a Sentinel's settings, which it does not
// have CONFIG for: in INFO, the addresses and ports from Redis 7.2 and Valkey on,
// before that one port, which is the plaintext one where there is one; and all of
// them in its file, where that may be looked at.
func (n *node) settle() {
	n.missing[fromConfig] = gap{why: notTold}
	if n.info == nil {
		return
	}
	n.config = map[string]string{"port": "0", "tls-port": "0"}
	if !n.listening() {
		n.missing[fromAddresses] = gap{why: notTold}
		n.onePort()
	}
	if !n.options.Host || n.elsewhere() != "" {
		return
	}
	settings, err := readSettings(n.path("config_file"))
	if err != nil {
		n.missing[fromConfig] = gap{why: "the Sentinel's configuration file cannot be read: " + cause(err) + "; run it as the Sentinel's user or root"}
		return
	}
	if settings["acl-pubsub-default"] == "" && !atLeast(n.version, "7.0.0") {
		settings["acl-pubsub-default"] = "allchannels"
	}
	if _, missing := n.missing[fromAddresses]; !missing { // INFO has what is so, the file what was asked for
		maps.Copy(settings, n.config)
	}
	n.config = redact(settings)
	for _, s := range []source{fromConfig, fromAddresses, fromPorts} {
		delete(n.missing, s)
	}
}

// listening takes what INFO tells, and reports whether it does.
func (n *node) listening() bool {
	var bound []string
	for _, name := range slices.Sorted(maps.Keys(n.info)) {
		if strings.HasPrefix(name, "listener") {
			bound = append(bound, n.listener(n.info[name])...)
		}
	}
	if bound != nil {
		n.config["bind"] = strings.Join(bound, " ")
	}
	return bound != nil
}

// listener notes the port of "name=tls,bind=127.0.0.1,bind=::1,port=26379" and
// returns its addresses.
func (n *node) listener(text string) (bound []string) {
	name := map[string]string{"tcp": "port", "tls": "tls-port"}[pairs(text, ",", "=")["name"]]
	if name == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		switch field, value, _ := strings.Cut(part, "="); field {
		case "bind":
			bound = append(bound, value)
		case "port":
			n.config[name] = value
		}
	}
	return bound
}

// onePort compares the port that INFO has with that by which this came.
func (n *node) onePort() {
	_, came, _ := net.SplitHostPort(n.self["laddr"])
	switch told := n.info["tcp_port"]; {
	case n.at.TLSConfig == nil || came == "":
		n.missing[fromPorts] = gap{why: notTold}
	case told != came:
		n.config["port"], n.config["tls-port"] = told, came
	default:
		n.config["tls-port"] = came
	}
}

// unsaid is what a Sentinel takes where its file has no line.
var unsaid = map[string]string{
	"bind": "* -::*", "port": "26379", "tls-port": "0", "protected-mode": "no", "timeout": "0", "maxclients": "10000",
	"tls-replication": "no", "tls-auth-clients-user": "off",
}

// readSettings reads the file of a Sentinel, which keeps it as it runs itself. No
// more of it is ever shown than the names and values that checks are about.
func readSettings(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // which might not end
		return nil, errors.New("it is no file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	settings := maps.Clone(unsaid)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name = strings.ToLower(name); name {
		case "", "#", "user", "sentinel":
		default:
			settings[name] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return settings, nil
}
