package limit_test

import (
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/faults"
	"github.com/securecache/securecache-go/securecache/limit"
)

// model is what an algorithm should do, written another way than the scripts.
type model interface {
	// take says whether so many are let through at a time, and how many are left.
	take(now time.Time, n int) (bool, int)
	// most is how much may be let through in a stretch of time, both ends
	// included.
	most(stretch time.Duration) *big.Rat
}

// leaky is a bucket with a hole: what is taken is poured in and runs out, a
// microsecond each microsecond.
type leaky struct {
	rate           limit.Rate
	interval, size int64
	level          int64
	last           time.Time
}

func newLeaky(r limit.Rate) *leaky {
	interval := r.Period.Nanoseconds() / int64(r.Count) / 1000
	if interval*int64(r.Count)*1000 < r.Period.Nanoseconds() {
		interval++
	}
	return &leaky{rate: r, interval: interval, size: interval * int64(r.Burst)}
}

func (m *leaky) take(now time.Time, n int) (bool, int) {
	m.level = min(max(m.level-now.Sub(m.last).Microseconds(), 0), m.size)
	m.last = now
	allowed := m.level+int64(n)*m.interval <= m.size
	if allowed {
		m.level += int64(n) * m.interval
	}
	return allowed, int((m.size - m.level) / m.interval)
}

// most is exact: the rate as it was given, not as it was rounded.
func (m *leaky) most(stretch time.Duration) *big.Rat {
	return flow(m.rate, m.rate.Burst, stretch)
}

// flow is what may come in a stretch of time beside a burst.
func flow(r limit.Rate, burst int, stretch time.Duration) *big.Rat {
	x := new(big.Rat).Mul(big.NewRat(int64(stretch), int64(r.Period)), big.NewRat(int64(r.Count), 1))
	return x.Add(x, big.NewRat(int64(burst), 1))
}

// counted remembers all that was let through, and when.
type counted struct {
	rate   limit.Rate
	events []event
	start  time.Time // of the present window
	begun  bool
}

type event struct {
	at time.Time
	n  int
}

// between counts from a time on to before another.
func (m *counted) between(from, to time.Time) (n int) {
	for _, e := range m.events {
		if !e.at.Before(from) && e.at.Before(to) {
			n += e.n
		}
	}
	return n
}

func (m *counted) window(now time.Time) int { return m.between(m.start, now.Add(1)) }

// fixedModel begins a window with what is first taken.
type fixedModel struct{ counted }

func (m *fixedModel) take(now time.Time, n int) (bool, int) {
	if m.begun && now.Sub(m.start) >= m.rate.Period {
		m.begun = false
	}
	used := 0
	if m.begun {
		used = m.window(now)
	}
	if used+n > m.rate.Count {
		return false, m.rate.Count - used
	}
	if !m.begun {
		m.start, m.begun = now, true
	}
	m.events = append(m.events, event{now, n})
	return true, m.rate.Count - used - n
}

func (m *fixedModel) most(stretch time.Duration) *big.Rat {
	return big.NewRat(int64(m.rate.Count)*(int64(stretch/m.rate.Period)+2), 1)
}

// slidingModel weighs the window before by how much of it is not past, as a
// fraction.
type slidingModel struct{ counted }

func (m *slidingModel) take(now time.Time, n int) (bool, int) {
	if !m.begun {
		m.start = now
	}
	start := m.start
	switch past := now.Sub(m.start) / m.rate.Period; {
	case past >= 2:
		start = now
	case past == 1:
		start = m.start.Add(m.rate.Period)
	}
	before := 0
	if past := now.Sub(m.start) / m.rate.Period; past < 2 {
		before = m.between(start.Add(-m.rate.Period), start)
	}
	left := big.NewRat(int64(start.Add(m.rate.Period).Sub(now)), int64(m.rate.Period))
	weight := left.Mul(left, big.NewRat(int64(before), 1))
	used := m.between(start, now.Add(1)) + ceil(weight)
	if used+n > m.rate.Count {
		return false, max(m.rate.Count-used, 0)
	}
	m.start, m.begun = start, true
	m.events = append(m.events, event{now, n})
	return true, m.rate.Count - used - n
}

func ceil(x *big.Rat) int {
	q, r := new(big.Int).QuoRem(x.Num(), x.Denom(), new(big.Int))
	return int(q.Int64()) + r.Sign()
}

func (m *slidingModel) most(stretch time.Duration) *big.Rat {
	return flow(m.rate, m.rate.Count, stretch)
}

// someRate draws a rate, and how finely time goes by.
func someRate(random *rand.Rand, a limit.Algorithm) (limit.Rate, time.Duration) {
	r := limit.Rate{Count: 1 + random.IntN(20)}
	if a == limit.GCRA {
		r.Period = time.Duration(r.Count)*time.Microsecond + time.Duration(random.Int64N(int64(3*time.Second)))
		r.Burst = 1 + random.IntN(20)
		return r, time.Microsecond
	}
	r.Period = time.Duration(1+random.IntN(3000)) * time.Millisecond
	return r, time.Millisecond
}

func newModel(a limit.Algorithm, r limit.Rate) model {
	switch a {
	case limit.GCRA:
		return newLeaky(r)
	case limit.FixedWindow:
		return &fixedModel{counted{rate: r}}
	default:
		return &slidingModel{counted{rate: r}}
	}
}

