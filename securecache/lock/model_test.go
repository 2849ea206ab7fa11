package lock_test

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/securecache/securecache-go/internal/server/faults"
)

// check holds a history to what locks promise.
func (h *history) check(t *testing.T) {
	t.Helper()
	if len(h.holds) < enough {
		t.Errorf("%d locks were held: too few to say anything", len(h.holds))
	}
	byName := map[string][]hold{}
	for _, one := range h.holds {
		byName[one.name] = append(byName[one.name], one)
	}
	for name, holds := range byName {
		slices.SortFunc(holds, func(a, b hold) int { return cmp.Compare(a.fence, b.fence) })
		for _, wrong := range fencesOutOfOrder(holds) {
			t.Errorf("%s: %+v and %+v: the fence does not rise", name, wrong[0], wrong[1])
		}
		for _, wrong := range heldTwice(holds, h.flushed) {
			t.Errorf("%s: %+v and %+v: held at once", name, wrong[0], wrong[1])
		}
	}
	h.checkWrites(t)
}

// fencesOutOfOrder returns pairs of holds in the order of their fences of which
// the second was obtained before the first was asked for, or has no greater
// fence. Nothing excuses that: neither lost data nor a lost server.
func fencesOutOfOrder(holds []hold) (wrong [][2]hold) {
	// The one that was asked for last among the smaller fences.
	var last hold
	for i, h := range holds {
		if i > 0 && (h.fence <= holds[i-1].fence || h.call.To < last.call.From) {
			wrong = append(wrong, [2]hold{last, h})
		}
		if h.call.From >= last.call.From {
			last = h
		}
	}
	return wrong
}

// heldTwice returns pairs of holds that both relied on the lock at one time,
// unless the locks were flushed after the first was asked for and before the
// second was obtained.
func heldTwice(holds []hold, flushed []faults.Span) (wrong [][2]hold) {
	for i, first := range holds {
		for _, second := range holds[i+1:] {
			if second.call.To >= first.until || first.call.To >= second.until {
				continue
			}
			excused := slices.ContainsFunc(flushed, func(f faults.Span) bool {
				return f.To >= first.call.From && f.From <= second.call.To
			})
			if !excused {
				wrong = append(wrong, [2]hold{first, second})
			}
		}
	}
	return wrong
}

// register is what a guarded value may be known to hold.
type register struct {
	fence, number int64
	value         string
}

// flush empties everything.
type flush struct{}

// values is the model of one guarded value: no write comes after one of a later
// fence or of a later number.
var values = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		now := state.(register)
		switch op := input.(type) {
		case flush:
			return true, register{}
		case read:
			return op.value == now.value, now
		case write:
			return op.step(now)
		default:
			panic("not in the model")
		}
	},
}

func (w write) step(now register) (bool, register) {
	later := now.fence > w.fence
	overtaken := now.fence == w.fence && now.number >= w.number
	switch {
	case w.result == fenced:
		return later, now
	case w.result == written && later:
		return false, now
	case later || overtaken: // an unknown one that came too late, or again
		return true, now
	}
	return true, register{w.fence, w.number, w.value}
}

// checkWrites looks for an order in which the model would have answered as the
// server did. A write of unknown outcome may have come at any time after it was
// sent; that it never came is the same as that it came last.
func (h *history) checkWrites(t *testing.T) {
	t.Helper()
	parts := map[string][]porcupine.Operation{}
	for _, w := range h.writes {
		if w.result == unknown {
			w.call.To = math.MaxInt64
		}
		parts[w.name] = append(parts[w.name], operation(w.client, w, w.call))
	}
	for _, r := range h.reads {
		parts[r.name] = append(parts[r.name], operation(r.client, r, r.call))
	}
	for name, ops := range parts {
		for _, f := range h.flushed {
			ops = append(ops, operation(clients, flush{}, f))
		}
		result, _ := porcupine.CheckOperationsVerbose(values, ops, time.Minute)
		if result != porcupine.Ok {
			t.Errorf("%s: %s: %+v", name, result, ops)
		}
	}
}

