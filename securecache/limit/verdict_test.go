package limit_test

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/faults"
	"github.com/securecache/securecache-go/securecache/limit"
)

// tick is what the server's milliseconds hide.
const tick = 2 * time.Millisecond

// check holds a history to what limits promise.
func (h *history) check(t *testing.T) {
	t.Helper()
	answers := map[answer]int{}
	for name, a := range algorithms {
		for _, one := range h.takes[a] {
			answers[one.answer]++
		}
		for _, wrong := range tooMuch(h.takes[a], h.flushed, newModel(a, rates[a]).most) {
			t.Errorf("%s: more than may be from %+v to %+v", name, wrong[0], wrong[1])
		}
		for _, wrong := range refusedForNothing(h.takes[a], a, rates[a]) {
			t.Errorf("%s: refused although there was enough: %+v", name, wrong)
		}
	}
	for _, wrong := range tooMany(h.holds, h.flushed, leaseCount) {
		t.Errorf("more leases than there are when %+v was given", wrong)
	}
	for _, wrong := range turnedAway(h.holds, leaseCount) {
		t.Errorf("a lease was refused although there was one: %+v", wrong)
	}
	t.Logf("%d taken, %d refused, %d without an answer", answers[taken], answers[refused], answers[unknown])
	if h.count < enough || answers[refused] < enough/10 {
		t.Error("too few to say anything")
	}
}

// epoch is how many times everything was deleted before a call; false where one
// of them may have been within it.
func epoch(call faults.Span, flushed []faults.Span) (n int, clear bool) {
	for _, f := range flushed {
		switch {
		case f.To < call.From:
			n++
		case f.From <= call.To:
			return 0, false
		}
	}
	return n, true
}

// tooMuch returns the first and the last of what was taken in a stretch of time
// in which no more than most may be, unless all was deleted meanwhile. Each was
// taken between the two ends of its call, so all calls that lie within a stretch
// were.
func tooMuch(list []taking, flushed []faults.Span, most func(time.Duration) *big.Rat) (wrong [][2]taking) {
	byEpoch := map[int][]taking{}
	for _, one := range list {
		if n, clear := epoch(one.call, flushed); clear && one.answer == taken {
			byEpoch[n] = append(byEpoch[n], one)
		}
	}
	for _, list := range byEpoch {
		slices.SortFunc(list, func(a, b taking) int { return cmp.Compare(a.call.To, b.call.To) })
		for _, first := range list {
			sum := 0
			for _, last := range list {
				if last.call.From < first.call.From {
					continue
				}
				sum += last.n
				stretch := last.call.To - first.call.From + tick
				if most(stretch).Cmp(big.NewRat(int64(sum), 1)) < 0 {
					wrong = append(wrong, [2]taking{first, last})
					break
				}
			}
		}
	}
	return wrong
}

// late is how much longer than everybody else's a question may take that has lost
// its answer: it may lie in a proxy yet, or before a server that is stopped.
const late = time.Second

// refusedForNothing returns refusals that nothing explains: neither what had been
// taken, nor what may have been without an answer, as late as it may have been.
func refusedForNothing(list []taking, a limit.Algorithm, r limit.Rate) (wrong []taking) {
	var counted []taking
	for _, one := range list {
		if one.answer == unknown {
			one.call.To = settled(one.call.To, list)
		}
		if one.answer != refused {
			counted = append(counted, one)
		}
	}
	for _, one := range list {
		if one.answer == refused && !explained(one, counted, a, r) {
			wrong = append(wrong, one)
		}
	}
	return wrong
}

// settled is when a question must have been dealt with that was given up at some
// time: when another has been asked since and answered.
func settled(givenUp time.Duration, list []taking) time.Duration {
	end := time.Duration(math.MaxInt64)
	for _, other := range list {
		if other.answer != unknown && other.call.From >= givenUp {
			end = min(end, other.call.To+late)
		}
	}
	return end
}

func explained(one taking, counted []taking, a limit.Algorithm, r limit.Rate) bool {
	since := func(from time.Duration) int64 {
		sum := one.n
		for _, other := range counted {
			if other.call.From <= one.call.To && other.call.To >= from {
				sum += other.n
			}
		}
		return int64(sum)
	}
	switch a {
	case limit.FixedWindow:
		return since(one.call.From-r.Period-tick) > int64(r.Count)
	case limit.SlidingWindow:
		return since(one.call.From-2*r.Period-tick) > int64(r.Count)
	}
	// What was taken from some time on, less what ran in since.
	for _, first := range append(slices.Clip(counted), one) {
		from := min(first.call.To, one.call.From)
		if over := since(from) - int64(r.Burst); over*int64(r.Period) > int64(one.call.From-from-tick)*int64(r.Count) && over > 0 {
			return true
		}
	}
	return false
}

// tooMany returns the leases that were given while as many were relied on.
func tooMany(list []holding, flushed []faults.Span, number int) (wrong []holding) {
	for _, one := range list {
		n, clear := epoch(one.call, flushed)
		if one.answer != taken || !clear {
			continue
		}
		at, running := one.call.To, 0
		for _, other := range list {
			m, clear := epoch(other.call, flushed)
			if other.answer == taken && clear && m == n && other.call.To <= at && at < other.until {
				running++
			}
		}
		if running > number {
			wrong = append(wrong, one)
		}
	}
	return wrong
}

