package limit

import (
	"fmt"
	"time"

	"github.com/securecache/securecache-go/scripts/lua"
)

// window is what both windows have.
type window struct {
	limit  int64
	period int64 // ms
}

func (w window) size() int           { return int(w.limit) }
func (w window) args(cost int) []any { return []any{cost, w.limit, w.period} }

// numbers reads a reply of whole numbers, the first of which is 0 or 1. The
// others are not negative, and those before the last, which is a time, not over
// the limit.
func (w window) numbers(r lua.Reply, n int) ([]int64, error) {
	list, ok := r.Value.([]any)
	if !ok || len(list) != n {
		return nil, fmt.Errorf("%w: a %T, not %d numbers", errReply, r.Value, n)
	}
	all := make([]int64, n)
	for i, v := range list {
		most := w.limit
		switch i {
		case 0:
			most = 1
		case n - 1:
			most = w.period
		}
		if all[i], ok = v.(int64); !ok || all[i] < 0 || all[i] > most {
			return nil, fmt.Errorf("%w: its number %d", errReply, i+1)
		}
	}
	return all, nil
}

// judged is the result where it says what the script said.
func judged(res Result, took int64) (Result, error) {
	if res.Allowed != (took == 1) {
		return Result{}, fmt.Errorf("%w: what it says does not fit what was counted", errReply)
	}
	return res, nil
}

// fixed is the fixed window.
type fixed struct{ window }

func (f fixed) span() time.Duration { return millis(f.period) }
func (fixed) form() byte            { return formFixed }

func (fixed) scripts() (take, look *lua.Script) { return lua.FixedWindow, lua.LookFixedWindow }

// result describes a window that ends after left, to who still wants as much.
func (f fixed) result(count, left int64, wanted int) Result {
	left = max(left, 1)
	res := Result{Allowed: count+int64(wanted) <= f.limit, Limit: int(f.limit), Remaining: int(f.limit - count)}
	if count > 0 {
		res.ResetAfter = millis(left)
	}
	if !res.Allowed {
		res.RetryAfter = millis(left)
	}
	return res
}

func (f fixed) taken(r lua.Reply, cost int) (Result, error) {
	n, err := f.numbers(r, 3)
	if err != nil {
		return Result{}, err
	}
	if n[0] == 1 {
		cost = 0
	}
	return judged(f.result(n[1], n[2], cost), n[0])
}

func (f fixed) looked(r lua.Reply) (Result, error) {
	n, err := f.numbers(r, 3)
	if err != nil {
		return Result{}, err
	}
	return f.result(n[1], n[2], 1), nil
}

// sliding is the sliding window.
type sliding struct{ window }

func (s sliding) span() time.Duration { return millis(s.period) }
func (sliding) form() byte            { return formSliding }

func (sliding) scripts() (take, look *lua.Script) { return lua.SlidingWindow, lua.LookSlidingWindow }

// result describes a window that ends after left, to who still wants as much.
func (s sliding) result(previous, current, left int64, wanted int) Result {
	counted := current + (previous*left+s.period-1)/s.period
	res := Result{
		Allowed: counted+int64(wanted) <= s.limit, Limit: int(s.limit), Remaining: int(max(s.limit-counted, 0)),
	}
	if !res.Allowed {
		res.RetryAfter = millis(s.wait(previous, current, left, int64(wanted)))
	}
	switch {
	case current > 0:
		res.ResetAfter = millis(left + s.period)
	case previous > 0:
		res.ResetAfter = millis(left)
	}
	return res
}

// wait is how long it takes until as much can be taken, if nobody else takes
// anything: in this window, when few enough are left of what was before; in the
// next one, when few enough are left of what is counted now.
func (s sliding) wait(previous, current, left, wanted int64) int64 {
	if room := s.limit - current - wanted; room >= 0 {
		return max(left-room*s.period/previous, 1)
	}
	return left + max(s.period-(s.limit-wanted)*s.period/current, 0)
}

func (s sliding) taken(r lua.Reply, cost int) (Result, error) {
	n, err := s.numbers(r, 4)
	if err != nil {
		return Result{}, err
	}
	if n[0] == 1 {
		cost = 0
	}
	return judged(s.result(n[1], n[2], n[3], cost), n[0])
}

func (s sliding) looked(r lua.Reply) (Result, error) {
	n, err := s.numbers(r, 4)
	if err != nil {
		return Result{}, err
	}
	return s.result(n[1], n[2], n[3], 1), nil
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
