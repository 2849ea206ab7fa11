package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// demoNamespace is what the demonstration's records belong to.
const demoNamespace = "demo"

// demo is one run of the demonstration. It is a check as well: what should have
// been refused and was not makes it fail.
type demo struct {
	out     *printer
	stage   *stage
	records []demoRecord
	// verdict prints a row of the table of checks under way.
	verdict  func(cells ...string)
	rotation *rotation
	report   demoReport
}

// demoReport is what a program wants to know of a run.
type demoReport struct {
	Server  string       `json:"server"`
	Checks  []demoCheck  `json:"checks"`
	Traffic *demoTraffic `json:"traffic,omitempty"`
	Timings []demoTiming `json:"timings,omitempty"`
}

// demoCheck is something tried, what has to come of it and what came.
type demoCheck struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
	OK   bool   `json:"ok"`
}

func newDemoCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show on a throw-away server what is sealed, refused and rotated",
		Long: `demo starts what dev starts and shows what it is for: what the application sees
and what the server holds, tampering and what comes of it, a change of keys
under traffic, what destroying a key does, and what all of it costs. It takes
some ten seconds and leaves nothing behind.

It is a check as well: the exit status is 1 if something was not refused that
has to be.

` + serverHelp,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context()) },
	}
}

func (a *app) demo(parent context.Context) (err error) {
	ctx, stop := untilHangup(parent)
	defer stop()
	s, err := startSetup(ctx, server.Options{Namespace: demoNamespace}, keys.Layout{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	out := &printer{w: a.stdout, colour: colourful(a.stdout)}
	if a.output == jsonFormat {
		out = &printer{w: io.Discard}
	}
	report, err := runDemo(ctx, s, out, nil)
	if a.output == jsonFormat {
		err = errors.Join(a.show(report, nil), err)
	}
	if ctx.Err() != nil && parent.Err() == nil {
		return errHangup
	}
	return err
}

// runDemo gives the demonstration on s. The error says that it could not go on,
// or how many checks failed.
func runDemo(ctx context.Context, s *setup, out *printer, reroute func(*redis.Options)) (demoReport, error) {
	d := &demo{out: out, records: demoRecords()}
	d.report.Server = s.title()
	d.introduce(s)
	st, err := newStage(ctx, s, reroute)
	if err != nil {
		return d.report, err
	}
	d.stage = st
	err = d.play(ctx)
	return d.report, errors.Join(err, st.Close())
}

func (d *demo) play(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		d.storeAndShow, d.tamper, d.unexpire, d.rotate, d.destroy, d.measure,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return d.conclude()
}

func (d *demo) introduce(s *setup) {
	d.out.line("%s", d.out.in(bold, "A throw-away secure cache"))
	d.out.field("server", s.title(), bold)
	d.out.field("address", s.server.Addr()+", mutual TLS, a least-privileged user", "")
	d.out.field("keyring", "a file that the server cannot reach, not wrapped", "")
	if s.embedded() {
		d.out.line("")
		d.out.text("The embedded server stands in for a real one (%s). What it lacks:", server.Install)
		d.out.list(s.server.Lacks())
	}
}

func (d *demo) app() *securecache.Cache { return d.stage.instances[0].cache }

// checks begins a table of checks.
func (d *demo) checks(what, got string) {
	d.out.line("")
	d.verdict = d.out.table(column{what, 42, false}, column{got, 24, false}, column{"", 6, false})
}

// expect notes a check and prints its row.
func (d *demo) expect(what, want, got string) {
	d.report.Checks = append(d.report.Checks, demoCheck{What: what, Want: want, Got: got, OK: want == got})
	if want == got {
		d.verdict(what, got, good)
		return
	}
	d.verdict(what, got, bad)
	d.verdict("", "wanted: "+want, "")
}

// expectValue reads a record as the application does.
func (d *demo) expectValue(ctx context.Context, what string, r demoRecord) {
	got, err := d.app().Get(ctx, r.name)
	if err == nil && !bytes.Equal(got, r.value) {
		err = errors.New("another value")
	}
	d.expect(what, opened, outcome(err))
}

// outcome is what a read gave, in a few words.
func outcome(err error) string {
	var refused *securecache.RefusedError
	switch {
	case err == nil:
		return opened
	case errors.As(err, &refused):
		return "refused: " + refused.Reason.String()
	case errors.Is(err, securecache.ErrMiss):
		return missed
	default:
		return err.Error()
	}
}

const (
	opened = "the value"
	missed = "a miss"
)

func (d *demo) conclude() error {
	failed := slices.DeleteFunc(slices.Clone(d.report.Checks), func(c demoCheck) bool { return c.OK })
	d.out.line("")
	if n := len(failed); n > 0 {
		return fmt.Errorf("%d of %d checks of the demonstration failed: this build must not be used", n, len(d.report.Checks))
	}
	d.out.text("All %d checks held. To try it yourself: securecache dev.", len(d.report.Checks))
	return d.out.err
}

// until waits for a moment of the machine's clock.
func until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
