package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

func newResealCmd(a *app) *cobra.Command {
	var stateFile string
	var perSecond int
	cmd := &cobra.Command{
		Use:   "reseal",
		Short: "Seal every record of a namespace anew under the primary key",
		Long: `Seal every record of the namespace anew under the primary key, so that an older
key can be destroyed before its time. Times and TTLs stay. It is safe beside live
traffic: a record that somebody writes meanwhile is left to them.

It finds the records by SCAN, which shows the key names of every tenant of the
server and which an application's user must not have: use an operator's login.

With --state it can be interrupted and goes on where it was. Where the login has
no INFO, it cannot tell whether a server has restarted since, and begins anew at
that server; what is done already costs little then.

Exit status 6 says that records were refused; they are listed, and were left as
they are. Never re-seal after a leak of a key: revoke-all is for that.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if perSecond < 0 {
				return usage("--rate must be 0 or more")
			}
			return a.reseal(cmd.Context(), stateFile, perSecond)
		},
	}
	cmd.Flags().StringVar(&stateFile, "state", "", "file that keeps how far it came, so that it can go on after an interruption")
	cmd.Flags().IntVar(&perSecond, "rate", 0, "records a second at most, 0 for no limit")
	return cmd
}

// resealing is one run of the verb.
type resealing struct {
	app      *app
	rdb      redis.UniversalClient
	cache    *securecache.Cache
	match    string // what SCAN looks for
	limiter  *rate.Limiter
	batch    int          // keys that are asked for at once
	mean     atomic.Int64 // bytes of a record, 0 before any was read
	state    *resealState
	progress *progress
	refused  *refusals
	moved    bool // slots have, between the nodes of a cluster
}

func (a *app) reseal(ctx context.Context, stateFile string, perSecond int) error {
	ring, err := a.openKeyring(ctx)
	if err != nil {
		return err
	}
	before, err := ring.Ring()
	if err != nil {
		return err
	}
	r := &resealing{app: a, refused: &refusals{}, match: before.Layout().Prefix + ":" + a.namespace + ":*"}
	r.pace(perSecond)
	primary := before.Primary(time.Now()).ID()
	if r.state, err = openState(stateFile, a.namespace, primary); err != nil {
		return err
	}
	a.notePending(before)
	if r.rdb, err = a.connect(ctx); err != nil {
		return err
	}
	if r.cache, err = securecache.New(r.rdb, ring, &securecache.Options{OnRefused: r.refused.note}); err != nil {
		return err
	}
	a.atExit(r.cache.Close)
	collectSeldom()
	began := time.Now()
	if err := r.run(ctx); err != nil {
		return err
	}
	if err := r.showSummary(time.Since(began)); err != nil {
		return err
	}
	return r.verdict(ring)
}

// collectSeldom spends memory to save time. What is alive is what is under way,
// however many records there are, and most of what is allocated is dead at once.
// Who sets GOGC knows better.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
}

// notePending warns of a key that is announced: this run is under the one before.
func (a *app) notePending(ring *keys.Ring) {
	now := time.Now()
	for _, k := range listing(ring).Keys {
		if k.State == "pending" {
			a.note("The key %s seals from %s on; this run seals under the one before it.", k.ID, moment(k.Activates, now))
		}
	}
}

// pace sets the rate, and batches small enough not to come in bursts.
func (r *resealing) pace(perSecond int) {
	r.batch = scanCount
	limit := rate.Inf
	if perSecond > 0 {
		limit = rate.Limit(perSecond)
		r.batch = min(scanCount, max(1, perSecond/10))
	}
	r.limiter = rate.NewLimiter(limit, r.batch)
}

// run goes over every master, and keeps the state where it is stopped.
func (r *resealing) run(ctx context.Context) error {
	r.progress = startProgress(r.app.stderr)
	before, err := r.slots(ctx)
	if err == nil {
		err = r.everyMaster(ctx)
	}
	r.progress.stop()
	if err == nil {
		var after string
		after, err = r.slots(ctx)
		r.moved = after != before
	}
	if err == nil {
		return r.state.remove()
	}
	if r.state.path != "" {
		err = errors.Join(err, r.state.save())
		r.app.note("Where it stopped is kept in %s: the same command goes on from there.", r.state.path)
	}
	return err
}

// verdict is the run's exit status.
func (r *resealing) verdict(ring *keys.Keyring) error {
	after, err := ring.Ring()
	if err != nil {
		return err
	}
	if n := r.state.Tally.Refused; n > 0 {
		return &failure{code: exitRefused, err: fmt.Errorf("refused records, left as they are: %d", n),
			next: "see each with securecache inspect KEY --open; nothing that reads through the keyring accepts them"}
	}
	if r.moved {
		return &failure{code: exitNotNow, err: errors.New("slots moved between the cluster's nodes meanwhile, so records may have been missed"), next: "run it again"}
	}
	if now := after.Primary(time.Now()).ID(); now != r.state.Primary {
		return &failure{code: exitNotNow, err: fmt.Errorf("the key %s became the primary meanwhile", now), next: "run it again to have every record under it"}
	}
	return nil
}

// tally counts what became of the keys that SCAN found.
type tally struct {
	Scanned  int   `json:"scanned"`
	Resealed int   `json:"resealed"`
	Already  int   `json:"already"`
	Changed  int   `json:"changed_meanwhile"`
	Gone     int   `json:"expired"`
	Refused  int   `json:"refused"`
	Other    int   `json:"other"`
	Bytes    int64 `json:"bytes"`
}

func (t *tally) add(scanned int, r securecache.Resealed) {
	t.Scanned += scanned
	t.Resealed += r.Sealed
	t.Already += r.Already
	t.Changed += r.Changed
	t.Gone += r.Gone
	t.Refused += r.Refused
	t.Other += r.Other
	t.Bytes += r.Bytes
}

func (r *resealing) showSummary(took time.Duration) error {
	t := r.state.Tally
	out := struct {
		tally
		Primary keys.ID   `json:"primary"`
		Seconds float64   `json:"seconds"`
		Refused []refusal `json:"refused_keys,omitempty"`
	}{t, r.state.Primary, took.Seconds(), r.refused.list}
	return r.app.show(out, func(w io.Writer) error {
		rows := [][]string{
			{"scanned", strconv.Itoa(t.Scanned) + " keys in " + took.Round(time.Millisecond).String()},
			{"re-sealed", strconv.Itoa(t.Resealed) + " records under " + r.state.Primary.String()},
			{"already", strconv.Itoa(t.Already)},
			{"changed meanwhile", strconv.Itoa(t.Changed)},
			{"expired", strconv.Itoa(t.Gone)},
			{"refused", strconv.Itoa(t.Refused)},
			{"no records", strconv.Itoa(t.Other)},
		}
		if err := lines(w, rows...); err != nil {
			return err
		}
		return r.refused.text(w, t.Refused)
	})
}

// refusal is a record that was refused.
type refusal struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// refusals keeps the first of them.
type refusals struct {
	mu   sync.Mutex
	list []refusal
}

const mostRefusals = 100

func (r *refusals) note(found securecache.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := refusal{found.Key, found.Err.Reason.String()}
	// SCAN may show a key twice.
	if len(r.list) < mostRefusals && !slices.Contains(r.list, one) {
		r.list = append(r.list, one)
	}
}

func (r *refusals) text(w io.Writer, total int) error {
	if len(r.list) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	rows := [][]string{{"REFUSED", "REASON"}}
	for _, one := range r.list {
		rows = append(rows, []string{one.Key, one.Reason})
	}
	if more := total - len(r.list); more > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %d more", more), ""})
	}
	return lines(w, rows...)
}