func operation(client int, input any, call faults.Span) porcupine.Operation {
	return porcupine.Operation{ClientId: client, Input: input, Call: int64(call.From), Return: int64(call.To)}
}

// TestTheModelFindsWhatIsWrong gives it histories that no lock may have.
func TestTheModelFindsWhatIsWrong(t *testing.T) {
	at := func(from, to time.Duration) faults.Span { return faults.Span{From: from, To: to} }
	first := hold{0, "l", 10, at(0, 1), 9}
	for name, tc := range map[string]struct {
		second       hold
		flushed      []faults.Span
		order, twice bool
	}{
		"after the first":               {hold{1, "l", 11, at(9, 10), 19}, nil, false, false},
		"the same fence":                {hold{1, "l", 10, at(9, 10), 19}, nil, true, false},
		"a smaller fence":               {hold{1, "l", 9, at(9, 10), 19}, nil, true, false},
		"a smaller one after a flush":   {hold{1, "l", 9, at(9, 10), 19}, []faults.Span{at(2, 3)}, true, false},
		"during the first":              {hold{1, "l", 11, at(3, 4), 19}, nil, false, true},
		"during it, after a flush":      {hold{1, "l", 11, at(3, 4), 19}, []faults.Span{at(2, 3)}, false, false},
		"during it, and a flush later":  {hold{1, "l", 11, at(3, 4), 19}, []faults.Span{at(5, 6)}, false, true},
		"as the first is given up":      {hold{1, "l", 11, at(3, 9), 19}, nil, false, false},
		"asked for before, given later": {hold{1, "l", 11, at(0, 12), 19}, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			holds := []hold{first, tc.second}
			slices.SortFunc(holds, func(a, b hold) int { return cmp.Compare(a.fence, b.fence) })
			if got := len(fencesOutOfOrder(holds)) > 0; got != tc.order {
				t.Errorf("out of order: %t", got)
			}
			if got := len(heldTwice(holds, tc.flushed)) > 0; got != tc.twice {
				t.Errorf("held twice: %t", got)
			}
		})
	}
	set := func(fence, number int64, value string, r result, from, to time.Duration) porcupine.Operation {
		return operation(0, write{0, "v", value, fence, number, at(from, to), r}, at(from, to))
	}
	get := func(value string, from, to time.Duration) porcupine.Operation {
		return operation(1, read{1, "v", value, at(from, to)}, at(from, to))
	}
	for name, tc := range map[string]struct {
		ops  []porcupine.Operation
		want porcupine.CheckResult
	}{
		"in order":                  {[]porcupine.Operation{set(1, 1, "a", written, 0, 1), get("a", 2, 3)}, porcupine.Ok},
		"a late write went through": {[]porcupine.Operation{set(2, 1, "b", written, 0, 1), set(1, 1, "a", written, 2, 3)}, porcupine.Illegal},
		"a late write was seen":     {[]porcupine.Operation{set(2, 1, "b", written, 0, 1), set(1, 1, "a", unknown, 2, math.MaxInt64), get("a", 4, 5)}, porcupine.Illegal},
		"fenced for nothing":        {[]porcupine.Operation{set(1, 1, "a", written, 0, 1), set(2, 1, "b", fenced, 2, 3)}, porcupine.Illegal},
		"back to the first write":   {[]porcupine.Operation{set(1, 1, "a", written, 0, 1), set(1, 2, "b", written, 2, 3), get("a", 4, 5)}, porcupine.Illegal},
		"forgotten":                 {[]porcupine.Operation{set(1, 1, "a", written, 0, 1), get("", 2, 3)}, porcupine.Illegal},
		"flushed":                   {[]porcupine.Operation{set(1, 1, "a", written, 0, 1), operation(2, flush{}, at(2, 3)), get("", 4, 5)}, porcupine.Ok},
	} {
		t.Run(name, func(t *testing.T) {
			if got := porcupine.CheckOperationsTimeout(values, tc.ops, time.Minute); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
