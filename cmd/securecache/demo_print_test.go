package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTableIsAligned(t *testing.T) {
	for name, test := range map[string]struct {
		colour bool
		want   string
	}{
		"plain":  {false, "  what           n\n  a           1 µs  ok\n  too long…   2 µs  FAILED\n"},
		"colour": {true, "\x1b[2m  what           n\x1b[0m\n  a           1 µs  \x1b[32mok\x1b[0m\n  too long…   2 µs  \x1b[1;31mFAILED\x1b[0m\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			p := &printer{w: &b, colour: test.colour}
			put := p.table(column{"what", 9, false}, column{"n", 5, true}, column{"", 6, false})
			put("a", "1 µs", good)
			put("too long for it", "2 µs", bad)
			if b.String() != test.want {
				t.Errorf("got\n%q, want\n%q", b.String(), test.want)
			}
		})
	}
}

func TestTextIsBrokenBetweenWords(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"short":     {"one two", []string{"one two"}},
		"exact":     {"exactly te", []string{"exactly te"}},
		"broken":    {"one two three", []string{"one two", "three"}},
		"long word": {"a breathtaking b", []string{"a", "breathtaking", "b"}},
		"accents":   {"ëëëë ëëëëë", []string{"ëëëë ëëëëë"}},
		"none":      {"", []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := wrapWords(test.text, 10); !slices.Equal(got, test.want) {
				t.Errorf("wrapWords = %q, want %q", got, test.want)
			}
		})
	}
}

func TestPrinterStopsAtTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	w := &failing{err: broken}
	p := &printer{w: w}
	p.text("one")
	p.list([]string{"two"})
	if !errors.Is(p.err, broken) || w.calls != 1 {
		t.Errorf("error %v after %d calls", p.err, w.calls)
	}
}

type failing struct {
	err   error
	calls int
}

func (f *failing) Write([]byte) (int, error) {
	f.calls++
	return 0, f.err
}

func TestNoColoursIntoAFile(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if colourful(f) || colourful(new(strings.Builder)) {
		t.Error("colours into what is no terminal")
	}
}

func TestNumbers(t *testing.T) {
	for want, got := range map[string]string{
		"0": number(0), "999": number(999), "1,000": number(1000), "12,345,678": number(12345678),
		"0.36 µs": short(360 * time.Nanosecond), "14.2 µs": short(14249 * time.Nanosecond), "217 µs": short(217 * time.Microsecond), "1.37 ms": short(1370 * time.Microsecond),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
