package audit

import (
	"slices"
	"strconv"
	"strings"
)

// memoryChecks look at what keeps the server up and its data in it.
var memoryChecks = []Check{
	{ID: "M1", Title: "memory is bounded", Severity: High, needs: []source{fromConfig}, look: unboundedMemory},
	{ID: "M2", Title: "what must not be lost is not evicted", Severity: High, needs: []source{fromConfig, fromKeys}, look: eviction},
	{ID: "M3", Title: "clients' output buffers are bounded", Severity: Medium, needs: []source{fromConfig}, look: outputBuffers},
	{ID: "M4", Title: "replicas take no writes", Severity: High, needs: []source{fromConfig}, look: writableReplica},
	{ID: "M5", Title: "the last snapshot and append went well", Severity: Medium, needs: []source{fromInfo}, look: failedSave},
	{ID: "M6", Title: "clients' memory is bounded as a whole", Severity: Low, needs: []source{fromConfig}, look: clientMemory},
}

// unboundedMemory proposes half of the machine's memory, which leaves room for a
// snapshot's copy, as long as that is not less than what is in use.
func unboundedMemory(n *node) []finding {
	if n.config["maxmemory"] != "0" {
		return nil
	}
	evidence := "maxmemory is 0: the server takes all there is until the system kills it"
	total, err1 := strconv.ParseUint(n.info["total_system_memory"], 10, 64)
	used, err2 := strconv.ParseUint(n.info["used_memory"], 10, 64)
	if err1 != nil || err2 != nil || used >= total/2 || total/2 < 1<<20 {
		return advise(evidence, "CONFIG SET maxmemory BYTES")
	}
	return set(evidence, "maxmemory", strconv.FormatUint(total/2>>20, 10)+"mb")
}

// lasting are the kinds of records that cannot be made anew: a denylist entry
// that is evicted un-revokes, a lock frees, a schedule forgets.
var lasting = []string{"d", "o", "l", "q", "e", "x"}

func eviction(n *node) []finding {
	policy, kinds := n.config["maxmemory-policy"], n.sample.kinds
	precious := slices.ContainsFunc(lasting, func(k string) bool { return kinds[k] > 0 })
	switch {
	case policy != "noeviction" && precious:
		return set("maxmemory-policy is "+policy+" where tokens, locks or schedules live", "maxmemory-policy", "noeviction")
	case policy != "noeviction" && n.sample.seen == 0:
		return unsure("maxmemory-policy is " + policy + ", and there are no keys to tell what lives here")
	case policy == "noeviction" && len(kinds) == 1 && kinds["v"] > 0:
		f := set("maxmemory-policy is noeviction where only values live: a full cache refuses writes", "maxmemory-policy", "allkeys-lru")
		f[0].severity = Low
		return f
	}
	return nil
}

func outputBuffers(n *node) []finding {
	limits := strings.Fields(n.config["client-output-buffer-limit"])
	var open []string
	for i := 0; i+3 < len(limits); i += 4 {
		if limits[i+1] == "0" && limits[i+2] == "0" {
			open = append(open, limits[i])
		}
	}
	if open == nil {
		return nil
	}
	var lines []string
	for _, class := range open {
		lines = append(lines, class+" 256mb 64mb 60")
	}
	return set("client-output-buffer-limit bounds nothing for "+strings.Join(open, ", "), "client-output-buffer-limit", strings.Join(lines, " "))
}

func writableReplica(n *node) []finding {
	if n.config["replica-read-only"] != "no" {
		return nil
	}
	return set("replica-read-only is no", "replica-read-only", "yes")
}

func failedSave(n *node) []finding {
	var failed []string
	for _, name := range []string{"rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status"} {
		if value := n.info[name]; value != "" && value != "ok" {
			failed = append(failed, name+" is "+value)
		}
	}
	if failed == nil {
		return nil
	}
	return advise(strings.Join(failed, ", "), "look at the server's log and the space on its disk; then: BGSAVE")
}

func clientMemory(n *node) []finding {
	switch value, known := n.config["maxmemory-clients"]; {
	case !known:
		return skip("this server has no maxmemory-clients")
	case value != "0":
		return nil
	}
	if mended, yes := clientEviction.touches(n.server, n.version); yes && !n.origin().mends(clientEvictionID) {
		return advise("maxmemory-clients is 0, and what bounds it may crash this version ("+clientEvictionID+")",
			"update to "+mended+" or later, then: CONFIG SET maxmemory-clients 5%")
	}
	return set("maxmemory-clients is 0", "maxmemory-clients", "5%")
}