// turnedAway returns the refusals at a time at which fewer leases ran than there
// are, whatever came of those without an answer.
func turnedAway(list []holding, number int) (wrong []holding) {
	for _, one := range list {
		if one.answer != refused {
			continue
		}
		running := 0
		for _, other := range list {
			if other.answer != refused && other.call.From <= one.call.To && other.gone >= one.call.From {
				running++
			}
		}
		if running < number {
			wrong = append(wrong, one)
		}
	}
	return wrong
}

// TestTheVerdictFindsWhatIsWrong gives it histories that no limit may have.
func TestTheVerdictFindsWhatIsWrong(t *testing.T) {
	const ms = time.Millisecond
	at := func(from, to time.Duration) faults.Span { return faults.Span{From: from * ms, To: to * ms} }
	rate := limit.Rate{Count: 10, Period: time.Second, Burst: 10}
	flushed := []faults.Span{at(100, 110)}
	full := taking{10, at(0, 1), taken}
	for name, tc := range map[string]struct {
		list    []taking
		flushed []faults.Span
		much    bool
		nothing bool
	}{
		"all at once":                     {list: []taking{full}},
		"one more":                        {list: []taking{full, {1, at(50, 51), taken}}, much: true},
		"one more, which took its time":   {list: []taking{full, {1, at(50, 101), taken}}},
		"one more, when it was back":      {list: []taking{full, {1, at(100, 101), taken}}},
		"two more, when one was back":     {list: []taking{full, {2, at(150, 151), taken}}, much: true},
		"after all was deleted":           {list: []taking{full, {10, at(120, 121), taken}}, flushed: flushed},
		"and then one more":               {list: []taking{full, {10, at(120, 121), taken}, {1, at(130, 131), taken}}, flushed: flushed, much: true},
		"as all was deleted":              {list: []taking{full, {10, at(105, 121), taken}}, flushed: flushed},
		"one by one, and one too early":   {list: []taking{full, {1, at(100, 101), taken}, {1, at(200, 201), taken}, {1, at(250, 251), taken}}, much: true},
		"refused at once":                 {list: []taking{full, {1, at(50, 51), refused}}},
		"refused with nothing taken":      {list: []taking{{1, at(50, 51), refused}}, nothing: true},
		"refused when it was back":        {list: []taking{full, {1, at(140, 141), refused}}, nothing: true},
		"refused, and something was lost": {list: []taking{full, {1, at(20, 21), unknown}, {1, at(140, 141), refused}}},
		"refused before all was taken":    {list: []taking{{10, at(60, 61), taken}, {1, at(50, 51), refused}}, nothing: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := len(tooMuch(tc.list, tc.flushed, newModel(limit.GCRA, rate).most)) > 0; got != tc.much {
				t.Errorf("too much: %t", got)
			}
			if got := len(refusedForNothing(tc.list, limit.GCRA, rate)) > 0; got != tc.nothing {
				t.Errorf("refused for nothing: %t", got)
			}
		})
	}
	for name, tc := range map[string]struct {
		list   []taking
		wanted map[limit.Algorithm]bool
	}{
		"in the next window":  {[]taking{full, {1, at(1100, 1101), refused}}, map[limit.Algorithm]bool{limit.FixedWindow: true}},
		"in the one after it": {[]taking{full, {1, at(2100, 2101), refused}}, map[limit.Algorithm]bool{limit.FixedWindow: true, limit.SlidingWindow: true}},
	} {
		for _, a := range []limit.Algorithm{limit.FixedWindow, limit.SlidingWindow} {
			if got := len(refusedForNothing(tc.list, a, rate)) > 0; got != tc.wanted[a] {
				t.Errorf("refused %s by %d: %t", name, a, got)
			}
		}
	}
}

// TestTheVerdictFindsLeases is the same for leases.
func TestTheVerdictFindsLeases(t *testing.T) {
	held := func(from, to, until time.Duration) holding {
		return holding{faults.Span{From: from, To: to}, taken, until, until}
	}
	never := holding{faults.Span{From: 5, To: 6}, refused, 0, 6}
	for name, tc := range map[string]struct {
		list       []holding
		flushed    []faults.Span
		many, away bool
	}{
		"two of two":           {list: []holding{held(0, 1, 9), held(2, 3, 9), never}},
		"three of two":         {list: []holding{held(0, 1, 9), held(2, 3, 9), held(4, 5, 9)}, many: true},
		"when one has ended":   {list: []holding{held(0, 1, 4), held(2, 3, 9), held(4, 5, 9)}},
		"after all is deleted": {list: []holding{held(0, 1, 9), held(2, 3, 9), held(6, 7, 9)}, flushed: []faults.Span{{From: 4, To: 5}}},
		"none was given":       {list: []holding{never}, away: true},
		"one has ended":        {list: []holding{held(0, 1, 9), held(2, 3, 4), never}, away: true},
		"one has no answer":    {list: []holding{held(0, 1, 9), {faults.Span{From: 2, To: 3}, unknown, 0, 9}, never}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := len(tooMany(tc.list, tc.flushed, 2)) > 0; got != tc.many {
				t.Errorf("too many: %t", got)
			}
			if got := len(turnedAway(tc.list, 2)) > 0; got != tc.away {
				t.Errorf("turned away: %t", got)
			}
		})
	}
}
