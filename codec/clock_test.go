package codec_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/securecache/securecache-go/codec"
)

func TestClockAgreesWithTheSystems(t *testing.T) {
	outside := codec.NewClock()
	outside()
	synctest.Test(t, func(t *testing.T) {
		inside := codec.NewClock()
		for _, pause := range []time.Duration{0, 1, time.Microsecond, 999 * time.Microsecond, time.Millisecond, 9 * time.Millisecond, time.Second, 48 * time.Hour, 3} {
			time.Sleep(pause)
			if got, want := inside(), time.Now().UnixMilli(); got != want {
				t.Errorf("after %v: %d, want %d", pause, got, want)
			}
			// One that was made elsewhere finds its way, but for the instant
			// between its readings of the two clocks.
			if got, want := outside(), time.Now().UnixMilli(); got != want && got != want-1 {
				t.Errorf("a clock of elsewhere, after %v: %d, want %d", pause, got, want)
			}
		}
	})
	if before, got, after := time.Now().UnixMilli(), outside(), time.Now().UnixMilli(); before-got > 20 || got > after {
		t.Errorf("back in its own time: %d, want %d to %d", got, before, after)
	}
}

// TestEndsAreMetExactly looks at ends that were far away when the clock was last
// read, and at others all the while.
func TestEndsAreMetExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := codec.NewBefore()
		for _, ahead := range []time.Duration{time.Millisecond, 9 * time.Millisecond, time.Second, 3 * time.Second, time.Minute, 48 * time.Hour} {
			end := time.Now().Add(ahead)
			for _, left := range []time.Duration{ahead, ahead / 2, 3 * time.Second, 11 * time.Millisecond, time.Millisecond, 1, 0, -1, -time.Hour} {
				time.Sleep(time.Until(end.Add(-left)))
				if got, want := before(end.UnixMilli()), time.Until(end) > 0; got != want {
					t.Errorf("an end %v ahead, %v before it: before is %v", ahead, time.Until(end), got)
				}
				before(end.Add(time.Hour).UnixMilli()) // from here on the clock need not be read
			}
			if before(end.UnixMilli()) || before(0) || !before(time.Now().UnixMilli()+1) {
				t.Errorf("an end %v ahead: at its end another answer than by the clock", ahead)
			}
		}
	})
}

func TestClockOfManyGoroutines(t *testing.T) {
	clock := codec.NewClock()
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
				before, got, after := time.Now().UnixMilli(), clock(), time.Now().UnixMilli()
				if got < before-1 || got > after+1 {
					t.Errorf("%d, not from %d to %d", got, before, after)
					return
				}
			}
		})
	}
	running.Wait()
}
