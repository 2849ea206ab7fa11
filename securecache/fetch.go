package securecache

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
)

// storeTimeout bounds the store after a load whose callers may have gone.
const storeTimeout = 5 * time.Second

// Fetch reads through: it returns what is stored under name, or has load make
// it and stores that for ttl. Callers in this process that miss the same name
// at once share one load, each under its own context; the load's own context
// ends when the last of them has gone.
//
// A record that is refused is reported as [Cache.Get] reports it, and then
// loaded anew and overwritten. Where Redis gives no answer, load answers alone;
// what cannot be stored is counted in [Stats] and not an error. A keyring that
// has failed closed is one. What load returns as an error goes to every caller
// of that load, and nothing is stored. A load runs on a goroutine of its own, as
// no caller may be there any more: a panic in it ends the process.
func (c *Cache) Fetch(ctx context.Context, name string, ttl time.Duration, load func(context.Context) ([]byte, error), options ...SetOption) ([]byte, error) {
	if _, err := c.newWrite(ttl, options); err != nil {
		return nil, c.failed(err)
	}
	value, err := c.Get(ctx, name)
	if err == nil || errors.Is(err, keys.ErrStale) || errors.Is(err, ErrName) || ctx.Err() != nil {
		return value, err
	}
	key, err := c.Key(codec.KindValue, name)
	if err != nil {
		return nil, c.failed(err)
	}
	return c.flights.join(ctx, key.text, func(ctx context.Context) ([]byte, error) {
		c.counters.loads.Add(1)
		value, err := load(ctx)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		_ = c.Set(ctx, name, value, ttl, options...)
		return value, nil
	}, func() { c.counters.shared.Add(1) })
}

// flights joins concurrent loads of one key. x/sync's singleflight does not
// know when the last waiter has gone, so it could not end a load for nobody.
type flights struct {
	mu     sync.Mutex
	flying map[string]*flight
}

type flight struct {
	waiters int
	cancel  context.CancelFunc
	done    chan struct{}
	value   []byte
	err     error
}

// join waits for key's flight, which it begins with run where there is none,
// and calls shared where there was one.
func (f *flights) join(ctx context.Context, key string, run func(context.Context) ([]byte, error), shared func()) ([]byte, error) {
	f.mu.Lock()
	fl := f.flying[key]
	if fl == nil {
		fl = f.begin(ctx, key, run)
	} else {
		shared()
	}
	fl.waiters++
	f.mu.Unlock()
	defer f.leave(key, fl)
	select {
	case <-fl.done:
		return bytes.Clone(fl.value), fl.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin starts a flight that keeps the values of ctx, and none of its ends.
func (f *flights) begin(ctx context.Context, key string, run func(context.Context) ([]byte, error)) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &flight{cancel: cancel, done: make(chan struct{}), err: errors.New("securecache: the load never returned")}
	if f.flying == nil {
		f.flying = make(map[string]*flight)
	}
	f.flying[key] = fl
	go func() {
		defer func() { // also where run calls runtime.Goexit
			f.forget(key, fl)
			close(fl.done)
		}()
		fl.value, fl.err = run(ctx)
	}()
	return fl
}

func (f *flights) leave(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiters--; fl.waiters == 0 {
		fl.cancel()
		f.drop(key, fl) // whoever comes now must not join a load that is being ended
	}
}

func (f *flights) forget(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(key, fl)
}

func (f *flights) drop(key string, fl *flight) {
	if f.flying[key] == fl {
		delete(f.flying, key)
	}
}
