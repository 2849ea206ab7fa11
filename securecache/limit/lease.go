package limit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// Leases limit how many of something go on at a time. It is safe for concurrent
// use.
//
// A lease ends by itself after its TTL, so that a process that dies keeps its
// place no longer than that; whoever takes longer renews it. A process that
// stalls past the end of its lease goes on beside the one that has its place
// now: leases bound a load, they guard nothing. Where the last word on that is
// needed, there is package lock and its fence.
type Leases struct {
	asker
	number int
	ttl    time.Duration
	here   *places // where the options say Local
}

const (
	minTTL = 10 * time.Millisecond
	maxTTL = 30 * 24 * time.Hour
)

// NewLeases returns leases for ttl, from 10 ms to 30 days, of which number can
// be had at a time under each name. o may be nil. With [Local], a process that
// gets no answer gives out its share of number, and one at least.
func NewLeases(c *securecache.Cache, number int, ttl time.Duration, o *Options) (*Leases, error) {
	if c == nil {
		return nil, errors.New("limit: a cache is needed")
	}
	set := o.orDefault()
	if err := set.validate(); err != nil {
		return nil, err
	}
	if number < 1 || number > maxCount || ttl < minTTL || ttl > maxTTL {
		return nil, fmt.Errorf("%w: leases are from 1 to %d, for %v to %v", ErrRate, maxCount, minTTL, maxTTL)
	}
	l := &Leases{asker: asker{c, set, string(formLeases)}, number: number, ttl: ttl}
	if set.WhenAway == Local {
		l.here = &places{number: max(number/set.Nodes, 1), now: set.Now}
	}
	return l, nil
}

// Lease is a place that was obtained. It is safe for concurrent use.
type Lease struct {
	leases *Leases
	name   string
	who    string
	where  where
	until  atomic.Pointer[time.Time]
}

// where is who knows of a lease.
type where int

const (
	onServer where = iota
	inProcess
	nowhere // everything was let through
)

// whereabouts of what was given without an answer.
var whereabouts = map[WhenAway]where{FailOpen: nowhere, Local: inProcess}

// Acquire obtains a lease under name, which has to be released, or says that
// there is none: the lease is nil where the Result does not allow it. Its
// RetryAfter is when enough leases will have ended, unless they are renewed or
// given back. Errors are those of [Limiter.AllowN], and the Result is to be acted
// on with one too; where the reply was lost, a place may be taken until the TTL
// is up.
func (l *Leases) Acquire(ctx context.Context, name string) (*Lease, Result, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	lease := &Lease{leases: l, name: name, who: base64.RawURLEncoding.EncodeToString(random[:])}
	start := l.options.Now()
	res, err := l.askFor(ctx, name, lease.who, l.ttl)
	if err != nil {
		var did WhenAway
		res, did, err = l.withoutAnswer(ctx, err, func() Result { return l.here.take(name, lease.who, l.ttl) })
		lease.where = whereabouts[did]
	}
	if !res.Allowed {
		return nil, res, err
	}
	lease.runs(start)
	return lease, res, err
}

// Peek says what [Leases.Acquire] would, and takes nothing.
func (l *Leases) Peek(ctx context.Context, name string) (Result, error) {
	res, err := l.askFor(ctx, name, "", 0)
	if err != nil {
		res, _, err = l.withoutAnswer(ctx, err, func() Result { return l.here.look(name) })
	}
	return res, err
}

func (l *Leases) askFor(ctx context.Context, name, who string, ttl time.Duration) (Result, error) {
	reply, err := l.ask(ctx, lua.AcquireLease, name, who, l.number, ttl.Milliseconds())
	if err != nil {
		return Result{}, err
	}
	list, ok := reply.Value.([]any)
	if !ok || len(list) != 3 {
		return Result{}, fmt.Errorf("%w: a %T, not three numbers", errReply, reply.Value)
	}
	var n [3]int64
	for i := range n {
		if n[i], ok = list[i].(int64); !ok || n[i] < 0 {
			return Result{}, fmt.Errorf("%w: its number %d", errReply, i+1)
		}
	}
	return Result{
		Allowed: n[0] == 1, Limit: l.number, Remaining: int(max(int64(l.number)-n[1], 0)), RetryAfter: millis(n[2]),
	}, nil
}

// Until returns when the lease ends unless it is renewed, by this process'
// clock: the TTL from before it was asked for, less an allowance of 1 % and 2 ms
// for clocks that do not run alike.
func (l *Lease) Until() time.Time { return *l.until.Load() }

// runs says that the lease was given at some time after start.
func (l *Lease) runs(start time.Time) {
	ttl := l.leases.ttl
	until := start.Add(ttl - ttl/100 - 2*time.Millisecond)
	l.until.Store(&until)
}

// Renew has the lease run for its TTL from now on. [ErrLost] says that it had
// ended; another may have its place. With any other error it runs for as long as
// it did, or for longer.
func (l *Lease) Renew(ctx context.Context) error {
	start := l.leases.options.Now()
	renewed := true
	switch l.where {
	case onServer:
		reply, err := l.leases.ask(ctx, lua.RenewLease, l.name, l.who, l.leases.ttl.Milliseconds())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		n, err := reply.Int()
		if err != nil {
			return err
		}
		renewed = n == 1
	case inProcess:
		renewed = l.leases.here.renew(l.name, l.who, l.leases.ttl)
	}
	if !renewed {
		return ErrLost
	}
	l.runs(start)
	return nil
}

// Release gives the lease back. [ErrLost] says that it had ended before, and that
// more may have gone on at a time than there are leases. With any other error
// it may be there still, until its TTL is up.
func (l *Lease) Release(ctx context.Context) error {
	released := true
	switch l.where {
	case onServer:
		reply, err := l.leases.ask(ctx, lua.ReleaseLease, l.name, l.who)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		n, err := reply.Int()
		if err != nil {
			return err
		}
		released = n == 1 || reply.Resent // the reply that was lost may have said so
	case inProcess:
		released = l.leases.here.release(l.name, l.who)
	}
	if !released {
		return ErrLost
	}
	return nil
}
