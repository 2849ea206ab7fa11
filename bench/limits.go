package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
)

const (
	limitTarget        = 1.1
	batchedLimitTarget = 1.4
	// limitRate a second is more than any name is asked for.
	limitRate = 100_000
)

var errLimit = errors.New("a limit does not say what it should")

// limits measures GCRA beside redis_rate, which has it as a script too, with
// seconds as doubles and names in clear.
func (b *bench) limits(ctx context.Context) error {
	for _, c := range []struct {
		what    string
		rate    limit.Rate
		allowed bool
	}{
		{"Allow what is within a limit", limit.Rate{Count: limitRate, Period: time.Second}, true},
		{"Allow what is beyond a limit", limit.Rate{Count: 1, Period: time.Hour}, false},
	} {
		base, err := b.redisRate(ctx, c.rate, c.allowed)
		if err != nil {
			return fmt.Errorf("redis_rate: %w", err)
		}
		plain, err := b.limiter(ctx, "securecache", limitTarget, nil, c.rate, c.allowed)
		if err != nil {
			return err
		}
		batched, err := b.limiter(ctx, "securecache, Batch", batchedLimitTarget, &securecache.Options{Batch: true}, c.rate, c.allowed)
		if err != nil {
			return err
		}
		if err := b.race(ctx, c.what, base, []side{plain, batched}); err != nil {
			return err
		}
	}
	return nil
}

// limitNames are for one side, each asked once.
func limitNames(tag string, ask func(name string) error) ([]string, error) {
	names := make([]string, nameCount)
	for i := range names {
		names[i] = nameOf(tag, i)
		if err := ask(names[i]); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (b *bench) limiter(ctx context.Context, who string, target float64, o *securecache.Options, r limit.Rate, allowed bool) (side, error) {
	cache, err := b.cache(o)
	if err != nil {
		return side{}, err
	}
	l, err := limit.New(cache, r, nil)
	if err != nil {
		return side{}, err
	}
	names, err := limitNames("limit", func(name string) error { _, err := l.Allow(ctx, name); return err })
	return side{who, target, func(worker, i int) error {
		res, err := l.Allow(ctx, names[turn(worker, i, nameCount)])
		if err == nil && res.Allowed != allowed {
			err = errLimit
		}
		return err
	}}, err
}

// redisRate is redis_rate as the application's user. It would load its script
// by EVAL, which that user may not, and chooses a prefix that he may not name.
func (b *bench) redisRate(ctx context.Context, r limit.Rate, allowed bool) (side, error) {
	rate := redis_rate.Limit{Rate: r.Count, Burst: r.Count, Period: r.Period}
	admin := redis.NewClient(b.server.AdminOptions())
	b.onClose(admin.Close)
	if err := admin.Do(ctx, "acl", "setuser", b.server.Options().Username, "~rate:*").Err(); err != nil {
		return side{}, err
	}
	if _, err := redis_rate.NewLimiter(admin).Allow(ctx, "loads the script", rate); err != nil {
		return side{}, err
	}
	l := redis_rate.NewLimiter(b.client())
	names, err := limitNames("rate", func(name string) error { _, err := l.Allow(ctx, name, rate); return err })
	return side{"redis_rate", 0, func(worker, i int) error {
		res, err := l.Allow(ctx, names[turn(worker, i, nameCount)], rate)
		if err == nil && res.Allowed > 0 != allowed {
			err = errLimit
		}
		return err
	}}, err
}
