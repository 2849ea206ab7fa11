package main

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// row is one line of the table.
type row struct {
	what, who string
	figure    string // the ratio or the size; why there is none, where absent
	targets   []target
	cost      *cost
}

// target is what a figure is held against.
type target struct {
	text string
	met  bool
}

func atLeast(value, limit float64, unit string) target {
	return target{fmt.Sprintf("≥ %g%s", limit, unit), value >= limit}
}

func atMost(value, limit float64, unit string) target {
	return target{fmt.Sprintf("≤ %g%s", limit, unit), value <= limit}
}

// noAllocs leaves room for what the runtime itself allocates during a round.
func noAllocs(c cost) target { return target{"0 allocs", c.mallocs < 0.01} }

var columns = []string{"what", "who", "figure ±error (least–most)", "target", "", "ops/s", "time/op", "B/op", "allocs/op"}

func (r row) cells() []string {
	texts := make([]string, len(r.targets))
	verdict := ""
	for i, t := range r.targets {
		texts[i] = t.text
		switch {
		case !t.met:
			verdict = "MISS"
		case verdict == "":
			verdict = "ok"
		}
	}
	cells := []string{r.what, r.who, r.figure, strings.Join(texts, ", "), verdict, "", "", "", ""}
	if c := r.cost; c != nil {
		copy(cells[5:], []string{
			fmt.Sprintf("%.0f", c.rate), shortTime(c.perOp), fmt.Sprintf("%.0f", c.bytes), fmt.Sprintf("%.0f", math.Round(c.mallocs*10)/10),
		})
	}
	return cells
}

// shortTime gives three digits.
func shortTime(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
	default:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
}

// table renders rows in Markdown, with columns that line up in a terminal too.
func table(rows []row) string {
	lines := [][]string{columns}
	for _, r := range rows {
		lines = append(lines, r.cells())
	}
	widths := make([]int, len(columns))
	for _, cells := range lines {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for n, cells := range lines {
		for i, cell := range cells {
			text.WriteString("| " + pad(cell, widths[i], i >= 5) + " ")
		}
		text.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, w := range widths {
			rule := strings.Repeat("-", w+2)
			if i >= 5 {
				rule = rule[1:] + ":"
			}
			text.WriteString("|" + rule)
		}
		text.WriteString("|\n")
	}
	return text.String()
}

func pad(s string, width int, right bool) string {
	space := strings.Repeat(" ", width-utf8.RuneCountInString(s))
	if right {
		return space + s
	}
	return s + space
}

// tally counts the targets of all rows.
func tally(rows []row) (met, all int) {
	for _, r := range rows {
		for _, t := range r.targets {
			all++
			if t.met {
				met++
			}
		}
	}
	return met, all
}
