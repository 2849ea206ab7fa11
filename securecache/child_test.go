package securecache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// A child is this test binary once more: another process on the same server and
// the same keyring, until its standard input ends.

// assignment is what a child is told, in its environment.
type assignment struct {
	URL, Namespace, Keyring string
	Files                   hardening.Files
	Began                   time.Time     // where the fast clock and the true one agree
	Ahead                   time.Duration // of a reader's clock, which goes as the true one does
}

// report is what a child prints at the end.
type report struct {
	Sets, Gets int
	Failures   []string
}

const (
	roleEnv       = "SECURECACHE_TEST_ROLE"
	assignmentEnv = "SECURECACHE_TEST_ASSIGNMENT"
	perChild      = 3 // writers, and readers, of each of three children
	names         = 40
)

func child(role string) int {
	var a assignment
	err := json.Unmarshal([]byte(os.Getenv(assignmentEnv)), &a)
	switch {
	case err != nil:
	case role == "traffic":
		var r report
		if r, err = a.traffic(); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(r)
		}
	case role == "read":
		err = a.read()
	default:
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// pace is how much faster than the true clock the keyring's runs: rotations are
// announced minutes ahead.
const pace = 400

func fastClock(began time.Time) func() time.Time {
	return func() time.Time { return began.Add(time.Since(began) * pace) }
}

// rotationLayout's refresh interval and lead time, 30 s and 6 min, take 75 ms
// and 0.9 s at that pace.
var rotationLayout = keys.Layout{Refresh: 30 * time.Second, MaxOffline: time.Hour}

func openFast(ctx context.Context, namespace, path string, began time.Time) (*keys.Keyring, error) {
	return keys.Open(ctx, namespace, keys.NewFile(path), keys.InsecurePlain(),
		&keys.Options{Refresh: 50 * time.Millisecond, Now: fastClock(began)})
}

// traffic writes and reads until standard input ends.
func (a assignment) traffic() (report, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	keyring, err := openFast(ctx, a.Namespace, a.Keyring, a.Began)
	if err != nil {
		return report{}, err
	}
	defer keyring.Close()
	c, err := a.dial(ctx, keyring, fastClock(a.Began))
	if err != nil {
		return report{}, err
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return a.run(ctx, c), nil
}

func (a assignment) dial(ctx context.Context, k *keys.Keyring, now func() time.Time) (*securecache.Cache, error) {
	tls, err := hardening.ClientTLS(a.Files, "")
	if err != nil {
		return nil, err
	}
	return securecache.Dial(ctx, a.URL, tls, k, &securecache.Options{Codec: codec.Options{Now: now}})
}

// read reads, whenever it is sent a list of names, each of them with the keyring
// as it then is, and prints what became of how many.
func (a assignment) read() error {
	ctx := context.Background()
	now := func() time.Time { return time.Now().Add(a.Ahead) }
	keyring, err := keys.Open(ctx, a.Namespace, keys.NewFile(a.Keyring), keys.InsecurePlain(), &keys.Options{Now: now})
	if err != nil {
		return err
	}
	defer keyring.Close()
	c, err := a.dial(ctx, keyring, now)
	if err != nil {
		return err
	}
	defer c.Close()
	for in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout); ; {
		var list []string
		if err := in.Decode(&list); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := keyring.Refresh(ctx); err != nil {
			return err
		}
		counts := map[string]int{}
		for _, name := range list {
			_, err := c.Get(ctx, name)
			counts[became(err)]++
		}
		if err := out.Encode(counts); err != nil {
			return err
		}
	}
}

// became is the reason of a refusal, "opened", or another error's text.
func became(err error) string {
	var refused *securecache.RefusedError
	switch {
	case err == nil:
		return "opened"
	case errors.As(err, &refused):
		return refused.Reason.String()
	default:
		return err.Error()
	}
}

func (a assignment) run(ctx context.Context, c *securecache.Cache) report {
	var r report
	var mu sync.Mutex
	count := func(n *int, err error) {
		mu.Lock()
		defer mu.Unlock()
		if *n++; err != nil && ctx.Err() == nil && len(r.Failures) < 10 {
			r.Failures = append(r.Failures, err.Error())
		}
	}
	var wg sync.WaitGroup
	for range perChild {
		wg.Go(func() {
			for ctx.Err() == nil {
				count(&r.Sets, c.Set(ctx, anyName(), []byte("value"), 24*time.Hour))
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				value, err := c.Get(ctx, anyName())
				if err == nil && string(value) != "value" {
					err = errors.New("a wrong value")
				}
				count(&r.Gets, err)
			}
		})
	}
	wg.Wait()
	return r
}

func anyName() string { return "name " + strconv.Itoa(rand.IntN(names)) }
