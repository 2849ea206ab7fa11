// Command worker writes to those who have left a cart behind. A cart is a value
// that every change keeps alive for a while longer; when nobody has touched it
// for so long, its end is an event, and the event a mail.
//
// An event comes at least once. Its id, the same every time, is what makes one
// mail of it. What cannot be dealt with becomes a dead letter, which waits for
// somebody to look at it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
)

// A real shop has half an hour, a minute and five claims.
const (
	cartIdle   = time.Second
	cartLife   = time.Hour // however often it is touched
	visibility = time.Second
	claims     = 2
)

const cartPrefix = "cart/"

// cart is what the cache keeps, and what the event brings along.
type cart struct {
	Buyer string // a mail address
	Items []string
}

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, os.Stdout); err != nil {
		log.Fatalf("%v\nRun it as: securecache dev -- go run ./examples/worker", err)
	}
}

// start opens what the environment names.
func start(ctx context.Context, out io.Writer) error {
	tls, err := hardening.ClientTLS(hardening.Files{
		CA: os.Getenv("SECURECACHE_TLS_CA"), Cert: os.Getenv("SECURECACHE_TLS_CERT"), Key: os.Getenv("SECURECACHE_TLS_KEY"),
	}, "")
	if err != nil {
		return err
	}
	store := keys.NewFile(strings.TrimPrefix(os.Getenv("SECURECACHE_KEYRING"), "file:"))
	keyring, err := keys.Open(ctx, os.Getenv("SECURECACHE_NAMESPACE"), store, keys.InsecurePlain(), nil)
	if err != nil {
		return err
	}
	defer keyring.Close()
	cache, err := securecache.Dial(ctx, os.Getenv("REDIS_URL"), tls, keyring, options())
	if err != nil {
		return err
	}
	defer cache.Close()
	return day(ctx, cache, newMail(out), out)
}

// options are those of all processes of the shop: events bring the cart along,
// which is gone from the cache when they come.
func options() *securecache.Options {
	return &securecache.Options{Schedule: securecache.Schedule{CopyValue: true}}
}

// day is one at the shop: four carts and a worker. In a real one, the worker is
// a process that runs all the time, and so are its likes on other machines.
func day(ctx context.Context, cache *securecache.Cache, m *mail, out io.Writer) error {
	m.refuse("dee@example.org", true) // the mail server does not take this one today
	if err := visit(ctx, cache); err != nil {
		return err
	}
	w, err := newWorker(cache, m)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.notifier.Listen(ctx, w.handle) }()

	err = m.await(ctx, "ada@example.org", "ben@example.org")
	if err == nil {
		err = w.await(ctx, func(d expiry.Depth) bool { return d.Dead == 1 })
	}
	if err == nil {
		m.refuse("dee@example.org", false)
		var again int
		again, err = w.again(ctx)
		fmt.Fprintf(out, "the mail server is mended: %d dead letter to be tried again\n", again)
	}
	if err == nil {
		err = m.await(ctx, "dee@example.org")
	}
	if err == nil {
		err = w.await(ctx, func(d expiry.Depth) bool { return d == expiry.Depth{} })
	}
	stop()
	<-ended
	return err
}

// visit is what the shop's web server does.
func visit(ctx context.Context, cache *securecache.Cache) error {
	carts := securecache.For(cache, codec.JSON[cart]())
	for _, buyer := range []string{"ada", "ben", "cy", "dee"} {
		c := cart{Buyer: buyer + "@example.org", Items: []string{"a book"}}
		if err := carts.Set(ctx, cartPrefix+buyer, c, cartIdle, securecache.MaxLife(cartLife)); err != nil {
			return err
		}
	}
	// Ben is still looking around, which moves the end; Cy orders, and there is none.
	_, err := cache.Touch(ctx, cartPrefix+"ben", 2*cartIdle)
	if err == nil {
		_, err = cache.Delete(ctx, cartPrefix+"cy")
	}
	return err
}

// worker turns ends of carts into mails.
type worker struct {
	notifier *expiry.Notifier
	mail     *mail
	read     codec.Marshaler[cart]
}

func newWorker(cache *securecache.Cache, m *mail) (*worker, error) {
	n, err := expiry.New(cache, &expiry.Options{
		Visibility: visibility, MaxClaims: claims,
		OnError: func(err error) { log.Print(err) },
	})
	return &worker{notifier: n, mail: m, read: codec.JSON[cart]()}, err
}

// handle is called for each event. One that it returns an error for comes back.
func (w *worker) handle(ctx context.Context, e expiry.Event) error {
	if !strings.HasPrefix(e.Name, cartPrefix) {
		return nil // all of a namespace's values have an end
	}
	var c cart
	if err := w.read.Unmarshal(e.Value, &c); err != nil {
		return err
	}
	text := fmt.Sprintf("you have left %s behind", strings.Join(c.Items, " and "))
	return w.mail.send(ctx, e.ID, c.Buyer, text)
}

// again has dead letters tried anew, and returns how many. Those that do not
// open were tampered with and are removed.
func (w *worker) again(ctx context.Context) (int, error) {
	var sound, spoilt []expiry.DeadLetter
	for letter, err := range w.notifier.Dead(ctx) {
		switch {
		case err != nil:
			return 0, err
		case letter.Err != nil:
			spoilt = append(spoilt, letter)
		default:
			sound = append(sound, letter)
		}
	}
	if _, err := w.notifier.Drop(ctx, spoilt...); err != nil {
		return 0, err
	}
	return w.notifier.Requeue(ctx, sound...)
}

// await waits until the schedule is in some state. What a monitor plots stands
// in a Depth as well.
func (w *worker) await(ctx context.Context, done func(expiry.Depth) bool) error {
	tick := time.NewTicker(visibility / 4)
	defer tick.Stop()
	for {
		d, err := w.notifier.Depth(ctx)
		if err != nil || done(d) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mail stands for a service that sends mail, and as such services do, sends one
// for each key however often it is asked to.
type mail struct {
	mu      sync.Mutex
	out     io.Writer
	keys    map[string]bool
	sent    map[string]int // by address
	refused map[string]bool
	changed chan struct{} // closed at each sending, and made anew
}

func newMail(out io.Writer) *mail {
	return &mail{out: out, keys: map[string]bool{}, sent: map[string]int{}, refused: map[string]bool{}, changed: make(chan struct{})}
}

func (m *mail) send(_ context.Context, key, to, text string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.refused[to]:
		return errors.New("the mail server has refused the mail")
	case m.keys[key]:
		return nil
	}
	m.keys[key] = true
	m.sent[to]++
	close(m.changed)
	m.changed = make(chan struct{})
	_, err := fmt.Fprintf(m.out, "to %s: %s\n", to, text)
	return err
}

func (m *mail) refuse(to string, refused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused[to] = refused
}

// await waits until everybody has been sent a mail.
func (m *mail) await(ctx context.Context, everybody ...string) error {
	for _, to := range everybody {
		for {
			m.mu.Lock()
			sent, changed := m.sent[to] > 0, m.changed
			m.mu.Unlock()
			if sent {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
