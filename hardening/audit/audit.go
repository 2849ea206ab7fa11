package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
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
	if behindSentinel(rdb) && o.Sentinels == nil {
		return nil, errors.New("audit: Options.Sentinels has to be given for a failover client")
	}
	places, err := Nodes(ctx, rdb)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if o.Sentinels != nil {
		places = underSentinels(ctx, places, o.Sentinels)
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
