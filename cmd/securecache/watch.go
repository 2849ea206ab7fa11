package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
)

func newWatchCmd(a *app) *cobra.Command {
	var count int
	var doorbell bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print what expires, as it does",
		Long: `Print the expiry events of a namespace as they come, until Ctrl-C, SIGTERM or
--count. The namespace must have been created with --shards; there set, touch and
del keep the schedule, as programs do.

This is a consumer like any other: what it prints goes to nobody else. It prints
every event at least once, the same one always with the same id, and gives back
what it has taken and not printed. Events that others have failed with come too,
and what has become a dead letter does not.

--doorbell prints the server's own keyspace events instead, which need no shards:
blinded keys, once, and only when the server gets round to deleting them. That
takes a login that may hear them, and a server that sends them.

With -o json, each event is one object on a line of its own.`,
		Example: `  securecache watch -o json --count 100 | jq -r .name`,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if count < 0 {
				return usage("--count must not be less than 0")
			}
			return a.watch(cmd.Context(), count, doorbell)
		},
	}
	cmd.Flags().IntVar(&count, "count", 0, "end after so many events; 0 not to")
	cmd.Flags().BoolVar(&doorbell, "doorbell", false, "print the server's keyspace events, not the schedule's")
	return cmd
}

// watcher prints events one by one.
type watcher struct {
	app  *app
	left int // how many are still wanted; below 0 there is no end
	stop context.CancelCauseFunc

	mu   sync.Mutex // of what is told from many goroutines
	told string
}

var errEnough = errors.New("all events that were asked for are printed")

func (a *app) watch(ctx context.Context, count int, doorbell bool) error {
	w := &watcher{app: a, left: count}
	if count == 0 {
		w.left = -1
	}
	c, err := a.cache(ctx, &securecache.Options{OnRefused: func(r securecache.Refusal) { w.tell(r.Err) }})
	if err != nil {
		return err
	}
	n, err := expiry.New(c, &expiry.Options{
		Doorbell: doorbell, OnError: w.tell,
		Concurrency: 1,             // in the order in which they come
		MaxClaims:   math.MaxInt32, // whoever only looks buries nothing
	})
	if err != nil {
		return watchable(err)
	}
	if err := a.beginWatch(ctx, n, doorbell); err != nil {
		return err
	}
	listening, stop := untilHangup(ctx)
	defer stop()
	listening, w.stop = context.WithCancelCause(listening)
	defer w.stop(nil)
	err = n.Listen(listening, w.handle)
	switch {
	case errors.Is(err, errEnough), ctx.Err() != nil && count == 0:
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // before there were as many as was asked for
	default:
		return watchable(err)
	}
}

// watchable adds what to do about a namespace or a server without events.
func watchable(err error) error {
	switch {
	case errors.Is(err, expiry.ErrNoSchedule):
		return &failure{code: exitUsage, err: err,
			next: "shards are given once, when a namespace is made: securecache keys create --shards 16; without them, watch --doorbell hears the server's own events"}
	case errors.Is(err, expiry.ErrNoNotifications):
		return &failure{code: exitError, err: err, next: "an operator enables them: CONFIG SET notify-keyspace-events Ex"}
	case answered(err, "NOPERM"):
		return &failure{code: exitLogin, err: err,
			next: "log in as a user of the role hardening.Doorbell: keyspace events show the keys of all tenants"}
	}
	return err
}

// beginWatch sees that the schedule can be read, and tells people what is there.
func (a *app) beginWatch(ctx context.Context, n *expiry.Notifier, doorbell bool) error {
	table := a.output != jsonFormat
	if doorbell {
		if table {
			_, err := fmt.Fprintln(a.stdout, "KEY")
			return err
		}
		return nil
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	d, err := n.Depth(ctx)
	if err != nil || !table {
		return err
	}
	a.note("%d scheduled, %d of them due, %d claimed; %d dead letters", d.Scheduled, d.Due, d.Claimed, d.Dead)
	_, err = fmt.Fprintf(a.stdout, watchRow, "DEADLINE", "LATE", "ATTEMPT", "NAME")
	return err
}

// watchRow has fixed columns: nobody knows yet what is going to come.
const watchRow = "%-25s  %-7s  %-7s  %s\n"

// watched is an event as it is printed: name, deadline, id and attempt of the
// schedule's, the key of the doorbell's.
type watched struct {
	Name     string     `json:"name,omitempty"`
	Deadline *time.Time `json:"deadline,omitempty"`
	ID       string     `json:"id,omitempty"`
	Attempt  int        `json:"attempt,omitempty"`
	Key      string     `json:"key,omitempty"`
}

func (w *watcher) handle(_ context.Context, e expiry.Event) error {
	if err := w.print(e); err != nil {
		if errors.Is(err, syscall.EPIPE) {
			err = errHangup
		}
		w.stop(err) // and the event is given back
		return err
	}
	if w.left--; w.left == 0 {
		w.stop(errEnough)
	}
	return nil
}

func (w *watcher) print(e expiry.Event) error {
	out, rung := w.app.stdout, e.ID == ""
	switch {
	case w.app.output == jsonFormat && rung:
		return json.NewEncoder(out).Encode(watched{Key: e.Key.String()})
	case w.app.output == jsonFormat:
		return json.NewEncoder(out).Encode(watched{Name: e.Name, Deadline: &e.Deadline, ID: e.ID, Attempt: e.Attempt})
	case rung:
		_, err := fmt.Fprintln(out, e.Key)
		return err
	}
	_, err := fmt.Fprintf(out, watchRow, e.Deadline.Local().Format(time.RFC3339), span(time.Since(e.Deadline)), strconv.Itoa(e.Attempt), oneLine(e.Name))
	return err
}

// oneLine quotes what would do something else to a terminal than be read.
func oneLine(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// tell says what goes wrong while watching goes on, until something else does.
func (w *watcher) tell(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text, _ := apart(err); text != w.told && !errors.Is(err, errHangup) {
		w.told = text
		w.app.note("securecache: %s", text)
	}
}
