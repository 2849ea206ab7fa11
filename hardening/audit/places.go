package audit

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Nodes returns how to reach each node of the server behind rdb, with rdb's
// login and TLS configuration: that of a *redis.Client; every node of a
// *redis.ClusterClient, those too of which clients are not told since they are
// down, behind, or without slots; the master of a failover client, and the
// replicas that follow it.
func Nodes(ctx context.Context, rdb redis.UniversalClient) ([]*redis.Options, error) {
	switch c := rdb.(type) {
	case *redis.Client:
		if behindSentinel(c) {
			return watched(ctx, c)
		}
		return []*redis.Options{own(c.Options())}, nil
	case *redis.ClusterClient:
		return members(ctx, c)
	}
	return nil, errors.New("audit: give a *redis.Client or a *redis.ClusterClient")
}

// behindSentinel knows a client that asks Sentinel by what go-redis shows for it.
func behindSentinel(rdb redis.UniversalClient) bool {
	c, is := rdb.(*redis.Client)
	return is && c.Options().Addr == "FailoverClient"
}

// own copies options for a connection of the audit's: deadlines kept, nothing
// repeated, and replies in the older protocol, which have one form throughout.
func own(o *redis.Options) *redis.Options {
	c := *o
	c.Protocol = 2
	c.ContextTimeoutEnabled = true
	c.MaxRetries = -1
	c.PoolSize, c.MinIdleConns, c.MaxIdleConns = 2, 0, 0
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	c.OnConnect = nil
	c.DB = 0
	return &c
}

// members returns the nodes that a client knows, which CLUSTER SLOTS names, and
// those that CLUSTER NODES has beside them.
func members(ctx context.Context, c *redis.ClusterClient) (list []*redis.Options, err error) {
	var mu sync.Mutex
	slotted, all := map[string]bool{}, map[string]string{}
	err = c.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
		at := own(node.Options())
		ids, addrs := roster(ctx, at)
		mu.Lock()
		defer mu.Unlock()
		list = append(list, at)
		for _, id := range ids {
			slotted[id] = true
		}
		for id, addr := range addrs {
			all[id] = addr
		}
		return nil
	})
	if err == nil && len(list) == 0 {
		err = errors.New("audit: the cluster named no node")
	}
	if err != nil {
		return nil, err
	}
	for id, addr := range all {
		if !slotted[id] {
			at := own(list[0])
			at.Addr = addr
			list = append(list, at)
		}
	}
	slices.SortFunc(list, func(a, b *redis.Options) int { return strings.Compare(a.Addr, b.Addr) })
	return list, nil
}

// roster returns the IDs of the nodes that a node tells clients of, and the
// addresses of all that it knows by theirs. A node that does not answer, or may
// not be asked, says nothing: it is in the list already.
func roster(ctx context.Context, at *redis.Options) (slotted []string, addrs map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	rdb := redis.NewClient(at)
	defer rdb.Close()
	// go-redis has deprecated its call for CLUSTER SHARDS, which has other nodes too.
	ranges, err := rdb.Do(ctx, "CLUSTER", "SLOTS").Slice()
	if err != nil {
		return nil, nil
	}
	for _, r := range ranges {
		bounds, _ := r.([]any)
		for _, n := range bounds[min(2, len(bounds)):] {
			if node, _ := n.([]any); len(node) > 2 {
				id, _ := node[2].(string)
				slotted = append(slotted, id)
			}
		}
	}
	text, _ := rdb.ClusterNodes(ctx).Result()
	return slotted, addresses(text)
}

// addresses reads CLUSTER NODES: "ID HOST:PORT@BUS,NAME FLAGS ...", where an IPv6
// host has no brackets. A node that has yet to say who it is has no place.
func addresses(text string) map[string]string {
	addrs := map[string]string{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.Contains(fields[2], "handshake") || strings.Contains(fields[2], "noaddr") {
			continue
		}
		addr, _, _ := strings.Cut(fields[1], "@")
		if i := strings.LastIndexByte(addr, ':'); i > 0 {
			addrs[fields[0]] = net.JoinHostPort(addr[:i], addr[i+1:])
		}
	}
	return addrs
}

// watched returns the master that Sentinel names, by the address at which it
// took the connection, and the replicas that the master knows.
func watched(ctx context.Context, c *redis.Client) ([]*redis.Options, error) {
	asked := redis.NewClient(own(c.Options()))
	defer asked.Close()
	text, err := asked.Info(ctx, "replication").Result()
	if err != nil {
		return nil, err
	}
	master, err := asked.Do(ctx, "CLIENT", "INFO").Text()
	if err != nil {
		return nil, err
	}
	addrs := []string{pairs(master, " ", "=")["laddr"]}
	for name, value := range pairs(text, "\r\n", ":") {
		if digits, is := strings.CutPrefix(name, "slave"); is && strings.Trim(digits, "0123456789") == "" {
			replica := pairs(value, ",", "=")
			addrs = append(addrs, net.JoinHostPort(replica["ip"], replica["port"]))
		}
	}
	slices.Sort(addrs[1:])
	list := make([]*redis.Options, len(addrs))
	for i, addr := range addrs {
		list[i] = own(c.Options())
		list[i].Addr, list[i].Dialer = addr, nil
	}
	return list, nil
}