// TestAgainstModels draws rates, costs and times, and holds every answer to the
// model's, and all that was let through to what the package's doc allows.
func TestAgainstModels(t *testing.T) {
	steps := 400
	for name, algorithm := range algorithms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults.EachSeed(t, 1, 15, func(t *testing.T, seed uint64) {
				random := faults.Rand(seed, 0)
				rate, tick := someRate(random, algorithm)
				b := onMini(t)
				b.pass(b.clock.Now().Truncate(tick).Sub(b.clock.Now())) // windows know whole milliseconds
				l, m := limiter(t, b.cache, rate, &limit.Options{Algorithm: algorithm}), newModel(algorithm, rate)
				size := max(rate.Burst, 0)
				if size == 0 {
					size = rate.Count
				}
				var through []event
				for range steps {
					if random.IntN(3) > 0 {
						span := int64(rate.Period) / int64(rate.Count) * 3
						if random.IntN(20) == 0 {
							span = 3 * int64(rate.Period)
						}
						b.pass(time.Duration(random.Int64N(span + 1)).Truncate(tick))
					}
					n := 1 + random.IntN(min(size, 4))
					want, left := m.take(b.clock.Now(), n)
					res, err := l.AllowN(t.Context(), "name", n)
					ok(t, err)
					if res.Allowed != want || res.Remaining != left {
						t.Fatalf("rate %+v: %d more: %+v, the model has %t and %d", rate, n, res, want, left)
					}
					if res.Allowed {
						through = append(through, event{b.clock.Now(), n})
					}
				}
				within(t, rate, m, through)
			})
		})
	}
}

// within fails where more came in any stretch of time than may.
func within(t *testing.T, rate limit.Rate, m model, through []event) {
	t.Helper()
	if len(through) == 0 {
		t.Fatalf("rate %+v: nothing was let through", rate)
	}
	for i := range through {
		sum := 0
		for _, e := range through[i:] {
			sum += e.n
			if most := m.most(e.at.Sub(through[i].at)); most.Cmp(big.NewRat(int64(sum), 1)) < 0 {
				t.Fatalf("rate %+v: %d within %v, at most %s may come", rate, sum, e.at.Sub(through[i].at), most.FloatString(3))
			}
		}
	}
}

// TestWaits holds RetryAfter and ResetAfter to what happens: one tick earlier the
// answer is still the same, and then it is not.
func TestWaits(t *testing.T) {
	for name, algorithm := range algorithms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults.EachSeed(t, 1, 50, func(t *testing.T, seed uint64) {
				random := faults.Rand(seed, 0)
				rate, tick := someRate(random, algorithm)
				b := onMini(t)
				b.pass(b.clock.Now().Truncate(tick).Sub(b.clock.Now()))
				l := limiter(t, b.cache, rate, &limit.Options{Algorithm: algorithm})
				size := max(rate.Burst, 0)
				if size == 0 {
					size = rate.Count
				}
				for range 40 {
					n := 1 + random.IntN(size)
					res, err := l.AllowN(t.Context(), "name", n)
					ok(t, err)
					if res.Allowed {
						b.pass(time.Duration(random.Int64N(int64(rate.Period))).Truncate(tick))
						continue
					}
					if res.RetryAfter <= 0 {
						t.Fatalf("rate %+v: refused without a wait: %+v", rate, res)
					}
					b.pass(res.RetryAfter - tick)
					allowed(t, l, "name", n, false)
					b.pass(tick)
					res = allowed(t, l, "name", n, true)
					b.pass(res.ResetAfter - tick)
					if early, err := l.Peek(t.Context(), "name"); err != nil || early.Remaining >= early.Limit || early.ResetAfter != tick {
						t.Fatalf("rate %+v: before all is back: %+v, %v", rate, early, err)
					}
					b.pass(tick)
					if whole, err := l.Peek(t.Context(), "name"); err != nil || whole.Remaining != whole.Limit || whole.ResetAfter != 0 {
						t.Fatalf("rate %+v: when all is back: %+v, %v", rate, whole, err)
					}
				}
			})
		})
	}
}

// TestClockThatSteps moves the server's clock by an hour. What was taken before is
// used up for no longer than it takes to come back.
func TestClockThatSteps(t *testing.T) {
	for name, algorithm := range algorithms {
		t.Run(name, func(t *testing.T) {
			b := onMini(t)
			l := limiter(t, b.cache, limit.Rate{Count: 10, Period: time.Second}, &limit.Options{Algorithm: algorithm})
			allowed(t, l, "name", 10, true)
			b.pass(-time.Hour)
			allowed(t, l, "name", 1, false)
			allowed(t, l, "name", 1, false)
			b.pass(2 * time.Second)
			allowed(t, l, "name", 10, true)
			allowed(t, l, "name", 1, false)
			b.pass(time.Hour)
			allowed(t, l, "name", 10, true)
			allowed(t, l, "name", 1, false)
		})
	}
}

// TestLoweredRate: what an earlier release let through at once is used up, and
// comes back at the new rate.
func TestLoweredRate(t *testing.T) {
	for name, algorithm := range algorithms {
		t.Run(name, func(t *testing.T) {
			b := onMini(t)
			o := &limit.Options{Algorithm: algorithm}
			allowed(t, limiter(t, b.cache, limit.Rate{Count: 100, Period: 10 * time.Second}, o), "name", 100, true)
			l := limiter(t, b.cache, limit.Rate{Count: 5, Period: time.Second}, o)
			allowed(t, l, "name", 1, false)
			b.pass(2 * time.Second)
			allowed(t, l, "name", 5, true)
			allowed(t, l, "name", 1, false)
		})
	}
}
