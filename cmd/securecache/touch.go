package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache"
)

func newTouchCmd(a *app) *cobra.Command {
	var ttl lifetime
	var shorten bool
	cmd := &cobra.Command{
		Use:   "touch NAME --ttl DURATION",
		Short: "Renew the TTL of a value",
		Long: `Renew the TTL of what is stored under a name, and print the one that runs from
now on. It never passes the record's own end, which set --max-life moves ahead,
and is not shortened unless --shorten says so.`,
		Args: takes("NAME"),
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
				runs, err := c.Touch(ctx, args[0], ttl.Duration, options...)
				if err != nil {
					return err
				}
				return a.showTTL(runs)
			})
		},
	}
	cmd.Flags().Var(&ttl, "ttl", "how long the server shall keep it from now on")
	cmd.Flags().BoolVar(&shorten, "shorten", false, "also where that is sooner than now")
	return cmd
}
