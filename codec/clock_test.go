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
