package audit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options says what to look at. Nil means the zero value.
type Options struct {
	// Checks and Skip choose by ID; no Checks are all of them.
	Checks, Skip []string
	// Admins are the users that are meant to administer the server, operators
	// and replicas among them: what an application may not do they may. Nobody
	// is one unless named here, not even who runs the audit.
	Admins []string
	// Expected are modules, function libraries and hosts of replicas that are
	// meant to be there.
	Expected []string
	// Passwords are words beyond the built-in list that no user should have as a
	// password.
	Passwords []string
	// Host has the server's process and files looked at as well, where this runs
	// on its machine, and what the changelog of its Debian package says to have
	// mended. It takes Linux, and rights to look at the files.
	Host bool
	// Sentinels are the options that a failover client was made with, which it
	// does not tell itself: it takes them to audit its Sentinels too. Those that
	// they name and those that these know of are in the report. Others leave it nil.
	Sentinels *redis.FailoverOptions
	// Prefix is that of the records' keys; "" means "sc".
	Prefix string
	// Sample is how many keys are looked at; 0 means 200.
	Sample int
	// Waivers cover findings that are accepted for a time.
	Waivers []Waiver
	// Timeout bounds the whole audit; 0 means 10 seconds.
	Timeout time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const (
	presetTimeout = 10 * time.Second
	presetSample  = 200
)

func (o *Options) withDefaults() *Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Prefix == "" {
		c.Prefix = "sc"
	}
	if c.Sample <= 0 {
		c.Sample = presetSample
	}
	if c.Timeout <= 0 {
		c.Timeout = presetTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &c
}

func (o *Options) validate() error {
	for _, id := range slices.Concat(o.Checks, o.Skip) {
		if !slices.ContainsFunc(all, func(c Check) bool { return c.ID == id }) {
			return fmt.Errorf("audit: there is no check %s", id)
		}
	}
	for _, w := range o.Waivers {
		if err := w.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) chosen() (list []Check) {
	for _, c := range all {
		if (len(o.Checks) == 0 || slices.Contains(o.Checks, c.ID)) && !slices.Contains(o.Skip, c.ID) {
			list = append(list, c)
		}
	}
	return list
}

// ErrUnreachable is returned, wrapped, where not one node could be audited:
// nobody listens, nothing answers in time, or what answers is no such server.
var ErrUnreachable = errors.New("audit: no server could be audited")

// Run audits the server behind rdb: a *redis.Client, every node of a
// *redis.ClusterClient, and the master of a failover client with its replicas
// and, by Options.Sentinels, its Sentinels.
// It opens connections of its own, with rdb's address, login and TLS
// configuration, and sends nothing but reads. It takes no longer than
// Options.Timeout, whatever the server does. A node that cannot be reached is
// in the report; where none can, the error is [ErrUnreachable].
func Run(ctx context.Context, rdb redis.UniversalClient, o *Options) (*Report, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if c, is := rdb.(*redis.Client); is && c.Options().Addr == failoverAddr && o.Sentinels == nil {
		return nil, errors.New("audit: Options.Sentinels has to be given for a failover client")
	}
	places, err := discover(ctx, rdb)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if o.Sentinels != nil {
		places = append(places, sentinels(ctx, o.Sentinels)...)
	}
	return survey(ctx, places, o)
}

// survey audits the places side by side.
func survey(ctx context.Context, places []*redis.Options, o *Options) (*Report, error) {
	report := &Report{Time: o.Now().UTC(), Nodes: make([]Node, len(places))}
	results, errs := make([][]Result, len(places)), make([]error, len(places))
	var wg sync.WaitGroup
	for i, at := range places {
		wg.Go(func() { report.Nodes[i], results[i], errs[i] = inspect(ctx, at, o) })
	}
	wg.Wait()
	report.Results = slices.Concat(results...)
	report.waive(o.Waivers)
	if len(report.Unreached()) == len(places) {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, errors.Join(errs...))
	}
	return report, nil
}

// inspect runs the chosen checks on one node.
func inspect(ctx context.Context, at *redis.Options, o *Options) (Node, []Result, error) {
	n := &node{addr: at.Addr, at: at, options: o, ctx: ctx}
	if err := n.gather(); err != nil {
		return Node{Addr: at.Addr, Error: err.Error()}, nil, fmt.Errorf("%s: %w", at.Addr, err)
	}
	var results []Result
	for _, c := range o.chosen() {
		results = append(results, c.run(n)...)
	}
	return Node{Addr: n.addr, Server: n.server, Version: n.version, Role: n.role()}, results, nil
}

// failoverAddr is what go-redis shows for a client that asks Sentinel.
const failoverAddr = "FailoverClient"

// discover returns how to reach each node.
func discover(ctx context.Context, rdb redis.UniversalClient) ([]*redis.Options, error) {
	switch c := rdb.(type) {
	case *redis.Client:
		if c.Options().Addr == failoverAddr {
			return watched(ctx, c)
		}
		return []*redis.Options{own(c.Options())}, nil
	case *redis.ClusterClient:
		return members(ctx, c)
	}
	return nil, errors.New("audit: give a *redis.Client or a *redis.ClusterClient")
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

func members(ctx context.Context, c *redis.ClusterClient) (list []*redis.Options, err error) {
	var mu sync.Mutex
	err = c.ForEachShard(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, own(node.Options()))
		return nil
	})
	slices.SortFunc(list, func(a, b *redis.Options) int { return strings.Compare(a.Addr, b.Addr) })
	if err == nil && len(list) == 0 {
		err = errors.New("audit: the cluster named no node")
	}
	return list, err
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
