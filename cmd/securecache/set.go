package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
)

// maxValue is the library's limit on a value, in bytes.
const maxValue = 16 << 20

func newSetCmd(a *app) *cobra.Command {
	w := writing{ttl: lifetime{endless: true}}
	cmd := &cobra.Command{
		Use:   "set NAME --ttl DURATION",
		Short: "Store a value from standard input or a file",
		Long: `Store a value under a name. It comes from standard input, or from --file, byte
for byte: never from an argument, which every user of the machine could read.

--max-life lets touch renew the TTL for so long after the write. --ttl never is
for namespaces that were created with --max-life never.`,
		Example: `  printf %s "$TOKEN" | securecache set user/42/token --ttl 15m
  securecache set report --ttl 1d --file report.pdf`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return errors.New("set takes NAME and nothing else: the value comes from standard input or --file")
			}
			return takes("NAME")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return w.run(cmd, a, args[0]) },
	}
	cmd.Flags().Var(&w.ttl, "ttl", "how long the server keeps it: 45m, 1d12h, or never")
	cmd.Flags().Var(&w.life, "max-life", "how long touch may keep it alive")
	cmd.Flags().StringVar(&w.file, "file", "", "file with the value, - for standard input")
	return cmd
}

// writing is one set.
type writing struct {
	ttl, life lifetime
	file      string
}

func (w *writing) run(cmd *cobra.Command, a *app, name string) error {
	if !w.ttl.set {
		return usage("--ttl is missing")
	}
	value, err := a.value(w.file)
	if err != nil {
		return err
	}
	return a.withCache(cmd, &securecache.Options{AllowNoTTL: w.ttl.never}, func(ctx context.Context, c *securecache.Cache) error {
		var options []securecache.SetOption
		if w.life.set {
			options = append(options, securecache.MaxLife(w.life.Duration))
		}
		if err := c.Set(ctx, name, value, w.ttl.Duration, options...); err != nil {
			return err
		}
		return a.showStored(len(value), w.ttl.Duration, max(w.ttl.Duration, w.life.Duration))
	})
}

// value reads the value to be stored.
func (a *app) value(file string) ([]byte, error) {
	in := a.stdin
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	} else if isTerminal(in) {
		a.note("Enter the value, and end it with Ctrl-D.")
	}
	value, err := io.ReadAll(io.LimitReader(in, maxValue+1))
	if err != nil {
		return nil, fmt.Errorf("reading the value: %w", err)
	}
	if len(value) > maxValue {
		return nil, codec.ErrTooLarge
	}
	return value, nil
}

// showStored says what was stored. The times are this machine's, taken after
// the write.
func (a *app) showStored(size int, ttl, life time.Duration) error {
	now := time.Now()
	out := struct {
		Bytes   int        `json:"bytes"`
		Expires *time.Time `json:"expires,omitempty"`
		Ends    *time.Time `json:"latest_end,omitempty"`
	}{Bytes: size}
	text := fmt.Sprintf("stored %d bytes without an end", size)
	if ttl > 0 {
		expires := now.Add(ttl)
		out.Expires = &expires
		text = fmt.Sprintf("stored %d bytes until %s", size, moment(expires, now))
	}
	if life > ttl {
		ends := now.Add(life)
		out.Ends = &ends
		text += ", touched until " + moment(ends, now) + " at most"
	}
	return a.show(out, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, text)
		return err
	})
}
