package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/securecache/securecache-go/keys"
)

// fastFactor is how fast the instances' clocks run during the rotation.
const fastFactor = 240

// rotate changes the key that seals while the instances read and write.
func (d *demo) rotate(ctx context.Context) error {
	ring, err := d.stage.instances[0].keyring.Ring()
	if err != nil {
		return err
	}
	lead := 2*ring.Layout().Refresh + keys.ClockAllowance
	d.out.section("The key is changed under traffic")
	d.out.text("Three instances of the application, each with a keyring and connections of its own and with "+
		"clocks up to %s apart; %d goroutines write and %d read %d carts. A new key is announced %s "+
		"before it seals, so that everybody knows it by then. To show that in seconds, the instances' "+
		"clocks run %d times as fast here, and their keyrings refresh in each of their minutes.",
		minutes(2*skew), cartWriters, cartReaders, cartCount, minutes(lead), fastFactor)
	for i := range cartCount {
		if err := d.app().Set(ctx, cartName(i), cartValue(i, 0), cartLife); err != nil {
			return err
		}
	}
	d.rotation = &rotation{stage: d.stage, old: ring.Primary(d.stage.clock.now()).ID()}
	if err := d.rotateUnderTraffic(ctx); err != nil {
		return err
	}
	return d.expectRotated(ctx)
}

func minutes(d time.Duration) string { return strconv.Itoa(int(d.Minutes())) + " minutes" }

func (d *demo) rotateUnderTraffic(ctx context.Context) error {
	d.out.line("")
	r := d.rotation
	r.row = d.out.table(column{"clock", 5, true}, column{"reads", 7, true}, column{"writes", 7, true},
		column{"failed", 6, true}, column{"old key", 7, true}, column{"new key", 7, true}, column{"", 26, false})
	defer d.stage.clock.run()
	r.traffic = startTraffic(ctx, d.stage.instances)
	defer r.traffic.end()
	r.began = d.stage.clock.now()
	added, err := d.stage.instances[0].keyring.Rotate(ctx)
	if err != nil {
		return err
	}
	r.new, r.activates = added.ID, added.Activates
	return r.follow(ctx)
}

func (d *demo) expectRotated(ctx context.Context) error {
	r := d.rotation
	counts := r.traffic.counts()
	d.report.Traffic = &counts
	d.checks("what has to hold", "what was counted")
	d.expect("reads and writes failed or refused", "0", number(counts.Failed))
	if first := r.traffic.first.Load(); first != nil {
		d.out.text("The first that failed: %v", *first)
	}
	d.expect("instances that knew the key before its use", strconv.Itoa(len(d.stage.instances)), strconv.Itoa(r.known))
	d.expect("carts that were under it before its time", "0", strconv.Itoa(r.early))
	d.expect("carts that were not in the end", "0", strconv.Itoa(r.late))
	_, err := d.app().Get(ctx, d.records[0].name)
	d.expect("the first session, still under the old key", opened, outcome(err))
	return nil
}

// destroy removes the old key with what it sealed.
func (d *demo) destroy(ctx context.Context) error {
	d.out.section("The old key is destroyed")
	d.out.text("Once nothing that it sealed can be alive any more, destroying it loses nothing, and until then " +
		"it takes force. Forced here at once, it takes the sessions with it, on every instance: without " +
		"the key they are noise, in backups and replicas too.")
	d.checks("what is done", "what comes of it")
	first := d.stage.instances[0].keyring
	d.expect("destroy it now", inUse, destroyed(first.Destroy(ctx, d.rotation.old, false)))
	d.expect("destroy it by force", done, destroyed(first.Destroy(ctx, d.rotation.old, true)))
	for i, in := range d.stage.instances {
		if err := in.keyring.Refresh(ctx); err != nil {
			return err
		}
		_, err := in.cache.Get(ctx, d.records[0].name)
		d.expect(fmt.Sprintf("read the first session, instance %d", i+1), gone, outcome(err))
	}
	for _, r := range d.records[1:] {
		_, err := d.app().Get(ctx, r.name)
		d.expect("read "+r.name, gone, outcome(err))
	}
	_, err := d.app().Get(ctx, cartName(0))
	d.expect("read "+cartName(0)+", under the new key", opened, outcome(err))
	return nil
}

const (
	inUse = "refused: in use"
	done  = "done"
	gone  = "refused: destroyed-key"
)

// destroyed puts what Destroy returned in words.
func destroyed(err error) string {
	switch {
	case err == nil:
		return done
	case errors.Is(err, keys.ErrInUse):
		return inUse
	default:
		return err.Error()
	}
}
