package securecache_test

import (
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/securecache/securecache-go/internal/server/faults"
)

// outcome is what a client knows of a replacement.
type outcome int

const (
	done outcome = iota
	conflict
	unknown // it came to pass at some time after it was asked for, or never
	proven  // as unknown, but somebody has read its value
)

// step is one look at a register, or one replacement of a value that had been
// read. No two replacements have the same value.
type step struct {
	client     int
	replaces   bool
	old, value string
	outcome    outcome
	call       faults.Span
}

// first is what is in a register at the beginning.
const first = "first"

var register = porcupine.Model{
	Init: func() any { return first },
	Step: func(state, input, _ any) (bool, any) {
		now, s := state.(string), input.(step)
		switch {
		case !s.replaces:
			return s.value == now, now
		case s.outcome == conflict:
			return s.old != now, now
		case s.old == now:
			return true, s.value
		default: // an unknown one may have come too late; that it never came is the same as that it came last
			return s.outcome == unknown, now
		}
	},
}

// linearizable looks for an order that explains all steps. Replacements of
// unknown outcome that nobody has seen come last in it or nowhere, as a rule, and
// are left out at first: each that is open doubles the orders to look through.
func linearizable(steps []step) porcupine.CheckResult {
	read := map[string]bool{}
	for _, s := range steps {
		if !s.replaces {
			read[s.value] = true
		}
	}
	var some, all []porcupine.Operation
	for _, s := range steps {
		if s.outcome == unknown {
			s.call.To = math.MaxInt64
			if read[s.value] {
				s.outcome = proven
			}
		}
		op := porcupine.Operation{ClientId: s.client, Input: s, Call: int64(s.call.From), Return: int64(s.call.To)}
		all = append(all, op)
		if s.outcome != unknown {
			some = append(some, op)
		}
	}
	if porcupine.CheckOperationsTimeout(register, some, time.Minute) == porcupine.Ok {
		return porcupine.Ok
	}
	return porcupine.CheckOperationsTimeout(register, all, time.Minute)
}

// TestTheRegisterFindsWhatIsWrong gives it histories that no register may have.
func TestTheRegisterFindsWhatIsWrong(t *testing.T) {
	get := func(value string, from, to time.Duration) step {
		return step{client: 1, value: value, call: faults.Span{From: from, To: to}}
	}
	swap := func(old, value string, o outcome, from, to time.Duration) step {
		return step{client: 2, replaces: true, old: old, value: value, outcome: o, call: faults.Span{From: from, To: to}}
	}
	for name, tc := range map[string]struct {
		steps []step
		want  porcupine.CheckResult
	}{
		"in order":                       {[]step{get(first, 0, 1), swap(first, "a", done, 2, 3), get("a", 4, 5)}, porcupine.Ok},
		"two replaced the same":          {[]step{swap(first, "a", done, 0, 1), swap(first, "b", done, 0, 1)}, porcupine.Illegal},
		"one of two did":                 {[]step{swap(first, "a", done, 0, 1), swap(first, "b", conflict, 0, 1)}, porcupine.Ok},
		"a conflict with nobody":         {[]step{swap(first, "a", conflict, 0, 1), get(first, 2, 3)}, porcupine.Illegal},
		"forgotten":                      {[]step{swap(first, "a", done, 0, 1), get(first, 2, 3)}, porcupine.Illegal},
		"a value of nobody":              {[]step{get("a", 0, 1)}, porcupine.Illegal},
		"unknown, and seen":              {[]step{swap(first, "a", unknown, 0, 1), get(first, 2, 3), get("a", 4, 5)}, porcupine.Ok},
		"unknown, seen, and gone":        {[]step{swap(first, "a", unknown, 0, 1), get("a", 2, 3), get(first, 4, 5)}, porcupine.Illegal},
		"unknown, and why others failed": {[]step{swap(first, "a", unknown, 0, 1), swap(first, "b", conflict, 2, 3)}, porcupine.Ok},
		"unknown, and over a later one":  {[]step{swap(first, "a", unknown, 0, 1), swap(first, "b", done, 2, 3), get("a", 4, 5)}, porcupine.Illegal},
	} {
		t.Run(name, func(t *testing.T) {
			if got := linearizable(tc.steps); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
