package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/securecache"
)

const (
	ttl       = time.Hour
	nameCount = 256
	nameSize  = 40
	busy      = 64 // goroutines

	plainTarget = 0.95
	batchTarget = 1.3
)

// nameOf returns a name of 40 bytes. It begins as the application's user may
// name a key, so that peers can use it as one.
func nameOf(who string, i int) string {
	head := "sc:" + namespace + ":" + who + ":"
	return head + fmt.Sprintf("%0*d", nameSize-len(head), i)
}

// contender is one way to keep values on the server.
type contender struct {
	who    string
	tag    string  // in its names
	target float64 // of its rate by the base's at 64 goroutines, 0 for none
	absent string  // why it cannot be measured
	set    func(ctx context.Context, name string, value []byte) error
	get    func(ctx context.Context, name string) ([]byte, error)
}

// content is what the values are.
type content struct {
	text  string
	value []byte
	peers bool // are measured with it too, not only ourselves
	held  bool // to the targets
}

// contents are random bytes, which do not compress, and a text of the kind that
// is cached at that size. Random ones of 16 KiB are held to no target
// (docs/adr/0023-large-random-values.md).
func contents() []content {
	return []content{
		{text: "100 B", value: valueOf(100), peers: true, held: true},
		{text: "1 KiB", value: valueOf(1 << 10), peers: true, held: true},
		{text: "16 KiB", value: valueOf(16 << 10), peers: true},
		{text: "16 KiB of JSON", value: textOf(16 << 10), held: true},
	}
}

// textOf returns the beginning of a list of carts.
func textOf(size int) []byte {
	text := []byte{'['}
	for i := 0; len(text) < size; i++ {
		text = fmt.Appendf(text, `{"id":"%x","product":"Notebook, ruled, A5","colour":"green","price":{"amount":%d,"currency":"EUR"},"quantity":%d,"gift":false},`,
			valueOf(8), 499+i%900, 1+i%4)
	}
	return text[:size]
}

// values measures Set and Get over mutual TLS.
func (b *bench) values(ctx context.Context) error {
	base := b.raw()
	others, err := b.contenders(ctx)
	if err != nil {
		return err
	}
	for _, c := range append([]contender{base}, others...) {
		if err := prove(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.who, err)
		}
	}
	all := contents()
	for _, goroutines := range []int{busy, 1} {
		for _, s := range all {
			for _, op := range []string{"Set", "Get"} {
				c := cell{op: op, content: s, goroutines: goroutines}
				if err := b.cell(ctx, c, base, others); err != nil {
					return fmt.Errorf("%s: %w", c, err)
				}
			}
		}
	}
	return nil
}

// cell is one operation on values of one content with so many goroutines.
type cell struct {
	op string
	content
	goroutines int
}

func (c cell) String() string {
	if c.goroutines == 1 {
		return fmt.Sprintf("%s %s, 1 goroutine", c.op, c.text)
	}
	return fmt.Sprintf("%s %s, %d goroutines", c.op, c.text, c.goroutines)
}

// prove makes sure that a contender keeps what it is given.
func prove(ctx context.Context, c contender) error {
	if c.absent != "" {
		return nil
	}
	name, value := nameOf(c.tag, 0), valueOf(1<<10)
	if err := c.set(ctx, name, value); err != nil {
		return err
	}
	got, err := c.get(ctx, name)
	if err == nil && !bytes.Equal(got, value) {
		err = errors.New("a value does not come back as it was stored")
	}
	return err
}

func valueOf(size int) []byte {
	value := make([]byte, size)
	_, _ = rand.Read(value)
	return value
}

// cell measures a cell, everybody against base.
func (b *bench) cell(ctx context.Context, at cell, base contender, others []contender) error {
	what := at.String()
	wanted := slices.DeleteFunc(slices.Clone(others), func(c contender) bool {
		return !b.wants(what, c.who) || !at.peers && c.target == 0
	})
	if len(wanted) == 0 {
		return nil
	}
	b.say("%s", what)
	baseLoad, err := base.load(ctx, at)
	if err != nil {
		return err
	}
	var loads []workload
	for _, c := range wanted {
		if c.absent != "" {
			continue
		}
		w, err := c.load(ctx, at)
		if err != nil {
			return fmt.Errorf("%s: %w", c.who, err)
		}
		loads = append(loads, w)
	}
	baseResult, results, err := compare(ctx, b.settings.parted(5), baseLoad, loads)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, row{what: what, who: base.who, figure: "1× the rate", cost: &baseResult.cost})
	for _, c := range wanted {
		if c.absent != "" {
			b.rows = append(b.rows, row{what: what, who: c.who, figure: "absent: " + c.absent})
			continue
		}
		b.rows = append(b.rows, c.row(at, results[0]))
		results = results[1:]
	}
	return nil
}

