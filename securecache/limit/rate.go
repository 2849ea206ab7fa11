package limit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is how much is let through.
type Rate struct {
	// Count is how much in each Period.
	Count  int
	Period time.Duration

	// Burst is how much at once, with [GCRA]: Count where it is 0. The other
	// algorithms have no burst of their own.
	Burst int
}

// ParseRate reads a rate as people write it: 10/1m, 5/s, 1000/24h.
func ParseRate(text string) (Rate, error) {
	count, period, found := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	if !found || err != nil || n < 1 || n > maxCount {
		return Rate{}, fmt.Errorf("%w: it reads like 10/1m", ErrRate)
	}
	d, err := time.ParseDuration(period)
	if err != nil {
		d, err = time.ParseDuration("1" + period)
	}
	if err != nil || d <= 0 {
		return Rate{}, fmt.Errorf("%w: it reads like 10/1m", ErrRate)
	}
	return Rate{Count: n, Period: d}, nil
}

const (
	maxCount = 1<<31 - 1
	// maxSpan keeps the server's clock plus the longest wait, in microseconds,
	// where doubles know every whole number.
	maxSpan = 3660 * 24 * time.Hour
	// maxProduct is the same for what a sliding window multiplies.
	maxProduct = 1 << 53
)

// method returns how the rate is counted by an algorithm.
func (r Rate) method(a Algorithm) (method, error) {
	if r.Count < 1 || r.Count > maxCount || r.Period <= 0 || r.Period > maxSpan {
		return nil, fmt.Errorf("%w: it needs a count from 1 to %d and a period of up to ten years", ErrRate, maxCount)
	}
	if a == GCRA {
		return newBucket(r)
	}
	if r.Burst != 0 && r.Burst != r.Count {
		return nil, fmt.Errorf("%w: a window has no burst of its own", ErrRate)
	}
	if r.Period%time.Millisecond != 0 {
		return nil, fmt.Errorf("%w: a window is of whole milliseconds", ErrRate)
	}
	w := window{limit: int64(r.Count), period: r.Period.Milliseconds()}
	if a == FixedWindow {
		return fixed{w}, nil
	}
	if w.limit > maxProduct/w.period {
		return nil, fmt.Errorf("%w: a sliding window of that period can count up to %d", ErrRate, maxProduct/w.period)
	}
	return sliding{w}, nil
}

// newBucket rounds the interval up, so that never more is let through.
func newBucket(r Rate) (bucket, error) {
	burst := int64(r.Burst)
	if burst == 0 {
		burst = int64(r.Count)
	}
	if burst < 0 || burst > maxCount {
		return bucket{}, fmt.Errorf("%w: it needs a burst from 1 to %d", ErrRate, maxCount)
	}
	unit := int64(r.Count) * int64(time.Microsecond)
	if unit > int64(r.Period) {
		return bucket{}, fmt.Errorf("%w: more than one a microsecond", ErrRate)
	}
	interval := (int64(r.Period) + unit - 1) / unit
	if burst > maxSpan.Microseconds()/interval {
		return bucket{}, fmt.Errorf("%w: the burst takes more than ten years to come back", ErrRate)
	}
	return bucket{interval: interval, most: interval * burst, burst: burst}, nil
}
