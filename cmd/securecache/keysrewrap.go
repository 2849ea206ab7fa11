package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/keys"
)

func newKeysRewrapCmd(a *app) *cobra.Command {
	var to string
	var shred bool
	cmd := &cobra.Command{
		Use:   "rewrap",
		Short: "Wrap the keys anew",
		Long: `Wrap every key of the keyring anew: under the newest version of the same
key-encryption key, or with --to-wrap under another. The keys stay the same, and
so do the records.

A new passphrase is asked for, or read from the file that
SECURECACHE_TO_PASSPHRASE_FILE names. With another wrapper, every process has to
be restarted with it: until then they serve from memory.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.rewrap(cmd, to, shred)
		},
	}
	cmd.Flags().StringVar(&to, "to-wrap", "", "what shall wrap the keys from now on; as --wrap, which is what does now")
	cmd.Flags().BoolVar(&shred, "shred", false, "destroy older versions of the document too, where the store keeps them")
	return cmd
}

func (a *app) rewrap(cmd *cobra.Command, to string, shred bool) error {
	var next keys.Wrapper
	if to != "" {
		var err error
		if next, err = a.wrapper(cmd.Context(), "--to-wrap", to, toPassphraseEnv, true); err != nil {
			return err
		}
	}
	return a.changeKeyring(cmd, func(ctx context.Context, k *keys.Keyring) error {
		if err := k.Rewrap(ctx, next); err != nil {
			return err
		}
		out := struct {
			Revision uint64 `json:"revision"`
			Wrap     string `json:"wrap"`
		}{k.Status().Revision, a.wrap}
		if to != "" {
			out.Wrap = to
		}
		err := a.show(out, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "wrapped the keys of %s anew under %s; revision %d\n", a.namespace, out.Wrap, out.Revision)
			return err
		})
		if err != nil {
			return err
		}
		if to != "" && to != a.wrap {
			a.note("Set SECURECACHE_WRAP=%s everywhere and restart.", to)
		}
		return a.shred(ctx, shred)
	})
}
