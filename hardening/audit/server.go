package audit

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// serverChecks look at the program and its switches.
var serverChecks = []Check{
	{ID: "S1", Title: "DEBUG is locked", Severity: High, needs: []source{fromConfig}, look: locked("enable-debug-command")},
	{ID: "S2", Title: "MODULE is locked", Severity: High, needs: []source{fromConfig}, look: locked("enable-module-command")},
	{ID: "S3", Title: "protected settings are locked", Severity: High, needs: []source{fromConfig}, look: locked("enable-protected-configs")},
	{ID: "S4", Title: "no module is loaded but those expected", Severity: Medium, needs: []source{fromModules}, look: unexpectedModules},
	{ID: "S5", Title: "no known weakness is in this version", Severity: Critical, look: weaknesses},
	{ID: "S6", Title: "this version's branch is maintained", Severity: High, look: branchEnded},
	{ID: "S7", Title: "scripts are confined (CVE-2022-0543)", Severity: Critical, needs: []source{fromScript}, look: openSandbox},
	{ID: "S9", Title: "no function is loaded but those expected", Severity: Medium, needs: []source{fromLibraries}, look: unexpectedLibraries},
	{ID: "S10", Title: "user data stays out of the log", Severity: Medium, needs: []source{fromConfig}, look: loggedData},
	{ID: "S11", Title: "nobody listens in and no unknown replica takes everything", Severity: High, needs: []source{fromClients}, look: listeners},
	{ID: "S12", Title: "no keyspace events are sent", Severity: Low, needs: []source{fromConfig}, look: keyspaceEvents},
	{ID: "S13", Title: "nothing is written to disk", Severity: Info, needs: []source{fromConfig}, look: written},
}

func locked(name string) func(*node) []finding {
	return func(n *node) []finding {
		switch value, known := n.config[name]; {
		case !known:
			return skip("this server has no " + name)
		case value != "no":
			return line(name+" is "+value, name+" no")
		}
		return nil
	}
}

// builtIn are the modules that Redis 8 comes with.
var builtIn = []string{"bf", "search", "ReJSON", "timeseries", "vectorset"}

func unexpectedModules(n *node) (list []finding) {
	for _, m := range n.modules {
		if slices.Contains(n.options.Expected, m) || n.server == "redis" && atLeast(n.version, "8.0.0") && slices.Contains(builtIn, m) {
			continue
		}
		list = append(list, finding{subject: m, evidence: "module " + m + " is loaded",
			remedy: []string{inFile("take out the line loadmodule of " + m), "or name it as expected"}})
	}
	return list
}

func unexpectedLibraries(n *node) (list []finding) {
	for _, l := range n.libraries {
		if !slices.Contains(n.options.Expected, l) {
			list = append(list, finding{subject: l, evidence: "function library " + l + " is loaded",
				fix: [][]string{{"FUNCTION", "DELETE", l}}, remedy: []string{"or name it as expected"}})
		}
	}
	return list
}

func openSandbox(n *node) []finding {
	if n.dangerous == "nil" {
		return nil
	}
	return advise("a script sees the table 'package', by which it loads libraries of the machine", "install the distribution's update: apt-get install --only-upgrade redis-server")
}

func loggedData(n *node) []finding {
	switch value, known := n.config["hide-user-data-from-log"]; {
	case !known:
		return skip("this server has no hide-user-data-from-log")
	case value == "no":
		return set("hide-user-data-from-log is no: a crash report holds arguments", "hide-user-data-from-log", "yes")
	}
	return nil
}

func listeners(n *node) (list []finding) {
	for _, c := range n.clients {
		host, _, _ := net.SplitHostPort(c["addr"])
		switch {
		case strings.Contains(c["flags"], "O"):
			list = append(list, finding{subject: c["addr"], evidence: fmt.Sprintf("%s, as user %s, is listening to every command (MONITOR)", c["addr"], c["user"]),
				remedy: []string{"CLIENT KILL ID " + c["id"] + "; then find out who it was"}})
		case strings.Contains(c["flags"], "S") && n.config["cluster-enabled"] != "yes" && !slices.Contains(n.options.Expected, host):
			list = append(list, finding{subject: host, evidence: fmt.Sprintf("a replica at %s, as user %s, takes everything", host, c["user"]),
				remedy: []string{"name its host as expected; or CLIENT KILL ID " + c["id"] + ", and change that user's password"}})
		}
	}
	return list
}

func keyspaceEvents(n *node) []finding {
	value := n.config["notify-keyspace-events"]
	if value == "" {
		return nil
	}
	return set("notify-keyspace-events is "+value+": who may subscribe learns key names; waive this for the doorbell of expiry", "notify-keyspace-events", "")
}

func written(n *node) []finding {
	var how []string
	if n.config["save"] != "" {
		how = append(how, "snapshots (save)")
	}
	if n.config["appendonly"] == "yes" {
		how = append(how, "append-only file")
	}
	if how == nil {
		return nil
	}
	return bad("written to disk: " + strings.Join(how, ", ") + "; sealed where P1 holds")
}
