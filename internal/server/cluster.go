package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	masters  = 3
	allSlots = 16384

	nodesFile = "nodes.conf"
)

// clusterLines configure a node. A node that is silent for three seconds is
// failed over: long enough for a loaded machine, short enough for a test.
var clusterLines = []string{
	"cluster-enabled yes",
	"cluster-config-file " + nodesFile,
	"cluster-node-timeout 3000",
	"cluster-replica-validity-factor 0",
	"cluster-announce-ip 127.0.0.1",
	"tls-cluster yes",
	"repl-diskless-sync-delay 0",
}

// Cluster is three masters with a replica each, under mutual TLS for clients,
// for the bus and for replication. Its methods may be called concurrently.
// Close it.
type Cluster struct {
	estate *estate
	nodes  []*Server
}

// StartCluster starts a cluster and returns once every node finds it complete
// and every replica is in step. ctx bounds the start alone, which never takes
// longer than a minute. There is no embedded cluster: [ErrLacking].
func StartCluster(ctx context.Context, o Options) (*Cluster, error) {
	estate, program, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, formTimeout)
	defer cancel()
	c := &Cluster{estate: estate, nodes: make([]*Server, 2*masters)}
	err = each(c.nodes, func(i int, _ *Server) (err error) {
		c.nodes[i], err = estate.start(ctx, program, clusterNode, clusterLines)
		return err
	})
	if err == nil {
		err = c.form(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// prepare finds the program for what the embedded server cannot be.
func prepare(ctx context.Context, o Options) (*estate, program, error) {
	binary := choice(o.Binary)
	if binary == Embedded {
		return nil, program{}, ErrLacking
	}
	p, err := find(ctx, binary)
	if err != nil {
		return nil, program{}, err
	}
	e, err := newEstate(o)
	return e, p, err
}

// form makes one cluster of the nodes: slots, introductions, replicas.
func (c *Cluster) form(ctx context.Context) error {
	if err := each(c.nodes[:masters], func(i int, s *Server) error { return assign(ctx, s, i) }); err != nil {
		return err
	}
	if err := c.introduce(ctx); err != nil {
		return err
	}
	if err := each(c.nodes[masters:], func(i int, s *Server) error { return c.replicate(ctx, s, c.nodes[i]) }); err != nil {
		return err
	}
	return c.Ready(ctx)
}

// assign gives a node its third of the slots. Epochs that differ from the
// start spare the masters an argument about who is who.
func assign(ctx context.Context, s *Server, i int) error {
	return s.ask(func(rdb *redis.Client) error {
		if err := rdb.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		return rdb.ClusterAddSlotsRange(ctx, i*allSlots/masters, (i+1)*allSlots/masters-1).Err()
	})
}

// introduce lets the first node meet all others; gossip does the rest.
func (c *Cluster) introduce(ctx context.Context) error {
	return c.nodes[0].ask(func(rdb *redis.Client) error {
		for _, s := range c.nodes[1:] {
			host, port, _ := net.SplitHostPort(s.Addr())
			if err := rdb.ClusterMeet(ctx, host, port).Err(); err != nil {
				return err
			}
		}
		return nil
	})
}

// replicate makes s a replica of master as soon as s has heard of it.
func (c *Cluster) replicate(ctx context.Context, s, master *Server) error {
	var id string
	err := master.ask(func(rdb *redis.Client) (err error) {
		id, err = rdb.ClusterMyID(ctx).Result()
		return err
	})
	if err != nil {
		return err
	}
	return await(ctx, "a replica knows its master", func(ctx context.Context) error {
		return s.ask(func(rdb *redis.Client) error { return rdb.ClusterReplicate(ctx, id).Err() })
	})
}

// Ready waits until every running node finds the cluster complete and knows
// all nodes, every replica that runs is in step with its master, and every node
// could be started again from what it has on disk.
func (c *Cluster) Ready(ctx context.Context) error {
	return await(ctx, "the cluster is complete", func(ctx context.Context) error {
		return each(running(c.nodes), func(_ int, s *Server) error { return c.complete(ctx, s) })
	})
}

func (c *Cluster) complete(ctx context.Context, s *Server) error {
	var state map[string]string
	var replica bool
	err := s.ask(func(rdb *redis.Client) error {
		text, err := rdb.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		state = info(text)
		self, err := rdb.Do(ctx, "ROLE").Slice()
		replica = err == nil && self[0] == "slave"
		return err
	})
	switch {
	case err != nil:
		return err
	case state["cluster_state"] != "ok", state["cluster_slots_ok"] != strconv.Itoa(allSlots),
		state["cluster_known_nodes"] != strconv.Itoa(len(c.nodes)):
		return fmt.Errorf("%s: state %s, %s slots, %s nodes", s.Addr(), state["cluster_state"], state["cluster_slots_ok"], state["cluster_known_nodes"])
	case replica:
		if err := follows(ctx, s); err != nil {
			return err
		}
	}
	return settled(ctx, s)
}

// settled reports, as an error, that a node's configuration file holds a replica
// with another shard id than its master's, which gossip corrects some time after
// the cluster is complete. Valkey 8.0 and Redis 7.2 do not start again from such
// a file: "corrupted cluster config file", valkey-io/valkey#774.
func settled(ctx context.Context, s *Server) error {
	text, err := os.ReadFile(filepath.Join(s.Dir(), nodesFile))
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if divergent(string(text)) {
		return errors.Join(fmt.Errorf("%s: shard ids differ", s.Addr()),
			s.ask(func(rdb *redis.Client) error { return rdb.ClusterSaveConfig(ctx).Err() }))
	}
	return nil
}

// divergent reads "<id> <address>,<host name>,<name>=<value>… <flags> <master's id>…".
func divergent(nodes string) bool {
	shards, follows := map[string]string{}, map[string]string{}
	for line := range strings.Lines(nodes) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] == "vars" {
			continue
		}
		_, shard, _ := strings.Cut(fields[1], "shard-id=")
		shards[fields[0]], _, _ = strings.Cut(shard, ",")
		if fields[3] != "-" {
			follows[fields[0]] = fields[3]
		}
	}
	for replica, master := range follows {
		if shards[replica] != shards[master] {
			return true
		}
	}
	return false
}

