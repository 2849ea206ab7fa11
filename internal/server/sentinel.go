package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// MasterName is the name under which the sentinels watch the master.
const MasterName = "securecache"

// Sentinel is a master with two replicas, and three sentinels that watch them,
// all under mutual TLS and with a login each. Its methods may be called
// concurrently. Close it.
type Sentinel struct {
	estate    *estate
	nodes     []*Server
	sentinels []*Server
}

// StartSentinel starts the six processes and returns once the sentinels agree
// on the master and know its replicas and each other. ctx bounds the start
// alone, which never takes longer than a minute. There is no embedded Sentinel:
// [ErrLacking].
func StartSentinel(ctx context.Context, o Options) (*Sentinel, error) {
	estate, program, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, formTimeout)
	defer cancel()
	w := &Sentinel{estate: estate, nodes: make([]*Server, 3), sentinels: make([]*Server, 3)}
	if err := w.start(ctx, program); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// start goes in order: sentinels find at once the replicas that are there when
// they first ask, and the others ten seconds later.
func (w *Sentinel) start(ctx context.Context, p program) (err error) {
	lines := []string{"replica-announce-ip 127.0.0.1", "repl-diskless-sync-delay 0"}
	if w.nodes[0], err = w.estate.start(ctx, p, watchedNode, lines); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(w.nodes[0].Addr())
	lines = append(lines, "replicaof "+host+" "+port)
	err = each(w.nodes[1:], func(i int, _ *Server) (err error) {
		w.nodes[1+i], err = w.estate.start(ctx, p, watchedNode, lines)
		return err
	})
	if err != nil {
		return err
	}
	err = await(ctx, "the replicas follow", func(ctx context.Context) error {
		return each(w.nodes[1:], func(_ int, s *Server) error { return follows(ctx, s) })
	})
	if err != nil {
		return err
	}
	err = each(w.sentinels, func(i int, _ *Server) (err error) {
		w.sentinels[i], err = w.estate.start(ctx, p, sentinelNode, w.watch(host, port))
		return err
	})
	if err != nil {
		return err
	}
	return w.Ready(ctx)
}

// watch configures a sentinel. A master that is silent for two seconds is
// down.
func (w *Sentinel) watch(host, port string) []string {
	u := w.estate.sentinel
	return []string{
		"sentinel monitor " + MasterName + " " + host + " " + port + " 2",
		"sentinel auth-user " + MasterName + " " + u.name,
		"sentinel auth-pass " + MasterName + " " + u.password,
		"sentinel down-after-milliseconds " + MasterName + " 2000",
		"sentinel failover-timeout " + MasterName + " 10000",
		"sentinel sentinel-user " + u.name,
		"sentinel sentinel-pass " + u.password,
		"sentinel announce-ip 127.0.0.1",
	}
}

// Ready waits until every running sentinel sees the master up and knows both
// replicas and both other sentinels.
func (w *Sentinel) Ready(ctx context.Context) error {
	return await(ctx, "the sentinels agree", func(ctx context.Context) error {
		return each(running(w.sentinels), func(_ int, s *Server) error {
			m, err := view(ctx, s)
			if err != nil {
				return err
			}
			if m["flags"] != "master" || m["num-slaves"] != "2" || m["num-other-sentinels"] != "2" {
				return fmt.Errorf("%s: flags %s, %s replicas, %s other sentinels", s.Addr(), m["flags"], m["num-slaves"], m["num-other-sentinels"])
			}
			return nil
		})
	})
}

// view returns what a sentinel knows of the master.
func view(ctx context.Context, s *Server) (fields map[string]string, err error) {
	err = s.ask(func(rdb *redis.Client) error {
		cmd := redis.NewMapStringStringCmd(ctx, "SENTINEL", "MASTER", MasterName)
		if err := rdb.Process(ctx, cmd); err != nil {
			return err
		}
		fields = cmd.Val()
		return nil
	})
	return fields, err
}

// Nodes returns master and replicas; the first one started as the master.
func (w *Sentinel) Nodes() []*Server { return append([]*Server(nil), w.nodes...) }

