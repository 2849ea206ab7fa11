package expiry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
)

const (
	// lookEvery is how often the doorbell asks which masters there are, and
	// lookAgain how soon after one of its bells has failed.
	lookEvery, lookAgain = 5 * time.Second, time.Second

	// rung is how many events may wait for a handler.
	rung = 4096
)

// doorbell is one call of Listen with the doorbell: a bell on every master.
type doorbell struct {
	*Notifier
	scope string // what the namespace's keys begin with
	work  chan Event
	ended chan ended
	bells map[string]context.CancelFunc // by the master's address
	hung  sync.WaitGroup
}

// ended is the end of a bell. It rang where it has been heard at least once.
type ended struct {
	addr string
	rang bool
	err  error
}

func (n *Notifier) ring(ctx context.Context, handle Handler) error {
	key, err := n.cache.Key(codec.KindValue, "scope")
	if err != nil {
		return err
	}
	d := &doorbell{
		Notifier: n, work: make(chan Event, rung), ended: make(chan ended), bells: make(map[string]context.CancelFunc),
		scope: strings.TrimSuffix(key.String(), codec.KindValue.String()+":"+key.Binding().ID),
	}
	var handling sync.WaitGroup
	for range n.options.Concurrency {
		handling.Go(func() { d.handleAll(ctx, handle, &handling) })
	}
	listening, stop := context.WithCancel(ctx)
	err = d.follow(listening)
	stop()
	go func() {
		d.hung.Wait()
		close(d.ended)
	}()
	for range d.ended { // nobody else listens any more
	}
	close(d.work)
	handling.Wait()
	return err
}

// handleAll calls the handler until there is nothing more to come. An event
// that fails is gone: the doorbell rings once.
func (d *doorbell) handleAll(ctx context.Context, handle Handler, handling *sync.WaitGroup) {
	whole := false
	defer func() {
		if !whole { // the handler ended its goroutine
			d.counts.failed.Add(1)
			handling.Go(func() { d.handleAll(ctx, handle, handling) })
		}
	}()
	for e := range d.work {
		if ctx.Err() != nil {
			continue
		}
		if err := call(ctx, handle, e); err != nil {
			d.counts.failed.Add(1)
			d.options.OnError(err)
			continue
		}
		d.counts.delivered.Add(1)
	}
	whole = true
}

// follow keeps a bell on every master until ctx ends. What the first bells
// cannot do for want of rights or settings ends it.
func (d *doorbell) follow(ctx context.Context) error {
	look := time.NewTimer(0)
	defer look.Stop()
	first := make(map[string]bool)
	for round := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case end := <-d.ended:
			d.bells[end.addr]()
			delete(d.bells, end.addr)
			if first[end.addr] && !end.rang && hopeless(end.err) {
				return end.err
			}
			if end.err != nil {
				d.options.OnError(end.err)
			}
			look.Reset(lookAgain)
		case <-look.C:
			come, err := d.hang(ctx)
			if err != nil && ctx.Err() == nil {
				d.options.OnError(fmt.Errorf("expiry: looking for masters: %w", err))
			}
			if round == 0 && err == nil {
				for _, addr := range come {
					first[addr] = true
				}
				round++
			}
			look.Reset(lookEvery)
		}
	}
}

// hopeless tells what only an operator can mend.
func hopeless(err error) bool {
	return errors.Is(err, ErrNoNotifications) || redis.HasErrorPrefix(err, "NOPERM")
}

// hang puts a bell on every master that has none, takes those down whose master
// is none any more, and returns the new ones' addresses.
func (d *doorbell) hang(ctx context.Context) (come []string, err error) {
	var mu sync.Mutex
	masters := make(map[string]*redis.Client)
	err = d.cache.EachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters[master.Options().Addr] = master
		return nil
	})
	if err != nil {
		return nil, err
	}
	for addr, cancel := range d.bells {
		if masters[addr] == nil {
			cancel() // and it ends
		}
	}
	for addr, master := range masters {
		if d.bells[addr] != nil {
			continue
		}
		hanging, cancel := context.WithCancel(ctx)
		d.bells[addr] = cancel
		come = append(come, addr)
		d.hung.Go(func() {
			b := bell{doorbell: d, master: master}
			err := b.listen(hanging)
			d.ended <- ended{addr, b.rang, err}
		})
	}
	return come, nil
}

// heard passes an event on, if it is one of the namespace's.
func (d *doorbell) heard(text string) {
	if !strings.HasPrefix(text, d.scope) {
		return
	}
	key, err := securecache.ParseKey(text)
	if err != nil || !slices.Contains(d.options.Kinds, key.Kind()) {
		return
	}
	select {
	case d.work <- Event{Key: key}:
		d.counts.claimed.Add(1)
	default:
		d.counts.dropped.Add(1)
	}
}
