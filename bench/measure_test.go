package main

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

func TestSummary(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		want   spread
	}{
		{"one", []float64{2}, spread{2, 2, 2}},
		{"odd", []float64{9, 1, 2}, spread{2, 1, 9}},
		{"even", []float64{4, 1, 2, 3}, spread{2.5, 1, 4}},
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
	got := ofRounds([]float64{1, 100, 2, 4, 3, 0.01}, 3)
	if want := (spread{2.5, 2, 3}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
}

func TestInverse(t *testing.T) {
	if got, want := (spread{0.5, 0.25, 1}).inverse(), (spread{2, 1, 4}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
}

// quick are settings for a comparison that takes a moment.
var quick = settings{rounds: 3, parts: 2, slice: 2 * time.Millisecond}

// wait is a workload whose rate is known.
func wait(d time.Duration) workload {
	return workload{1, func(int, int) error {
		for began := time.Now(); time.Since(began) < d; {
		}
		return nil
	}, false}
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

func TestCompareMeasuresHeldMoreOften(t *testing.T) {
	var runs [2]int
	counted := func(k int, held bool) workload {
		return workload{1, func(_, i int) error {
			if i == 0 {
				runs[k]++
			}
			return nil
		}, held}
	}
	if _, _, err := compare(t.Context(), quick, wait(time.Microsecond), []workload{counted(0, true), counted(1, false)}); err != nil {
		t.Fatal(err)
	}
	const warm = 1
	if want := quick.rounds * quick.parts; runs[1]-warm != want || runs[0]-warm != often*want {
		t.Errorf("held %d times, the other %d, want %d and %d", runs[0]-warm, runs[1]-warm, often*want, want)
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
		}, false}})
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
