package servertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// Main is the end of a TestMain: it runs the tests, and fails where they leave
// goroutines behind.
func Main(m *testing.M) { os.Exit(Tests(m).Run()) }

// Tests are what Main runs, for a TestMain that ends in another way.
func Tests(m *testing.M) interface{ Run() int } { return settled{m} }

// quiet drops what go-redis has to say of servers that are away: what matters of
// it comes back as an error.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// settled is the tests, what ends by itself after them, and a look at what does
// not.
type settled struct{ m *testing.M }

// last are goroutines that nobody waits for and that goleak would not give the
// time they take: toxiproxy's, of connections that it has ended, and go-redis',
// of a closed pool whose server was away, which looks up once a second.
var last = [][]byte{[]byte("Shopify/toxiproxy"), []byte("pool.(*ConnPool).tryDial")}

func (s settled) Run() int {
	redis.SetLogger(quiet{})
	if code := s.m.Run(); code != 0 {
		return code
	}
	stacks := make([]byte, 4<<20)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && lingers(stacks[:runtime.Stack(stacks, true)]); {
		<-tick.C
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "left behind:", err)
		return 1
	}
	return 0
}

func lingers(stacks []byte) bool {
	for _, name := range last {
		if bytes.Contains(stacks, name) {
			return true
		}
	}
	return false
}
