package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache"
)

func newTTLCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ttl NAME",
		Short: "Print how long the server will keep a value",
		Long: `Print how long the server will keep what is stored under a name. That is the
server's word alone: inspect shows the record's own end, which holds whatever
the server says.`,
		Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withCache(cmd, nil, func(ctx context.Context, c *securecache.Cache) error {
				ttl, err := c.TTL(ctx, args[0])
				if err != nil {
					return err
				}
				return a.showTTL(ttl)
			})
		},
	}
}

func (a *app) showTTL(ttl time.Duration) error {
	now := time.Now()
	out := struct {
		TTL     *int64    `json:"ttl_ms"` // null where there is none
		Expires time.Time `json:"expires,omitzero"`
	}{}
	text := "no TTL"
	if ttl != securecache.NoTTL {
		ms := ttl.Milliseconds()
		out.TTL, out.Expires = &ms, now.Add(ttl)
		text = ttl.Round(time.Millisecond).String() + ", until " + moment(out.Expires, now)
	}
	return a.show(out, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, text)
		return err
	})
}
