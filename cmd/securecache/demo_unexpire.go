package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// linkLife is how long the one-time links of the demonstration live: long
// enough for the server's administrator to get at them, short enough to wait.
const linkLife = 2 * time.Second

// demoLinks are a record to be kept beyond its end, and one to be restored.
func demoLinks() (kept, copied demoRecord) {
	return demoRecord{"password-reset/u-20417", []byte("demo_pr_Hq4ZxTn8RwLc2VbKs7JmYd5E"), linkLife},
		demoRecord{"password-reset/u-33102", []byte("demo_pr_Gp9UaFo1QvXe6WiNt3CkBz0M"), linkLife}
}

// unexpire has the server keep one record beyond its end, and hold another
// again.
func (d *demo) unexpire(ctx context.Context) error {
	d.out.section("The same person keeps records beyond their end")
	d.out.text("Two links to reset a password live for %s. One is made to stay on the server (PERSIST), "+
		"one is copied (DUMP) and written again after its end (RESTORE).", linkLife)
	d.checks("what is done", "what is seen")
	kept, copied := demoLinks()
	for _, r := range []demoRecord{kept, copied} {
		if err := d.app().Set(ctx, r.name, r.value, r.ttl); err != nil {
			return err
		}
	}
	ends := time.Now().Add(linkLife)
	restore, err := d.holdBack(ctx, kept.name, copied.name)
	if err != nil {
		return err
	}
	_, err = d.app().Get(ctx, kept.name)
	d.expect("the first read in its time", opened, outcome(err))
	if err := until(ctx, ends); err != nil {
		return err
	}
	if err := restore(); err != nil {
		return err
	}
	return d.expectEnded(ctx, kept.name, copied.name)
}

// holdBack takes the end from one key and copies another, and hands back what
// writes the copy.
func (d *demo) holdBack(ctx context.Context, kept, copied string) (restore func() error, err error) {
	keptKey, err := d.key(kept)
	if err != nil {
		return nil, err
	}
	copiedKey, err := d.key(copied)
	if err != nil {
		return nil, err
	}
	admin := d.stage.admin
	held, err := admin.Persist(ctx, keptKey).Result()
	if err == nil && !held {
		err = redis.Nil
	}
	var text string
	if err == nil {
		text, err = admin.Dump(ctx, copiedKey).Result()
	}
	if errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("this machine is too slow for a record of %s: it was gone before the server's administrator came by", linkLife)
	}
	return func() error { return admin.RestoreReplace(ctx, copiedKey, 0, text).Err() }, err
}

// expectEnded checks that the server has both records for ever and that the
// application has neither.
func (d *demo) expectEnded(ctx context.Context, kept, copied string) error {
	for _, row := range []struct{ how, name string }{{"PERSIST", kept}, {"RESTORE", copied}} {
		key, err := d.key(row.name)
		if err != nil {
			return err
		}
		ttl, err := d.stage.admin.PTTL(ctx, key).Result()
		if err != nil {
			return err
		}
		d.expect(row.how+", after its end: the server", "has it, no TTL", held(ttl))
		_, err = d.app().Get(ctx, row.name)
		d.expect(row.how+", after its end: the application", missed, outcome(err))
	}
	return nil
}

// held puts a reply to PTTL in words.
func held(ttl time.Duration) string {
	switch ttl {
	case -1:
		return "has it, no TTL"
	case -2:
		return "has nothing"
	default:
		return "has it, TTL " + ttl.String()
	}
}
