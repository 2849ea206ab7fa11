package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
)

func TestLifetime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "45m": 45 * time.Minute, "1h30m": 90 * time.Minute,
		"90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0d1s": time.Second,
		"": 0, "0s": 0, "0d": 0, "-1h": 0, "1d-1h": 23 * time.Hour, "-1d": 0, "d": 0, "1": 0, "soon": 0, "never": 0, "99999999d": 0,
	} {
		var l lifetime
		if err := l.Set(text); (err == nil) != (want > 0) || l.Duration != want {
			t.Errorf("%q: %v, %v", text, l.Duration, err)
		}
	}
	l := lifetime{endless: true}
	if err := l.Set("never"); err != nil || !l.never || l.Duration != 0 || l.String() != "never" {
		t.Errorf("never: %v, %v", l, err)
	}
	if err := l.Set("1h"); err != nil || l.never {
		t.Errorf("1h after never: %v, %v", l, err)
	}
}

func TestDistance(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0: "now", -999 * time.Millisecond: "now", time.Second: "in 1s", -90 * time.Second: "2m ago",
		59500 * time.Millisecond: "in 1m", 59*time.Minute + 59*time.Second: "in 1h", 67 * time.Minute: "in 1h7m",
		-36 * time.Hour: "36h ago", 90 * day: "in 90d", 1500 * time.Hour: "in 63d",
	} {
		if got := distance(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	if got := moment(time.Time{}, time.Now()); got != "never" {
		t.Errorf("no time: %q", got)
	}
}

func TestStateOfAKey(t *testing.T) {
	now := time.Now()
	primary, other := keys.ID{1}, keys.ID{2}
	for want, info := range map[string]keys.Info{
		"primary":   {ID: primary, Activates: now.Add(time.Hour)}, // a slow clock
		"pending":   {ID: other, Activates: now.Add(time.Hour)},
		"retired":   {ID: other, Activates: now.Add(-time.Hour)},
		"destroyed": {ID: other, Activates: now.Add(time.Hour), Destroyed: true},
	} {
		if got := state(info, primary, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestByBuckets follows the cursors of a table of eight buckets, as Redis'
// dictScan gives them.
func TestByBuckets(t *testing.T) {
	for i, cursor := range []uint64{0, 4, 2, 6, 1, 5, 3, 7} {
		if got := byBuckets(cursor); got != float64(i)/8 {
			t.Errorf("cursor %d: %v", cursor, got)
		}
	}
	if done := new(gauge).done(3); !math.IsNaN(done) {
		t.Errorf("without a gauge: %v", done)
	}
}

func TestPerSlot(t *testing.T) {
	for text, want := range map[string]bool{
		"redis 6.2.14": false, "redis 7.0.15": false, "redis 7.2.4": false, "redis 7.4.0": true, "redis 8.0.1": true,
		"valkey 7.2.5": false, "valkey 8.0.1": true, "redis ": false,
	} {
		name, version, _ := strings.Cut(text, " ")
		if got := perSlot(name, version); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestProgressEstimates(t *testing.T) {
	p := &progress{number: 2, first: map[string]float64{}, share: map[string]float64{}}
	if p.total() != 0 {
		t.Errorf("before anything is known: %d", p.total())
	}
	p.from("a", 0)
	p.add("a", 250, 0.5)
	if got := p.total(); got != 1000 {
		t.Errorf("half of one of two servers: %d", got)
	}
	if got := p.line(10 * time.Second); got != "re-sealing: 250 keys, 25/s, of about 1000 (25 %), 30s left" {
		t.Errorf("%q", got)
	}
	p.add("a", 10, math.NaN())
	if got := p.line(10 * time.Second); got != "re-sealing: 260 keys, 26/s" {
		t.Errorf("without a gauge: %q", got)
	}
	resumed := &progress{number: 1, first: map[string]float64{}, share: map[string]float64{}}
	resumed.from("a", 0.5)
	resumed.add("a", 100, 0.75)
	if got := resumed.total(); got != 200 {
		t.Errorf("gone on from the middle: %d", got)
	}
}
