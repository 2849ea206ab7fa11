package main

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
)

// mend shows what is to be changed, asks, changes it, and audits again.
func (u *auditing) mend(ctx context.Context, a *app, rdb redis.UniversalClient, report *audit.Report) (*audit.Report, error) {
	plan := report.Changes()
	if n := a.notePlan(plan); n == 0 {
		a.note("There is nothing that this can change.")
		return report, nil
	}
	if err := a.confirm(u.yes, "Make these changes?"); err != nil {
		return nil, err
	}
	changing, cancel := a.within(ctx)
	defer cancel()
	done, err := audit.Apply(changing, rdb, plan)
	for _, d := range done {
		a.noteApplied(d)
	}
	if err != nil {
		return nil, unaudited(err)
	}
	if report, err = audit.Run(ctx, rdb, &u.options); err != nil {
		return nil, unaudited(err)
	}
	return report, nil
}

// notePlan shows the changes and returns how many are to be made.
func (a *app) notePlan(plan []audit.Change) (n int) {
	for _, c := range plan {
		a.note("%s  %s  %s", c.Node, strings.Join(c.Checks, ","), c.Text())
		if c.Held != "" {
			a.note("  left alone: %s", c.Held)
			continue
		}
		n++
	}
	return n
}

func (a *app) noteApplied(d audit.Applied) {
	a.note("%s: %d of %d changes made", d.Node, len(d.Made), len(d.Made)+len(d.Refused))
	for _, c := range d.Refused {
		a.note("  %s: %s", c.Text(), c.Held)
	}
	if d.Kept != nil {
		a.note("  kept in the %s", strings.Join(d.Kept, " and the "))
	}
	if d.Lines == nil {
		return
	}
	a.note("  gone after a restart (%s); put into the file:", d.Why)
	for _, l := range d.Lines {
		a.note("    %s", l)
	}
}
