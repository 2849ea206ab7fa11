package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache"
)

func newDelCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "del NAME...",
		Short: "Delete values",
		Long:  "Delete what is stored under the names. Exit status 3 says that none of them was there.",
		Args:  takes("NAME..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withCache(cmd, nil, func(ctx context.Context, c *securecache.Cache) error {
				deleted := 0
				for _, name := range args {
					was, err := c.Delete(ctx, name)
					if err != nil {
						return err
					}
					if was {
						deleted++
					}
				}
				if deleted == 0 {
					return securecache.ErrMiss
				}
				return a.show(struct {
					Deleted int `json:"deleted"`
				}{deleted}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "deleted %d of %d\n", deleted, len(args))
					return err
				})
			})
		},
	}
}
