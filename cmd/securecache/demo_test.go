package main

import (
	"context"
	"crypto/fips140"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
)

// embeddedSetup starts the embedded server, which does not exist in FIPS
// 140-only mode.
func embeddedSetup(t *testing.T) *setup {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("the embedded server's SCRIPT LOAD needs SHA-1, which FIPS 140-only mode forbids")
	}
	return startTestSetup(t, server.Options{Namespace: demoNamespace, Binary: server.Embedded})
}

func TestDemoOnTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	s := embeddedSetup(t)
	var text strings.Builder
	report, err := runDemo(t.Context(), s, &printer{w: &text}, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	if len(report.Checks) < 30 || len(report.Timings) != 6 || report.Traffic.Failed != 0 || report.Traffic.Reads == 0 || report.Traffic.Writes == 0 {
		t.Errorf("report %+v", report)
	}
	for _, want := range append(s.server.Lacks(), "miniredis", "refused: destroyed-key", "PERSIST", demoRecords()[0].name) {
		if !strings.Contains(strings.Join(strings.Fields(text.String()), " "), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	for line := range strings.Lines(text.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > lineWidth || strings.Contains(line, "\x1b") {
			t.Errorf("a line of %d columns or with colours: %q", n, line)
		}
	}
}

// swallow answers a command in the server's place, which then never gets it.
type swallow struct{ command string }

func (s swallow) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s swallow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (s swallow) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == s.command {
			return nil
		}
		return next(ctx, cmd)
	}
}

// TestDemoFailsWhereNothingIsRefused has the tampering not take place, so that
// the application reads what it must not.
func TestDemoFailsWhereNothingIsRefused(t *testing.T) {
	t.Parallel()
	d := newTestDemo(t)
	if err := d.storeAndShow(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.stage.admin.AddHook(swallow{"set"})
	if err := d.tamper(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := slices.DeleteFunc(slices.Clone(d.report.Checks), func(c demoCheck) bool { return c.OK })
	if len(failed) != 9 {
		t.Errorf("%d checks failed, want every forgery and both ends of the swap: %+v", len(failed), failed)
	}
	err := d.conclude()
	if err == nil || judge(err).code != exitError {
		t.Errorf("concluded with %v", err)
	}
}

func newTestDemo(t *testing.T) *demo {
	t.Helper()
	s := embeddedSetup(t)
	st, err := newStage(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return &demo{out: &printer{w: t.Output()}, stage: st, records: demoRecords()}
}

// TestDemoFailsWhereReadsFail has one instance lose its keyring in mid-traffic.
func TestDemoFailsWhereReadsFail(t *testing.T) {
	t.Parallel()
	d := newTestDemo(t)
	if err := d.stage.instances[1].keyring.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.storeAndShow(t.Context()), d.rotate(t.Context())); err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, c := range d.report.Checks {
		if !c.OK {
			failed = append(failed, c.What)
		}
	}
	want := []string{"reads and writes failed or refused", "instances that knew the key before its use"}
	if !slices.Equal(failed, want) || d.report.Traffic.Failed == 0 {
		t.Errorf("failed: %q, want %q; %+v", failed, want, d.report.Traffic)
	}
}

func TestFastClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFastClock()
		began := c.now()
		after := func(want time.Duration) {
			t.Helper()
			if got := c.now().Sub(began); got != want {
				t.Errorf("%s have passed, want %s", got, want)
			}
		}
		time.Sleep(time.Second)
		after(time.Second)
		time.AfterFunc(time.Second, func() { after(time.Second + 4*time.Minute) })
		for _, off := range []time.Duration{9 * time.Minute, 13 * time.Minute} {
			if err := c.until(t.Context(), began.Add(off)); err != nil {
				t.Fatal(err)
			}
			after(off)
			time.Sleep(time.Hour) // it stands
			after(off)
		}
		c.run()
		time.Sleep(time.Second)
		after(13*time.Minute + time.Second)
		if got := c.off(skew)().Sub(c.now()); got != skew {
			t.Errorf("off by %s, want %s", got, skew)
		}
	})
}

func TestUntilEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := until(ctx, time.Now().Add(time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("until = %v", err)
	}
}

func TestQuantiles(t *testing.T) {
	var took []time.Duration
	for i := range 100 {
		took = append(took, time.Duration(100-i))
	}
	if got, want := quantiles(took), (quantile{51, 100}); got != want {
		t.Errorf("quantiles = %v, want %v", got, want)
	}
}
