package codec

import (
	"sync/atomic"
	"time"
)

// clock is time.Now at half its price, which is a good part of opening a small
// record. Between readings of the wall clock it counts on the monotonic clock
// alone, for tick at most; so a step of the wall clock, or a machine that was
// asleep, is noticed up to tick late.
//
// Most records end long after they are read. For them the clock need not be read
// at all while a timer, armed by the last look at it, has not run: that look was
// some ticks ago at most.
type clock struct {
	given  func() time.Time // read in place of all else, where it is not nil
	start  time.Time        // when the monotonic clock is taken to be zero
	read   atomic.Int64     // the monotonic clock at the last reading, nanoseconds
	offset atomic.Int64     // the wall clock's lead then
	recent atomic.Int64     // what before saw last, Unix milliseconds; 0 once tick has passed
}

const (
	tick = 10 * time.Millisecond
	// The timer of a process that has more to do than processors for it runs late,
	// but not by so many milliseconds.
	ample = int64(2 * time.Second / time.Millisecond)
)

// begin has c tell the time, the given clock's where that is not nil.
func (c *clock) begin(given func() time.Time) {
	c.start, c.given = time.Now(), given
	c.set()
}

// now returns Unix milliseconds, for wall clocks past 1970.
func (c *clock) now() int64 {
	if c.given != nil {
		return c.given().UnixMilli()
	}
	count := time.Since(c.start)
	if int64(count)-c.read.Load() > int64(tick) {
		count = c.set()
	}
	return (c.offset.Load() + int64(count)) / int64(time.Millisecond)
}

// before reports whether it is before end, Unix milliseconds.
func (c *clock) before(end int64) bool {
	if recent := c.recent.Load(); recent != 0 && end-recent > ample {
		return true
	}
	now := c.now()
	if c.given == nil && end-now > ample && c.recent.CompareAndSwap(0, now) {
		time.AfterFunc(tick, func() { c.recent.Store(0) })
	}
	return now < end
}

// set reads the wall clock and returns the monotonic clock.
func (c *clock) set() time.Duration {
	wall := time.Now()
	count := wall.Sub(c.start)
	// In this order: whoever sees the new reading sees its offset too.
	c.offset.Store(wall.UnixNano() - int64(count))
	c.read.Store(int64(count))
	return count
}
