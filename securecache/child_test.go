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
	Began                   time.Time // where the fast clock and the true one agree
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
	if role != "traffic" {
		return 2
	}
	var a assignment
	r, err := report{}, json.Unmarshal([]byte(os.Getenv(assignmentEnv)), &a)
	if err == nil {
		r, err = a.traffic()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if json.NewEncoder(os.Stdout).Encode(r) != nil {
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
	tls, err := hardening.ClientTLS(a.Files, "")
	if err != nil {
		return report{}, err
	}
	c, err := securecache.Dial(ctx, a.URL, tls, keyring, &securecache.Options{Codec: codec.Options{Now: fastClock(a.Began)}})
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
