package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/keys"
)

func newKeysDestroyCmd(a *app) *cobra.Command {
	var force, yes, shred bool
	cmd := &cobra.Command{
		Use:   "destroy ID",
		Short: "Destroy a key, and with it what only it opens",
		Long: `Destroy a key: what it sealed is unreadable from each process' next refresh on.
A key is destroyed without loss from the time that keys list shows; before that
--force is needed, and what is still alive under the key is lost.

Exit status 7 says that the key is still needed.`,
		Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := keys.ParseID(args[0])
			if err != nil {
				return &failure{code: exitUsage, err: err, next: "keys list shows the ids"}
			}
			question := fmt.Sprintf("Destroy the key %s of %s for ever?", id, a.namespace)
			if force {
				question = fmt.Sprintf("Destroy the key %s of %s for ever, with every record that is alive under it?", id, a.namespace)
			}
			if err := a.confirm(yes, question); err != nil {
				return err
			}
			return a.changeKeyring(cmd, func(ctx context.Context, k *keys.Keyring) error {
				return a.destroy(ctx, k, id, force, shred)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also while records may be alive under it")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&shred, "shred", false, "destroy older versions of the document too, where the store keeps them")
	return cmd
}

func (a *app) destroy(ctx context.Context, k *keys.Keyring, id keys.ID, force, shred bool) error {
	if err := k.Destroy(ctx, id, force); err != nil {
		return err
	}
	ring, err := k.Ring()
	if err != nil {
		return err
	}
	for _, info := range ring.Keys() {
		if info.ID != id {
			continue
		}
		if err := a.showKey(info, fmt.Sprintf("destroyed the key %s", id)); err != nil {
			return err
		}
	}
	return a.shred(ctx, shred)
}
