package limit

import (
	"fmt"
	"time"

	"github.com/securecache/securecache-go/scripts/lua"
)

// method is one algorithm with its numbers.
type method interface {
	// limit is the most that can be taken at once.
	size() int
	// span is how long it takes until all that was taken is forgotten.
	span() time.Duration
	// form is the first byte of its names.
	form() byte
	// scripts returns what takes, and what looks.
	scripts() (take, look *lua.Script)
	// args returns what the scripts are given; a cost of 0 looks.
	args(cost int) []any
	// taken reads the answer of a take, looked that of a look.
	taken(r lua.Reply, cost int) (Result, error)
	looked(r lua.Reply) (Result, error)
}

// The first bytes of names of kind r, by what is kept there (FORMAT.md).
const (
	formBucket byte = iota + 1
	formFixed
	formSliding
	formLeases
)

// bucket is GCRA's: what flows in is measured in microseconds of its time.
type bucket struct {
	interval int64 // µs of filling that one costs
	most     int64 // µs that fill it
	burst    int64 // how much it holds: most / interval
}

func (b bucket) size() int           { return int(b.burst) }
func (b bucket) span() time.Duration { return micros(b.most) }
func (bucket) form() byte            { return formBucket }

func (bucket) scripts() (take, look *lua.Script) { return lua.GCRA, lua.LookGCRA }

func (b bucket) args(cost int) []any { return []any{int64(cost) * b.interval, b.most} }

// result describes a bucket that will be full after ahead microseconds, to who
// still wants as much.
func (b bucket) result(ahead int64, wanted int) Result {
	wait := ahead + int64(wanted)*b.interval - b.most
	return Result{
		Allowed: wait <= 0, Limit: int(b.burst), Remaining: int((b.most - ahead) / b.interval),
		RetryAfter: micros(max(wait, 0)), ResetAfter: micros(ahead),
	}
}

func (b bucket) taken(r lua.Reply, cost int) (Result, error) {
	ahead, err := r.Int()
	if err != nil {
		return Result{}, err
	}
	took := ahead >= 0
	if took {
		cost = 0
	} else {
		ahead = -ahead
	}
	if ahead < 0 || ahead > b.most {
		return Result{}, fmt.Errorf("%w: a bucket of %d µs that is full after %d", errReply, b.most, ahead)
	}
	res := b.result(ahead, cost)
	if res.Allowed != took {
		return Result{}, fmt.Errorf("%w: refused although there is enough", errReply)
	}
	return res, nil
}

func (b bucket) looked(r lua.Reply) (Result, error) {
	ahead, err := r.Int()
	if err != nil {
		return Result{}, err
	}
	if ahead < 0 || ahead > b.most {
		return Result{}, fmt.Errorf("%w: a bucket of %d µs that is full after %d", errReply, b.most, ahead)
	}
	return b.result(ahead, 1), nil
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
