package audit

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// onSentinel are the checks that mean something on a Sentinel, which has users,
// connections and TLS, but no data and no CONFIG. Some take other sources there
// (nil: their own), since they can tell without the settings, or from INFO.
var onSentinel = map[string][]source{
	"N1": nil, "N2": {fromUsers}, "N3": {fromInfo, fromAddresses}, "N4": {fromInfo, fromPorts}, "N5": nil, "N6": nil,
	"A1": nil, "A2": nil, "A3": {fromUsers}, "A4": nil, "A5": nil, "A7": nil, "A8": nil,
	"A10": nil, "A11": nil, "A12": nil, "A13": nil,
	"T1": nil, "T2": nil, "T3": nil, "T4": nil, "T5": nil, "T6": nil, "T7": nil, "T8": nil,
	"T9": nil, "T10": nil, "T11": {fromUsers}, "T12": nil, "T13": nil,
	"S5": nil, "S6": nil, "S8": nil, "S11": nil,
}

func inSentinelFile(l string) string {
	return "stop the Sentinel, put this into its configuration file, start it: " + l
}

// underSentinels adds to a master and the replicas that follow it those that do
// not, and the Sentinels that watch them: those that the options name and those
// that these know of. The same one by two addresses is told by its ID, where the
// login may ask for it.
func underSentinels(ctx context.Context, nodes []*redis.Options, f *redis.FailoverOptions) []*redis.Options {
	addrs, seen, others, replicas := slices.Clone(f.SentinelAddrs), map[string]bool{}, map[string]string{}, map[string]string{}
	for _, v := range views(ctx, f) {
		seen[v.id] = true
		maps.Copy(others, v.sentinels)
		maps.Copy(replicas, v.replicas)
	}
	for _, addr := range slices.Sorted(maps.Values(replicas)) {
		if !slices.ContainsFunc(nodes, func(at *redis.Options) bool { return at.Addr == addr }) {
			at := own(nodes[0])
			at.Addr = addr
			nodes = append(nodes, at)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(others)) {
		if !seen[id] && !slices.Contains(addrs, others[id]) {
			addrs = append(addrs, others[id])
		}
	}
	for _, addr := range addrs {
		nodes = append(nodes, sentinelAt(f, addr))
	}
	return nodes
}

func sentinelAt(f *redis.FailoverOptions, addr string) *redis.Options {
	return own(&redis.Options{
		Addr: addr, Username: f.SentinelUsername, Password: f.SentinelPassword, TLSConfig: f.TLSConfig,
		DialTimeout: f.DialTimeout, ReadTimeout: f.ReadTimeout, WriteTimeout: f.WriteTimeout,
	})
}

// view is what a Sentinel says: its ID, and the addresses of the others by
// theirs and of the replicas by their names.
type view struct {
	id                  string
	sentinels, replicas map[string]string
}

// views asks all that the options name side by side. What one does not say, or
// that it does not answer, is for the audit of it to report.
func views(ctx context.Context, f *redis.FailoverOptions) []view {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	list := make([]view, len(f.SentinelAddrs))
	var wg sync.WaitGroup
	for i, addr := range f.SentinelAddrs {
		wg.Go(func() {
			rdb := redis.NewClient(sentinelAt(f, addr))
			defer rdb.Close()
			list[i].id, _ = rdb.Do(ctx, "SENTINEL", "MYID").Text()
			list[i].sentinels = acquainted(rdb.Do(ctx, "SENTINEL", "SENTINELS", f.MasterName), "runid")
			list[i].replicas = acquainted(rdb.Do(ctx, "SENTINEL", "REPLICAS", f.MasterName), "name")
		})
	}
	wg.Wait()
	return list
}

func acquainted(cmd *redis.Cmd, by string) map[string]string {
	list, _ := cmd.Slice()
	addrs := map[string]string{}
	for _, entry := range list {
		fields, _ := entry.([]any)
		one := flatten(fields)
		addrs[one[by]] = net.JoinHostPort(one["ip"], one["port"])
	}
	return addrs
}

// sentinel reports whether the node watches over others, and holds no data.
func (n *node) sentinel() bool { return n.role() == "sentinel" }

// plaintextSentinel is of one that has answered without TLS. Where it tells of a
// TLS port as well, N4 has it.
func plaintextSentinel(n *node) []finding {
	if port := n.config["tls-port"]; port != "" && port != "0" {
		return nil
	}
	f := finding{evidence: "the Sentinel answers without TLS, and tells of no TLS port"}
	for _, l := range []string{"port 0", "tls-port 26379", "tls-cert-file PATH", "tls-key-file PATH", "tls-ca-cert-file PATH", "tls-auth-clients yes", "tls-replication yes"} {
		f.remedy = append(f.remedy, inSentinelFile(l))
	}
	return []finding{f}
}
