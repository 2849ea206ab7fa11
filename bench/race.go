package main

import (
	"context"
	"fmt"
)

// side is one way to do something, called from busy goroutines.
type side struct {
	who    string
	target float64 // of its rate by the base's, 0 for none
	op     func(worker, i int) error
}

// race measures sides against base, as far as they are wanted.
func (b *bench) race(ctx context.Context, what string, base side, others []side) error {
	what = fmt.Sprintf("%s, %d goroutines", what, busy)
	var wanted []side
	var loads []workload
	for _, s := range others {
		if b.wants(what, s.who) {
			wanted, loads = append(wanted, s), append(loads, workload{busy, s.op, s.target})
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	b.say("%s", what)
	baseResult, results, err := compare(ctx, b.settings.parted(5), workload{busy, base.op, 0}, loads)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.rows = append(b.rows, row{what: what, who: base.who, figure: "1× the rate", cost: &baseResult.cost})
	for i, r := range results {
		line := row{what: what, who: wanted[i].who, figure: r.ratio.String() + " the rate", cost: &r.cost}
		if t := wanted[i].target; t > 0 {
			line.targets = []target{atLeast(r.ratio.median, t, "×")}
		}
		b.rows = append(b.rows, line)
	}
	return nil
}

// turn is which of so many one takes the i-th time.
func turn(worker, i, of int) int { return (worker*of/busy + i) % of }
