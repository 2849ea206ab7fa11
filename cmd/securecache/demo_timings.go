package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/securecache/securecache-go/codec"
)

// demoTiming is one line of the table of timings.
type demoTiming struct {
	What       string   `json:"what"`
	Goroutines int      `json:"goroutines"`
	Sealed     quantile `json:"sealed"`
	Raw        quantile `json:"raw"`
}

// quantile is what half and what 99 in 100 operations took at most, in
// nanoseconds.
type quantile struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

const (
	valueSize = 1 << 10
	// Sealed and raw take turns, so that whatever else the machine does slows
	// both.
	turns = 4
	turn  = 80 * time.Millisecond
	// batch is how many operations of a microsecond are timed as one.
	batch = 10
)

// operation is something to time, and what it is compared with.
type operation struct {
	what        string
	sealed, raw func(context.Context) error
	batch       int
}

// measure prints what sealing costs.
func (d *demo) measure(ctx context.Context) error {
	d.out.section("What it costs")
	d.out.text("Values of %d random bytes, in one table from one run on this machine, on one connection pool. "+
		"Raw is go-redis alone over the same mutual TLS; for seal and open it is plain AES-256-GCM.", valueSize)
	d.out.line("")
	put := d.out.table(column{"", 22, false}, column{"sealed p50", 10, true}, column{"p99", 9, true},
		column{"raw p50", 12, true}, column{"p99", 9, true})
	remote, err := d.remote()
	if err != nil {
		return err
	}
	local, err := d.local()
	if err != nil {
		return err
	}
	for _, goroutines := range []int{1, 16} {
		for _, o := range remote {
			if err := d.time(ctx, put, o, goroutines); err != nil {
				return err
			}
		}
	}
	for _, o := range local {
		if err := d.time(ctx, put, o, 1); err != nil {
			return err
		}
	}
	return nil
}

// time times an operation and prints its row.
func (d *demo) time(ctx context.Context, put func(...string), o operation, goroutines int) error {
	var sealed, raw []time.Duration
	for i := range turns + 1 {
		s, err := sample(ctx, o.sealed, o.batch, goroutines)
		if err != nil {
			return err
		}
		r, err := sample(ctx, o.raw, o.batch, goroutines)
		if err != nil {
			return err
		}
		if i > 0 { // the first turn connects and warms up
			sealed, raw = append(sealed, s...), append(raw, r...)
		}
	}
	t := demoTiming{o.what, goroutines, quantiles(sealed), quantiles(raw)}
	d.report.Timings = append(d.report.Timings, t)
	what := o.what
	if o.batch == 1 {
		what += ", " + strconv.Itoa(goroutines) + " goroutine"
		if goroutines > 1 {
			what += "s"
		}
	}
	put(what, short(t.Sealed.P50), short(t.Sealed.P99), short(t.Raw.P50), short(t.Raw.P99))
	return nil
}

// sample runs op in so many goroutines for one turn, and returns what each run
// took.
func sample(ctx context.Context, op func(context.Context) error, batch, goroutines int) ([]time.Duration, error) {
	took := make([][]time.Duration, goroutines)
	errs := make([]error, goroutines)
	var workers sync.WaitGroup
	end := time.Now().Add(turn)
	for i := range goroutines {
		workers.Go(func() {
			for start := time.Now(); start.Before(end) && errs[i] == nil; {
				for range batch {
					errs[i] = errors.Join(errs[i], op(ctx))
				}
				now := time.Now()
				took[i] = append(took[i], now.Sub(start)/time.Duration(batch))
				start = now
			}
		})
	}
	workers.Wait()
	return slices.Concat(took...), errors.Join(errs...)
}

func quantiles(took []time.Duration) quantile {
	slices.Sort(took)
	return quantile{took[len(took)/2], took[len(took)*99/100]}
}

// short is a duration to three digits.
func short(d time.Duration) string {
	unit, us := "µs", float64(d)/float64(time.Microsecond)
	if us >= 1000 {
		unit, us = "ms", us/1000
	}
	switch {
	case us < 10:
		return fmt.Sprintf("%.2f %s", us, unit)
	case us < 100:
		return fmt.Sprintf("%.1f %s", us, unit)
	default:
		return fmt.Sprintf("%.0f %s", us, unit)
	}
}

// What is timed stands under these names. The raw one's Redis key is blinded as
// well, while its value is stored as it is, to compare with.
const (
	measuredName = "measured/value"
	rawName      = "measured/raw"
)

// measuredValue is the value that is timed sealed, the same in the whole process.
var measuredValue = sync.OnceValue(randomValue)

func randomValue() []byte {
	value := make([]byte, valueSize)
	_, _ = rand.Read(value) // never fails (crypto/rand)
	return value
}

// remote is what talks to the server.
func (d *demo) remote() ([]operation, error) {
	const life = time.Hour
	value, other := measuredValue(), randomValue()
	key, err := d.key(rawName)
	if err != nil {
		return nil, err
	}
	cache, rdb := d.app(), d.stage.instances[0].rdb
	return []operation{
		{"set", func(ctx context.Context) error { return cache.Set(ctx, measuredName, value, life) },
			func(ctx context.Context) error { return rdb.Set(ctx, key, other, life).Err() }, 1},
		{"get", func(ctx context.Context) error { _, err := cache.Get(ctx, measuredName); return err },
			func(ctx context.Context) error { return rdb.Get(ctx, key).Err() }, 1},
	}, nil
}

// local is what happens in memory only, in one goroutine.
func (d *demo) local() ([]operation, error) {
	where, value, err := d.somewhere()
	if err != nil {
		return nil, err
	}
	c, err := codec.New(d.stage.instances[0].keyring, &codec.Options{Now: d.stage.clock.now})
	if err != nil {
		return nil, err
	}
	plain, err := plainGCM()
	if err != nil {
		return nil, err
	}
	ends := d.stage.clock.now().Add(time.Hour)
	record, err := c.Seal(nil, where, ends, value)
	if err != nil {
		return nil, err
	}
	place := []byte(where.ID)
	text := plain.Seal(nil, nil, value, place)
	room := make([]byte, 0, 2*valueSize)
	return []operation{
		{"seal, in memory", func(context.Context) error { _, err := c.Seal(room, where, ends, value); return err },
			func(context.Context) error { plain.Seal(room, nil, value, place); return nil }, batch},
		{"open, in memory", func(context.Context) error { _, err := c.Open(room, where, record); return err },
			func(context.Context) error { _, err := plain.Open(room, nil, text, place); return err }, batch},
	}, nil
}

// somewhere is where a value to be measured could stand, and one.
func (d *demo) somewhere() (codec.Binding, []byte, error) {
	k, err := d.app().Key(codec.KindValue, measuredName)
	return k.Binding(), randomValue(), err
}

// plainGCM is what one would use who only encrypts.
func plainGCM() (cipher.AEAD, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
