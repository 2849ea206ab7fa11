package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// format is the value of -o.
type format string

const (
	tableFormat format = "table"
	jsonFormat  format = "json"
)

func (f *format) Set(s string) error {
	switch format(s) {
	case tableFormat, jsonFormat:
		*f = format(s)
		return nil
	}
	return errors.New("it must be table or json")
}

// String shows the format, table where none was set.
func (f *format) String() string {
	if *f == "" {
		return string(tableFormat)
	}
	return string(*f)
}

// Type is what --help calls the value.
func (f *format) Type() string { return "format" }

// show prints v as JSON where that was asked for, and calls text otherwise.
func (a *app) show(v any, text func(w io.Writer) error) error {
	if a.output != jsonFormat {
		return text(a.stdout)
	}
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// lines aligns rows of cells in columns.
func lines(w io.Writer, rows ...[]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cells := range rows {
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// note says something to people beside the answer.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// moment prints a time in the machine's zone, and how far off it is.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format(time.RFC3339) + " (" + distance(t.Sub(now)) + ")"
}

// distance is how people say a time ahead or past.
func distance(d time.Duration) string {
	switch {
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return span(-d) + " ago"
	default:
		return "in " + span(d)
	}
}

// span is a duration in its largest unit, and hours with their minutes.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return units(d, time.Millisecond) + "ms"
	case d.Round(time.Second) < time.Minute:
		return units(d, time.Second) + "s"
	case d.Round(time.Minute) < time.Hour:
		return units(d, time.Minute) + "m"
	case d >= 2*day:
		return units(d, day) + "d"
	}
	d = d.Round(time.Minute)
	hours := strconv.Itoa(int(d/time.Hour)) + "h"
	if rest := d % time.Hour; rest > 0 {
		hours += units(rest, time.Minute) + "m"
	}
	return hours
}

// units is how many units a duration has, to the nearest.
func units(d, unit time.Duration) string { return strconv.Itoa(int(d.Round(unit) / unit)) }

// lifetime is a flag's duration, with days: 90d, 1d12h, 250ms.
type lifetime struct {
	time.Duration
	never, set bool // never: without an end
	endless    bool // whether never is allowed
}

func (l *lifetime) Set(s string) error {
	if l.endless && s == "never" {
		*l = lifetime{never: true, set: true, endless: true}
		return nil
	}
	var days time.Duration
	rest := s
	if digits, tail, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil {
			return errors.New("it reads like 90d, 1d12h, 45m or 250ms")
		}
		days, rest = time.Duration(n)*24*time.Hour, tail
	}
	d := days
	if rest != "" || days == 0 && rest == s {
		tail, err := time.ParseDuration(rest)
		if err != nil {
			return errors.New("it reads like 90d, 1d12h, 45m or 250ms")
		}
		d += tail
	}
	if d <= 0 {
		return errors.New("it must be more than 0")
	}
	*l = lifetime{Duration: d, set: true, endless: l.endless}
	return nil
}

// String is empty until the flag was given.
func (l *lifetime) String() string {
	switch {
	case l.never:
		return "never"
	case !l.set:
		return ""
	}
	return l.Duration.String()
}

// Type is what --help calls the value.
func (l *lifetime) Type() string { return "duration" }