// Nodes returns the six servers; the first three started as masters.
func (c *Cluster) Nodes() []*Server { return append([]*Server(nil), c.nodes...) }

// Master returns the node that serves the key's slot at present, as the
// first running node sees it.
func (c *Cluster) Master(ctx context.Context, key string) (*Server, error) {
	alive := running(c.nodes)
	if len(alive) == 0 {
		return nil, errNotRunning
	}
	var found *Server
	err := alive[0].ask(func(rdb *redis.Client) error {
		slot, err := rdb.ClusterKeySlot(ctx, key).Result()
		if err != nil {
			return err
		}
		ranges, err := slots(ctx, rdb)
		for _, r := range ranges {
			if int64(r.Start) <= slot && slot <= int64(r.End) {
				found = byAddr(c.nodes, r.Nodes[0].Addr)
			}
		}
		return err
	})
	if err == nil && found == nil {
		err = errors.New("server: no node serves that slot")
	}
	return found, err
}

// AwaitTakeover waits until no running node takes s for a master any more and
// the cluster is complete without it. Call it after Kill, Stop or Pause of a
// master, with a ctx that ends: it takes some seconds.
func (c *Cluster) AwaitTakeover(ctx context.Context, s *Server) error {
	return await(ctx, "a replica takes over from "+s.Addr(), func(ctx context.Context) error {
		return each(running(c.nodes), func(_ int, other *Server) error {
			if other == s {
				return nil
			}
			return replaced(ctx, other, s.Addr())
		})
	})
}

// replaced reports, as an error, that witness takes addr for a master still, or
// finds slots without one.
func replaced(ctx context.Context, witness *Server, addr string) error {
	return witness.ask(func(rdb *redis.Client) error {
		text, err := rdb.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		if state := info(text)["cluster_state"]; state != "ok" {
			return fmt.Errorf("%s: state %s", witness.Addr(), state)
		}
		ranges, err := slots(ctx, rdb)
		for _, r := range ranges {
			if r.Nodes[0].Addr == addr {
				return fmt.Errorf("%s takes it for a master still", witness.Addr())
			}
		}
		return err
	})
}

// slots asks for CLUSTER SLOTS, which 6.2 has too; go-redis' own method is
// marked as deprecated in favour of CLUSTER SHARDS, of 7.0.
func slots(ctx context.Context, rdb *redis.Client) ([]redis.ClusterSlot, error) {
	cmd := redis.NewClusterSlotsCmd(ctx, "CLUSTER", "SLOTS")
	_ = rdb.Process(ctx, cmd)
	return cmd.Result()
}

// URL returns a rediss URL of all nodes, in the form of securecache.Dial, that
// logs in as the application's user. It holds the password.
func (c *Cluster) URL() string {
	return urlOf(c.estate.app, c.nodes, url.Values{"cluster": {"true"}})
}

// Options returns the options of a cluster client that logs in as the
// application's user.
func (c *Cluster) Options() *redis.ClusterOptions { return c.options(c.estate.app) }

// AdminOptions is Options for a user that may do everything.
func (c *Cluster) AdminOptions() *redis.ClusterOptions { return c.options(c.estate.admin) }

func (c *Cluster) options(u user) *redis.ClusterOptions {
	o := &redis.ClusterOptions{
		Username:                 u.name,
		Password:                 u.password,
		TLSConfig:                c.estate.client.Clone(),
		ContextTimeoutEnabled:    true,
		DialTimeout:              dialTimeout,
		ReadTimeout:              ioTimeout,
		WriteTimeout:             ioTimeout,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for _, s := range c.nodes {
		o.Addrs = append(o.Addrs, s.Addr())
	}
	return o
}

// Close ends every node and removes its directory. It may be called again.
func (c *Cluster) Close() error { return closeAll(c.nodes) }
