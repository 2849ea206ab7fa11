// Bench measures securecache beside what one would use in its place, on one
// server under mutual TLS, in one run. What counts in its table are the ratios:
// the two sides of each are measured in short alternating rounds, so that
// whatever else the machine does strikes both.
//
//	go run . [-only REGEXP] [-rounds N] [-seconds S] [-patience N] [-reseal RECORDS] [-volatile KEYS] [-o RESULTS.md]
//
// Run it in this directory: the reseal rows build the command from the parent.
// SECURECACHE_SERVER chooses the server; SECURECACHE_VAULT names the Vault
// server's program for the transit rows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	rounds   int
	patience int           // how many times the rounds what is held to a target takes part in, at most
	parts    int           // alternations of one round, whose median is the round's
	slice    time.Duration // of one side of one alternation
	only     *regexp.Regexp
	reseal   int
	volatile int
	out      string
}

func parse(args []string, stderr io.Writer) (settings, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	rounds := flags.Int("rounds", 5, "alternating rounds of each comparison")
	seconds := flags.Float64("seconds", 0.3, "seconds of one side of one round")
	patience := flags.Int("patience", 20, "how many times the rounds to measure, at most, what is held to a ratio that is not clear yet")
	only := flags.String("only", "", "measure only the rows whose first two columns, joined by a comma, match this regular expression")
	reseal := flags.Int("reseal", 100_000, "records to re-seal; the target is stated for 1000000")
	volatile := flags.Int("volatile", 100_000, "keys that have an end far ahead while others end; the target is stated for 1000000")
	out := flags.String("o", "", "also write the results to this file, as Markdown")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if flags.NArg() > 0 || *rounds < 1 || *seconds <= 0 || *patience < 1 || *reseal < 0 || *volatile < 0 {
		flags.Usage()
		return settings{}, errors.New("rounds, seconds and patience are positive, and there are no arguments")
	}
	re, err := regexp.Compile(*only)
	if err != nil {
		return settings{}, err
	}
	return settings{*rounds, *patience, 1, time.Duration(*seconds * float64(time.Second)), re, *reseal, *volatile, *out}, nil
}

// run measures and prints. Progress goes to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	began := time.Now()
	b, err := start(ctx, s, stderr)
	if err != nil {
		return err
	}
	defer b.close()
	for _, section := range []func(context.Context) error{
		b.codec, b.names, b.values, b.sessions, b.locks, b.limits, b.denylist, b.tokens, b.deadlines, b.reseal, b.expiry,
	} {
		if err := section(ctx); err != nil {
			return err
		}
	}
	report := b.report(began)
	if _, err := io.WriteString(stdout, report); err != nil || s.out == "" {
		return err
	}
	return os.WriteFile(s.out, []byte(report), 0o644)
}
