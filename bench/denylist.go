package main

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/token"
)

const denylistTarget = 0.9

var errDenylist = errors.New("a denylist does not say what it should")

// denylist measures the check of a token and its subject, none of them revoked,
// beside two GETs in one pipeline that find nothing either; and then with an entry
// for each subject, which is read and opened.
func (b *bench) denylist(ctx context.Context) error {
	for _, c := range []struct {
		what   string
		cutOff bool
	}{
		{"Check a token", false},
		{"Check a token whose subject has a cut-off", true},
	} {
		base, err := b.twoGets(ctx, c.cutOff)
		if err != nil {
			return err
		}
		plain, err := b.check(ctx, "securecache", denylistTarget, nil, c.cutOff)
		if err != nil {
			return err
		}
		batched, err := b.check(ctx, "securecache, Batch", 0, &securecache.Options{Batch: true}, c.cutOff)
		if err != nil {
			return err
		}
		if err := b.race(ctx, c.what, base, []side{plain, batched}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) check(ctx context.Context, who string, target float64, o *securecache.Options, cutOff bool) (side, error) {
	cache, err := b.cache(o)
	if err != nil {
		return side{}, err
	}
	d, err := token.NewDenylist(cache, &token.Options{Life: 24 * time.Hour})
	if err != nil {
		return side{}, err
	}
	now := time.Now()
	tokens := make([]token.Token, nameCount)
	for i := range tokens {
		tokens[i] = token.Token{ID: token.JTI(nameOf("jti", i)), Subject: nameOf("subject", i), Issued: now}
		if !cutOff {
			continue
		}
		if err := d.RevokeSubject(ctx, tokens[i].Subject, now.Add(-time.Hour)); err != nil {
			return side{}, err
		}
	}
	return side{who, target, func(worker, i int) error {
		revoked, err := d.Revoked(ctx, tokens[turn(worker, i, nameCount)])
		if revoked && err == nil {
			err = errDenylist
		}
		return err
	}}, nil
}

// twoGets is go-redis alone, which finds eight bytes for a subject that has a
// cut-off.
func (b *bench) twoGets(ctx context.Context, cutOff bool) (side, error) {
	rdb := b.client()
	names := make([][2]string, nameCount)
	for i := range names {
		names[i] = [2]string{nameOf("jti", i), nameOf("subject", i)}
		if !cutOff {
			continue
		}
		if err := rdb.Set(ctx, names[i][1], valueOf(8), ttl).Err(); err != nil {
			return side{}, err
		}
	}
	return side{"go-redis, two GETs in a pipeline", 0, func(worker, i int) error {
		var found [2]*redis.StringCmd
		_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for j, name := range names[turn(worker, i, nameCount)] {
				found[j] = p.Get(ctx, name)
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		if len(found[0].Val()) != 0 || (len(found[1].Val()) == 8) != cutOff {
			return errDenylist
		}
		return nil
	}}, nil
}
