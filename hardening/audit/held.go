package audit

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// held returns why a fix is not to be made over this connection: it would cut
// the connection off, or others that the server lives by, or cannot be undone.
func (n *node) held(words []string) string {
	if n.sentinel() {
		return "clients and the other Sentinels may log in as this user: see that they have another (sentinel-user, sentinel-pass), type it on one Sentinel after the other, then ACL SAVE"
	}
	if user := userOf(words); user != "" {
		return n.heldUser(user)
	}
	if words[0] == "FUNCTION" {
		return "what is deleted cannot be brought back: type it, or name the library as expected"
	}
	switch name, value := setting(words); name {
	case "bind":
		return n.heldBind(strings.Fields(value))
	case "port":
		return n.heldPort()
	case "protected-mode":
		if from := hostOf(n.self["addr"]); !n.local() && !isLoopback(from) {
			return "this comes from another machine, and protected mode would shut it out"
		}
	case "tls-auth-clients":
		if c := n.at.TLSConfig; c != nil && len(c.Certificates) == 0 && c.GetClientCertificate == nil {
			return "this came without a client certificate, and would be shut out: give one"
		}
	case "tls-replication":
		if n.info["role"] == "slave" {
			return "the replica would speak TLS to port " + n.info["master_port"] + " of its master: change it together with REPLICAOF, to the master's tls-port"
		}
	case "tls-cluster":
		return "nodes that speak TLS do not hear those that do not: put it into every node's configuration file and restart them together"
	}
	return ""
}

func (n *node) heldUser(user string) string {
	if user == n.whoami || n.whoami == "" {
		return "this is logged in as " + user + " itself: log in as another administrator"
	}
	for _, c := range n.clients {
		if c["user"] == user && strings.Contains(c["flags"], "S") {
			return "a replica is logged in as " + user + ": give it a user of its own with masteruser and masterauth"
		}
	}
	return ""
}

// heldBind minds that the caller's own address stays.
func (n *node) heldBind(kept []string) string {
	own := hostOf(n.self["laddr"])
	switch {
	case n.local(), slices.Contains(kept, own), slices.Contains(kept, "-"+own):
		return ""
	case own == "":
		return "by which address this came cannot be seen; it takes +client|info"
	}
	return "this came by " + own + ", which would be closed"
}

// heldPort minds what came by the plaintext port.
func (n *node) heldPort() string {
	if n.at.TLSConfig == nil && !n.local() {
		return "this came by the plaintext port: come by rediss:// and tls-port " + n.config["tls-port"]
	}
	for _, c := range n.clients {
		if _, port, _ := net.SplitHostPort(c["laddr"]); strings.Contains(c["flags"], "S") && port == n.config["port"] {
			return fmt.Sprintf("a replica at %s comes by the plaintext port: move it to TLS first", hostOf(c["addr"]))
		}
	}
	if n.config["cluster-enabled"] == "yes" && n.config["tls-cluster"] == "no" {
		return "the cluster's bus goes by the plaintext port: move it to TLS first (tls-cluster)"
	}
	return ""
}

// local reports whether the connection is a Unix socket's.
func (n *node) local() bool { return n.network() == "unix" }

func hostOf(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return host
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
