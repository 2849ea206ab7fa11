package audit

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

const notTold = "a Sentinel does not tell its settings: look into its configuration file"

// onSentinel are the checks that mean something on a Sentinel, which has users,
// connections and TLS, but no data and no CONFIG. Those with sources of their
// own can tell there without the settings, or from what INFO has of them.
var onSentinel = map[string][]source{
	"N1": nil, "N2": {fromUsers}, "N3": {fromInfo, fromAddresses}, "N4": {fromInfo, fromPorts}, "N5": nil, "N6": nil,
	"A1": nil, "A2": nil, "A3": {fromUsers}, "A4": nil, "A5": nil, "A7": nil, "A8": nil,
	"A10": nil, "A11": nil, "A12": nil, "A13": nil,
	"T1": nil, "T2": nil, "T3": nil, "T4": nil, "T5": nil, "T6": nil, "T7": nil, "T8": nil,
	"T9": nil, "T10": nil, "T11": {fromUsers}, "T12": nil, "T13": {fromCertificate, fromInfo},
	"S5": nil, "S6": nil, "S8": {fromInfo}, "S11": nil,
}

func inSentinelFile(l string) string {
	return "stop the Sentinel, put this into its configuration file, start it: " + l
}

// sentinels returns how to reach those that the options name and those that
// these know of. The same one by two addresses is told by its ID, where the
// login may ask for it.
func sentinels(ctx context.Context, f *redis.FailoverOptions) []*redis.Options {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addrs, seen, others := slices.Clone(f.SentinelAddrs), map[string]bool{}, map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, addr := range addrs {
		wg.Go(func() {
			id, known := acquainted(ctx, f, addr)
			mu.Lock()
			defer mu.Unlock()
			seen[id] = true
			maps.Copy(others, known)
		})
	}
	wg.Wait()
	for _, id := range slices.Sorted(maps.Keys(others)) {
		if !seen[id] && !slices.Contains(addrs, others[id]) {
			addrs = append(addrs, others[id])
		}
	}
	list := make([]*redis.Options, len(addrs))
	for i, addr := range addrs {
		list[i] = sentinelAt(f, addr)
	}
	return list
}

func sentinelAt(f *redis.FailoverOptions, addr string) *redis.Options {
	return own(&redis.Options{
		Addr: addr, Username: f.SentinelUsername, Password: f.SentinelPassword, TLSConfig: f.TLSConfig,
		DialTimeout: f.DialTimeout, ReadTimeout: f.ReadTimeout, WriteTimeout: f.WriteTimeout,
	})
}

// acquainted returns a Sentinel's ID, and the addresses of the others by
// theirs. One that does not answer is for the audit of it to report.
func acquainted(ctx context.Context, f *redis.FailoverOptions, addr string) (id string, others map[string]string) {
	rdb := redis.NewClient(sentinelAt(f, addr))
	defer rdb.Close()
	id, _ = rdb.Do(ctx, "SENTINEL", "MYID").Text()
	list, _ := rdb.Do(ctx, "SENTINEL", "SENTINELS", f.MasterName).Slice()
	others = map[string]string{}
	for _, entry := range list {
		fields, _ := entry.([]any)
		one := flatten(fields)
		others[one["runid"]] = net.JoinHostPort(one["ip"], one["port"])
	}
	return id, others
}

// sentinel reports whether the node watches over others, and holds no data.
func (n *node) sentinel() bool { return n.role() == "sentinel" }

// listening fills in what a Sentinel tells of its settings, which it does not
// have CONFIG for: in INFO, the addresses and ports from Redis 7.2 and Valkey on,
// before that one port, which is the plaintext one where there is one.
func (n *node) listening() {
	n.missing[fromConfig] = gap{why: notTold}
	if n.info == nil {
		return
	}
	n.config = map[string]string{"port": "0", "tls-port": "0"}
	var bound []string
	for name, value := range n.info {
		if strings.HasPrefix(name, "listener") {
			bound = append(bound, n.listener(value)...)
		}
	}
	if bound != nil {
		n.config["bind"] = strings.Join(bound, " ")
		return
	}
	n.missing[fromAddresses] = gap{why: notTold}
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