// targetAt returns the target of that cell, 0 where it has none.
func (c contender) targetAt(at cell) float64 {
	if !at.held || at.goroutines != busy {
		return 0
	}
	return c.target
}

func (c contender) row(at cell, r result) row {
	line := row{what: at.String(), who: c.who, figure: r.ratio.String() + " the rate", cost: &r.cost}
	if t := c.targetAt(at); t > 0 {
		line.targets = []target{atLeast(r.ratio.median, t, "×")}
	}
	return line
}

// load returns the workload of a cell, with the values in place where it reads
// them.
func (c contender) load(ctx context.Context, at cell) (workload, error) {
	names := make([]string, nameCount)
	for i := range names {
		names[i] = nameOf(c.tag, i)
		if at.op == "Set" {
			continue
		}
		if err := c.set(ctx, names[i], at.value); err != nil {
			return workload{}, err
		}
	}
	pick := func(worker, i int) string { return names[(worker*nameCount/busy+i)%nameCount] }
	if at.op == "Set" {
		return workload{at.goroutines, func(worker, i int) error { return c.set(ctx, pick(worker, i), at.value) }, c.targetAt(at)}, nil
	}
	return workload{at.goroutines, func(worker, i int) error {
		got, err := c.get(ctx, pick(worker, i))
		if err == nil && len(got) != len(at.value) {
			err = errors.New("a value came back with another length")
		}
		return err
	}, c.targetAt(at)}, nil
}

// raw is go-redis alone: what the ratios refer to.
func (b *bench) raw() contender {
	rdb := b.client()
	return contender{
		who: "go-redis, raw", tag: "raw",
		set: func(ctx context.Context, name string, value []byte) error {
			return rdb.Set(ctx, name, value, ttl).Err()
		},
		get: func(ctx context.Context, name string) ([]byte, error) { return rdb.Get(ctx, name).Bytes() },
	}
}

// ours is securecache, each command alone or in shared batches.
func (b *bench) ours(who, tag string, target float64, o *securecache.Options) (contender, error) {
	cache, err := b.cache(o)
	if err != nil {
		return contender{}, err
	}
	return contender{
		who: who, tag: tag, target: target,
		set: func(ctx context.Context, name string, value []byte) error { return cache.Set(ctx, name, value, ttl) },
		get: cache.Get,
	}, nil
}

// autopipeline is go-redis' own batching, on the face that keeps deadlines.
func (b *bench) autopipeline() (contender, error) {
	pipe, err := b.client().AsyncAutoPipeline()
	if err != nil {
		return contender{}, err
	}
	b.onClose(pipe.Close)
	return contender{
		who: "go-redis, raw, autopipeline", tag: "auto",
		set: func(ctx context.Context, name string, value []byte) error {
			cmd := redis.NewStatusCmd(ctx, "set", name, value, "px", ttl.Milliseconds())
			return pipe.Submit(ctx, cmd).WaitContext(ctx)
		},
		get: func(ctx context.Context, name string) ([]byte, error) {
			cmd := redis.NewStringCmd(ctx, "get", name)
			if err := pipe.Submit(ctx, cmd).WaitContext(ctx); err != nil {
				return nil, err
			}
			return cmd.Bytes()
		},
	}, nil
}

// contenders returns everybody but the base.
func (b *bench) contenders(ctx context.Context) ([]contender, error) {
	var all []contender
	add := func(c contender, err error) error {
		all = append(all, c)
		return err
	}
	peers := []func() (contender, error){
		func() (contender, error) { return b.ours("securecache", "ours", plainTarget, nil) },
		func() (contender, error) {
			return b.ours("securecache, Batch", "batch", batchTarget, &securecache.Options{Batch: true})
		},
		b.autopipeline, b.rueidis, b.primitives, b.tink, b.fernet,
		func() (contender, error) { return b.transit(ctx) },
	}
	for _, peer := range peers {
		if err := add(peer()); err != nil {
			return nil, err
		}
	}
	return all, nil
}
