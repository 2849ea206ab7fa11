package main

import (
	"strings"
	"testing"
	"time"
)

func TestTargets(t *testing.T) {
	for _, test := range []struct {
		name    string
		targets []target
		text    string
		verdict string
	}{
		{"none", nil, "", ""},
		{"met", []target{atLeast(0.95, 0.95, "×")}, "≥ 0.95×", "ok"},
		{"missed", []target{atLeast(0.94, 0.95, "×")}, "≥ 0.95×", "MISS"},
		{"at most, met", []target{atMost(120, 120, " bytes")}, "≤ 120 bytes", "ok"},
		{"at most, missed", []target{atMost(121, 120, " bytes")}, "≤ 120 bytes", "MISS"},
		{"one of two missed", []target{atMost(1, 2, ""), noAllocs(cost{mallocs: 1})}, "≤ 2, 0 allocs", "MISS"},
		{"the first of two missed", []target{atMost(3, 2, ""), noAllocs(cost{})}, "≤ 2, 0 allocs", "MISS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cells := row{targets: test.targets}.cells()
			if cells[3] != test.text || cells[4] != test.verdict {
				t.Errorf("%q %q, not %q %q", cells[3], cells[4], test.text, test.verdict)
			}
		})
	}
}

func TestTally(t *testing.T) {
	met, all := tally([]row{{}, {targets: []target{{met: true}, {}}}, {targets: []target{{met: true}}}})
	if met != 2 || all != 3 {
		t.Errorf("%d of %d", met, all)
	}
}

func TestTableLinesUp(t *testing.T) {
	text := table([]row{
		{what: "Set 1 KiB", who: "go-redis, raw", figure: "1×", cost: &cost{rate: 10, perOp: time.Millisecond}},
		{what: "Memory", who: "securecache", figure: "+96 bytes", targets: []target{{"≤ 120 bytes", true}}},
	})
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines:\n%s", len(lines), text)
	}
	for _, line := range lines {
		if got, want := len([]rune(line)), len([]rune(lines[0])); got != want {
			t.Errorf("a line of %d, the head has %d:\n%s", got, want, text)
		}
	}
}

func TestShortTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		263 * time.Nanosecond:    "263 ns",
		9999 * time.Nanosecond:   "9999 ns",
		123456 * time.Nanosecond: "123.5 µs",
		25 * time.Millisecond:    "25.0 ms",
	} {
		if got := shortTime(d); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
