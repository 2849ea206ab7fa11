package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// fastClock is a clock that can be run fast up to a moment, where it then stands
// still, however long the machine takes over what is to be seen there. At first
// its speed is the machine's. It never goes back.
type fastClock struct {
	mu     sync.Mutex
	since  time.Time // of the machine
	shows  time.Time // at since
	factor time.Duration
	mark   time.Time // where it stands still, if anywhere
}

func newFastClock() *fastClock {
	now := time.Now()
	return &fastClock{since: now, shows: now, factor: 1}
}

func (c *fastClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, _ := c.read()
	return now
}

// read returns what the clock shows, and when of the machine's it did.
func (c *fastClock) read() (shows, since time.Time) {
	since = time.Now()
	shows = c.shows.Add(since.Sub(c.since) * c.factor)
	if !c.mark.IsZero() && shows.After(c.mark) {
		shows = c.mark
	}
	return shows, since
}

// run lets the clock go on at the machine's speed.
func (c *fastClock) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shows, c.since = c.read()
	c.factor, c.mark = 1, time.Time{}
}

// until runs the clock fast until it shows t, where it stands.
func (c *fastClock) until(ctx context.Context, t time.Time) error {
	c.mu.Lock()
	c.shows, c.since = c.read()
	c.factor, c.mark = fastFactor, t
	there := c.since.Add(t.Sub(c.shows)/fastFactor + 1) // not short of it by what the division drops
	c.mu.Unlock()
	return until(ctx, there)
}

// off is the clock as an instance sees it that is d ahead.
func (c *fastClock) off(d time.Duration) func() time.Time {
	return func() time.Time { return c.now().Add(d) }
}

// instance is what one process of an application has: a keyring, a connection
// and a cache of its own.
type instance struct {
	keyring *keys.Keyring
	rdb     *redis.Client
	cache   *securecache.Cache
}

// stage is where the demonstration happens: three instances of an application,
// and somebody who may do everything on the server.
type stage struct {
	setup     *setup
	clock     *fastClock
	instances []*instance // the clock of the first is right
	admin     *redis.Client
}

// skew is how far the other instances' clocks are slow and fast.
const skew = 2 * time.Minute

// newStage connects everybody. reroute, where not nil, changes where a client
// connects to.
func newStage(ctx context.Context, s *setup, reroute func(*redis.Options)) (_ *stage, err error) {
	st := &stage{setup: s, clock: newFastClock()}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	config, err := hardening.ClientTLS(hardening.Files{CA: s.server.CAFile(), Cert: s.server.CertFile(), Key: s.server.KeyFile()}, "")
	if err != nil {
		return nil, err
	}
	connect := func(o *redis.Options) *redis.Client {
		o.TLSConfig = config.Clone()
		if reroute != nil {
			reroute(o)
		}
		return redis.NewClient(o)
	}
	st.admin = connect(s.server.AdminOptions())
	for _, off := range []time.Duration{0, -skew, skew} {
		if err := st.join(ctx, st.clock.off(off), connect(s.server.Options())); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// demoRefresh is a minute of the clock at its fastest.
const demoRefresh = time.Minute / fastFactor

// join adds an instance.
func (st *stage) join(ctx context.Context, now func() time.Time, rdb *redis.Client) (err error) {
	in := &instance{rdb: rdb}
	st.instances = append(st.instances, in)
	if in.keyring, err = st.setup.openKeyring(ctx, &keys.Options{Refresh: demoRefresh, Now: now}); err != nil {
		return err
	}
	in.cache, err = securecache.New(rdb, in.keyring, &securecache.Options{Codec: codec.Options{Pad: true, Now: now}})
	return err
}

// Close disconnects everybody.
func (st *stage) Close() error {
	var errs []error
	for _, in := range st.instances {
		errs = append(errs, in.Close())
	}
	if st.admin != nil {
		errs = append(errs, st.admin.Close())
	}
	return errors.Join(errs...)
}

func (in *instance) Close() error {
	errs := []error{in.rdb.Close()}
	if in.cache != nil {
		errs = append(errs, in.cache.Close())
	}
	if in.keyring != nil {
		errs = append(errs, in.keyring.Close())
	}
	return errors.Join(errs...)
}
