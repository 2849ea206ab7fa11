package main

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache"
)

func newGetCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "get NAME",
		Short: "Print a value",
		Long: `Print the value stored under a name, byte for byte. With -o json it is base64,
beside its times.

Exit status 3 says that there is none, 6 that there is one that does not open.`,
		Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withCache(cmd, nil, func(ctx context.Context, c *securecache.Cache) error {
				item, err := c.Item(ctx, args[0])
				if err != nil {
					return err
				}
				return a.showItem(item)
			})
		},
	}
}

func (a *app) showItem(item securecache.Item) error {
	return a.show(struct {
		Value   []byte    `json:"value"`
		Written time.Time `json:"written"`
		Expires time.Time `json:"expires,omitzero"`
	}{item.Value, item.Written, item.Expires}, func(w io.Writer) error { return writeContent(w, item.Value) })
}

// writeContent writes bytes as they are, and ends the line on a terminal.
func writeContent(w io.Writer, content []byte) error {
	_, err := w.Write(content)
	if err == nil && isTerminal(w) && !bytes.HasSuffix(content, []byte("\n")) {
		_, err = io.WriteString(w, "\n")
	}
	return err
}
