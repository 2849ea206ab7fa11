package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/securecache"
)

const (
	deadline = 250 * time.Millisecond
	// How long a call may take, ±10 %.
	deadlineTarget = 275 // ms
	// The server hangs for longer than any deadline that is kept.
	hang = time.Second
)

// deadlines shows what a caller's deadline is worth while the server hangs.
func (b *bench) deadlines(ctx context.Context) error {
	const what = "250 ms deadline, server paused"
	callers, err := b.callers()
	if err != nil {
		return err
	}
	for _, c := range callers {
		if !b.wants(what, c.who) {
			continue
		}
		b.say("%s, %s", what, c.who)
		took, err := b.hung(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.who, err)
		}
		most := slices.Max(took)
		line := row{what: what, who: c.who, figure: fmt.Sprintf("%d calls of 64 goroutines back in %d–%d ms",
			len(took), slices.Min(took).Milliseconds(), most.Milliseconds())}
		if c.target > 0 {
			line.targets = []target{atMost(float64(most.Milliseconds()), deadlineTarget, " ms")}
		}
		b.rows = append(b.rows, line)
	}
	return nil
}

// callers are those whose deadlines are looked at.
func (b *bench) callers() ([]contender, error) {
	plain, err := b.ours("securecache", "hang", plainTarget, nil)
	if err != nil {
		return nil, err
	}
	batched, err := b.ours("securecache, Batch", "hangs", batchTarget, &securecache.Options{Batch: true})
	if err != nil {
		return nil, err
	}
	blocking, err := b.blocking()
	return []contender{plain, batched, blocking}, err
}

// blocking is the other face of go-redis' batching, shown for its deadlines.
func (b *bench) blocking() (contender, error) {
	pipe, err := b.client().AutoPipeline()
	if err != nil {
		return contender{}, err
	}
	b.onClose(pipe.Close)
	return contender{
		who: "go-redis, raw, AutoPipeline (blocking)", tag: "block",
		set: func(ctx context.Context, name string, value []byte) error {
			return pipe.Set(ctx, name, value, ttl).Err()
		},
		get: func(ctx context.Context, name string) ([]byte, error) { return pipe.Get(ctx, name).Bytes() },
	}, nil
}

// hung pauses the server under 64 callers, and returns how long each waited
// once it hung. All of them must give up for want of time, and the contender
// must work again afterwards.
func (b *bench) hung(ctx context.Context, c contender) ([]time.Duration, error) {
	if err := prove(ctx, c); err != nil {
		return nil, err
	}
	if err := b.server.Pause(); err != nil {
		return nil, err
	}
	resumed := make(chan error, 1)
	time.AfterFunc(hang, func() { resumed <- b.server.Resume() })
	took, err := callAll(ctx, c)
	if err := errors.Join(err, <-resumed); err != nil {
		return nil, err
	}
	return took, prove(ctx, c)
}

// callAll makes 64 concurrent calls, half of them writes.
func callAll(ctx context.Context, c contender) ([]time.Duration, error) {
	var (
		group sync.WaitGroup
		took  = make([]time.Duration, busy)
		errs  = make([]error, busy)
		value = valueOf(1 << 10)
	)
	for i := range busy {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, deadline)
			defer cancel()
			began := time.Now()
			var err error
			if i%2 == 0 {
				err = c.set(ctx, nameOf(c.tag, i), value)
			} else {
				_, err = c.get(ctx, nameOf(c.tag, 0))
			}
			took[i], errs[i] = time.Since(began), inTime(err)
		})
	}
	group.Wait()
	return took, errors.Join(errs...)
}

// inTime accepts what a call may answer that had no time: that, or an answer
// that came late.
func inTime(err error) error {
	var timeout interface{ Timeout() bool }
	if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout) ||
		errors.As(err, &timeout) && timeout.Timeout() {
		return nil
	}
	return err
}