// Sentinels returns the three sentinels.
func (w *Sentinel) Sentinels() []*Server { return append([]*Server(nil), w.sentinels...) }

// Master returns the server that the sentinels take for the master, when all
// that run agree.
func (w *Sentinel) Master(ctx context.Context) (*Server, error) {
	var found *Server
	for _, s := range running(w.sentinels) {
		m, err := view(ctx, s)
		if err != nil {
			return nil, err
		}
		named := byAddr(w.nodes, net.JoinHostPort(m["ip"], m["port"]))
		if named == nil || found != nil && named != found {
			return nil, errors.New("server: the sentinels do not agree on a master")
		}
		found = named
	}
	if found == nil {
		return nil, errNotRunning
	}
	return found, nil
}

// AwaitTakeover waits until the sentinels agree on another master than s and
// that one accepts writes. Call it after Kill, Stop or Pause of the master,
// with a ctx that ends: it takes some seconds.
func (w *Sentinel) AwaitTakeover(ctx context.Context, s *Server) error {
	return await(ctx, "a replica takes over from "+s.Addr(), func(ctx context.Context) error {
		m, err := w.Master(ctx)
		if err != nil {
			return err
		}
		if m == s {
			return errors.New("it is the master still")
		}
		return m.ask(func(rdb *redis.Client) error {
			role, err := rdb.Do(ctx, "ROLE").Slice()
			if err == nil && role[0] != "master" {
				err = fmt.Errorf("%s is no master yet", m.Addr())
			}
			return err
		})
	})
}

// URL returns a rediss URL of all sentinels, in the form of securecache.Dial,
// that logs in as the application's user. It holds the password.
func (w *Sentinel) URL() string {
	return urlOf(w.estate.app, w.sentinels, url.Values{"master_name": {MasterName}})
}

// Options returns the options of a failover client that logs in as the
// application's user, at the sentinels too.
func (w *Sentinel) Options() *redis.FailoverOptions { return w.options(w.estate.app) }

// AdminOptions is Options for a user that may do everything.
func (w *Sentinel) AdminOptions() *redis.FailoverOptions { return w.options(w.estate.admin) }

func (w *Sentinel) options(u user) *redis.FailoverOptions {
	o := &redis.FailoverOptions{
		MasterName:       MasterName,
		SentinelUsername: u.name, SentinelPassword: u.password,
		Username: u.name, Password: u.password,
		TLSConfig:             w.estate.client.Clone(),
		ContextTimeoutEnabled: true,
		DialTimeout:           dialTimeout,
		ReadTimeout:           ioTimeout,
		WriteTimeout:          ioTimeout,
	}
	for _, s := range w.sentinels {
		o.SentinelAddrs = append(o.SentinelAddrs, s.Addr())
	}
	return o
}

// Close ends every process and removes its directory. It may be called again.
func (w *Sentinel) Close() error {
	return errors.Join(closeAll(w.sentinels), closeAll(w.nodes))
}

// sentinelUsers are the users of a sentinel: clients ask for the master and
// listen for changes, sentinels talk to each other.
func (e *estate) sentinelUsers() (lines []string) {
	for _, u := range []user{e.app, e.operator} {
		lines = append(lines, "user "+u.name+" reset on #"+u.hash()+
			" resetchannels &+switch-master &+replica-reconf-done -@all"+
			" +hello +auth +ping +client|setname +subscribe +unsubscribe"+
			" +sentinel|get-master-addr-by-name +sentinel|sentinels +sentinel|replicas")
	}
	return append(lines, "user "+e.sentinel.name+" reset on #"+e.sentinel.hash()+
		" &* -@all +hello +auth +ping +client|setname +subscribe +publish +sentinel|is-master-down-by-addr")
}

// watchingUser is the sentinels' login at the servers they watch: the commands
// that Redis' own documentation lists for it.
func (e *estate) watchingUser() string {
	return "user " + e.sentinel.name + " reset on #" + e.sentinel.hash() + " &* -@all " + strings.Join([]string{
		"+multi", "+slaveof", "+ping", "+exec", "+subscribe", "+config|rewrite", "+role", "+publish", "+info",
		"+client|setname", "+client|kill", "+script|kill", "+auth",
	}, " ")
}
