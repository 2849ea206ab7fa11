package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache"
)

func newTouchCmd(a *app) *cobra.Command {
	var ttl lifetime
	var shorten bool
	cmd := &cobra.Command{
		Use:   "touch NAME... --ttl DURATION",
		Short: "Renew the TTLs of values",
		Long: `Renew the TTL of what is stored under each name, and print the one that runs from
now on, a line a name in their order. It never passes the record's own end, which
set --max-life moves ahead, and is not shortened unless --shorten says so. Where
one of several could not be renewed, its line says so, and the exit status is
that of the first: 3 where nothing is stored under it.`,
		Args: takes("NAME..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !ttl.set {
				return usage("--ttl is missing")
			}
			// Whether events carry a copy of the value is for programs to say: what is there stays.
			o := &securecache.Options{Schedule: securecache.Schedule{CopyValue: true}}
			return a.withCache(cmd, o, func(ctx context.Context, c *securecache.Cache) error {
				var options []securecache.TouchOption
				if shorten {
					options = append(options, securecache.Shorten())
				}
				return a.showTouched(c.TouchMany(ctx, args, ttl.Duration, options...))
			})
		},
	}
	cmd.Flags().Var(&ttl, "ttl", "how long the server shall keep it from now on")
	cmd.Flags().BoolVar(&shorten, "shorten", false, "also where that is sooner than now")
	return cmd
}

// showTouched shows a line a name, and returns the first error.
func (a *app) showTouched(all []securecache.Touched) (first error) {
	for _, touched := range all {
		err := touched.Err
		switch {
		case err == nil:
			err = a.showTTL(touched.TTL)
		case len(all) > 1:
			err = errors.Join(err, a.show(struct {
				Renewed bool `json:"renewed"`
			}{}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, "not renewed")
				return err
			}))
		}
		if first == nil {
			first = err
		}
	}
	return first
}
