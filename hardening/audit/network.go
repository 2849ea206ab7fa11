package audit

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// networkChecks look at how the server is reached.
var networkChecks = []Check{
	{ID: "N1", Title: "no command is answered without credentials", Severity: Critical, needs: []source{fromAnonymous}, look: anonymousAccess},
	{ID: "N2", Title: "protected mode is on while the default user has no password", Severity: High, needs: []source{fromConfig, fromUsers}, look: protectedMode},
	{ID: "N3", Title: "the server listens on named addresses alone", Severity: High, needs: []source{fromConfig}, look: wildcardBind},
	{ID: "N4", Title: "no plaintext port is open beside the TLS port", Severity: High, needs: []source{fromConfig}, look: plaintextPort},
	{ID: "N5", Title: "the Unix socket is closed to other users of the machine", Severity: Medium, needs: []source{fromConfig}, look: socketMode},
	{ID: "N6", Title: "idle connections end, later than the clients let them rest", Severity: Medium, needs: []source{fromConfig}, look: idleTimeout},
}

func anonymousAccess(n *node) []finding {
	if n.dials.anonymous != "+PONG" {
		return nil
	}
	if n.dials.identity != "" && n.dials.identity != "default" && !strings.HasPrefix(n.dials.identity, "-") {
		return nil // logged in by the client certificate
	}
	return advise("PING was answered without a password",
		"give the application a user of its own (ACL SETUSER), log in as an administrator, then: ACL SETUSER default off resetpass")
}

func protectedMode(n *node) []finding {
	if d := n.defaultUser(); !d.on || !d.nopass {
		return nil
	}
	switch mode, known := n.config["protected-mode"]; {
	case !known:
		return unsure("protected-mode cannot be seen, and the default user needs no password")
	case mode != "no":
		return nil
	}
	return set("protected-mode is no and the default user needs no password", "protected-mode", "yes")
}

func wildcardBind(n *node) []finding {
	addrs := strings.Fields(n.config["bind"])
	everywhere := len(addrs) == 0 && n.config["port"]+n.config["tls-port"] != "00"
	for _, a := range addrs {
		everywhere = everywhere || slices.Contains([]string{"*", "0.0.0.0", "::"}, strings.TrimPrefix(a, "-"))
	}
	if !everywhere {
		return nil
	}
	return set("bind is "+strconv.Quote(n.config["bind"])+": every interface of the machine", "bind", n.boundTo())
}

// boundTo is a bind line that keeps the addresses at which this very audit and
// the other clients came in.
func (n *node) boundTo() string {
	addrs := []string{"127.0.0.1", "-::1"}
	for _, c := range append(slices.Clone(n.clients), n.self) {
		host, _, err := net.SplitHostPort(c["laddr"])
		if err == nil && net.ParseIP(host) != nil && host != "::1" && !slices.Contains(addrs, host) {
			addrs = append(addrs, host)
		}
	}
	return strings.Join(addrs, " ")
}

func plaintextPort(n *node) []finding {
	port, secured := n.config["port"], n.config["tls-port"]
	if port == "0" || port == "" || secured == "0" || secured == "" {
		return nil
	}
	return set("port "+port+" takes plaintext beside tls-port "+secured, "port", "0")
}

func socketMode(n *node) []finding {
	if n.config["unixsocket"] == "" {
		return skip("no Unix socket")
	}
	mode, err := strconv.ParseUint(n.config["unixsocketperm"], 8, 32)
	if err != nil || mode&0o007 == 0 {
		return nil
	}
	return line(fmt.Sprintf("unixsocketperm is %03o", mode), "unixsocketperm 770")
}

const (
	clientIdle   = 240 // seconds that this project's clients keep an idle connection
	presetIdle   = "300"
	plentyOfMany = 65535
)

func idleTimeout(n *node) (list []finding) {
	seconds, err := strconv.Atoi(n.config["timeout"])
	switch {
	case err != nil:
	case seconds == 0:
		f := set("timeout is 0: an abandoned connection stays for ever", "timeout", presetIdle)
		f[0].severity = Low
		list = append(list, f...)
	case seconds <= clientIdle:
		list = append(list, set(fmt.Sprintf("timeout is %d s, and clients rest connections for up to %d s: they find them closed", seconds, clientIdle), "timeout", presetIdle)...)
	}
	if most, err := strconv.Atoi(n.config["maxclients"]); err == nil && most > plentyOfMany {
		f := set(fmt.Sprintf("maxclients is %d: as good as none", most), "maxclients", "10000")
		f[0].severity = Low
		list = append(list, f...)
	}
	return list
}
