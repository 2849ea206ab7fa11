package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

func TestSummary(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		want   spread
	}{
		{"one", []float64{2}, spread{2, 2, 2, 0}},
		{"odd", []float64{9, 1, 2}, spread{2, 1, 9, 0}},
		{"even", []float64{4, 1, 2, 3}, spread{2.5, 1, 4, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := summary(test.values); got != test.want {
				t.Errorf("%+v, not %+v", got, test.want)
			}
		})
	}
}

func TestOfRounds(t *testing.T) {
	// Two rounds of three parts: an outlier in one part moves no bound.
	ratios := []float64{1, 100, 2, 4, 3, 0.01}
	got := ofRounds(ratios, 3)
	if want := (spread{2.5, 2, 3, errorOf(ratios)}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
}

func TestInverse(t *testing.T) {
	if got, want := (spread{0.5, 0.25, 1, 0.01}).inverse(), (spread{2, 1, 4, 0.04}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
}

// quick are settings for a comparison that takes a moment.
var quick = settings{rounds: 3, patience: 2, parts: 2, slice: 2 * time.Millisecond}

// wait is a workload whose rate is known.
func wait(d time.Duration) workload {
	return workload{1, func(int, int) error {
		for began := time.Now(); time.Since(began) < d; {
		}
		return nil
	}, 0}
}

func TestCompare(t *testing.T) {
	base, results, err := compare(t.Context(), quick, wait(20*time.Microsecond), []workload{wait(100 * time.Microsecond), wait(4 * time.Microsecond)})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || base.perOp < 20*time.Microsecond {
		t.Fatalf("%d results, the base takes %s", len(results), base.perOp)
	}
	// A loaded machine blurs what is five times slower or faster, and no more.
	if slow, quick := results[0].ratio.median, results[1].ratio.median; slow > 0.6 || quick < 1.6 {
		t.Errorf("ratios %.2f and %.2f, not about 0.2 and 5", slow, quick)
	}
}

func TestWhatIsNotClearIsMeasuredOn(t *testing.T) {
	at := func(target float64) workload { return workload{1, nil, target} }
	c := comparison{settings: quick, others: []workload{at(0), at(0.95), at(0.95), at(0.95)}, ratios: [][]float64{
		{0.8, 0.9, 1, 1.1},
		{0.8, 0.9, 1, 1.1},
		{1.8, 1.9, 2, 2.1},
		{0.951, 0.95, 0.95, 0.949},
	}}
	if got := c.turns(quick.rounds - 1); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("in the rounds of all: %v", got)
	}
	if got := c.turns(quick.rounds); !slices.Equal(got, []int{1}) {
		t.Errorf("after them: %v, not the one that may lie on either side of its target", got)
	}
}

func TestRoundsAreCounted(t *testing.T) {
	var runs [2]int
	counted := func(k int, target float64) workload {
		return workload{1, func(_, i int) error {
			if i == 0 {
				runs[k]++
			}
			return nil
		}, target}
	}
	if _, _, err := compare(t.Context(), quick, counted(0, 0), []workload{counted(1, 0)}); err != nil {
		t.Fatal(err)
	}
	const warm = 1
	if want := quick.rounds * quick.parts; runs[0]-warm != 2*want || runs[1]-warm != want {
		t.Errorf("%d runs beside %d of the base, want %d beside two each", runs[1]-warm, runs[0]-warm, want)
	}
}

func TestErrorOf(t *testing.T) {
	// Their median is 1, and the median of what they are off by 0.1.
	if got, want := errorOf([]float64{0.9, 1, 1, 1.1, 0.9, 100}), 1.253*1.483*0.1/math.Sqrt(6); math.Abs(got-want) > 1e-9 {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCompareCountsGoroutinesTogether(t *testing.T) {
	w := wait(100 * time.Microsecond)
	w.goroutines = 4
	base, _, err := compare(t.Context(), quick, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := 4 / base.rate; math.Abs(got-base.perOp.Seconds()) > got/100 {
		t.Errorf("%s a call at %.0f calls a second", base.perOp, base.rate)
	}
}

func TestCompareEnds(t *testing.T) {
	broken := errors.New("broken")
	t.Run("with the error of a workload", func(t *testing.T) {
		_, _, err := compare(t.Context(), quick, wait(time.Microsecond), []workload{{4, func(_, i int) error {
			if i > 10 {
				return broken
			}
			return nil
		}, 0}})
		if !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	})
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := compare(ctx, quick, wait(time.Microsecond), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
