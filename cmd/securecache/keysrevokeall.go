package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/keys"
)

func newKeysRevokeAllCmd(a *app) *cobra.Command {
	var yes, shred bool
	cmd := &cobra.Command{
		Use:   "revoke-all",
		Short: "Destroy every key and start with a new one",
		Long: `Destroy every key and put a new one in their place, at once. No record that is
stored now opens any more, in any process, from its next refresh on: all are
logged out. It is the answer to a leaked key. Never re-seal after a leak.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			question := fmt.Sprintf("Make every record of %s that is stored now unreadable for ever?", a.namespace)
			if err := a.confirm(yes, question); err != nil {
				return err
			}
			return a.changeKeyring(cmd, func(ctx context.Context, k *keys.Keyring) error {
				info, err := k.RevokeAll(ctx)
				if err != nil {
					return err
				}
				if err := a.showKey(info, fmt.Sprintf("destroyed every older key; %s seals from now on", info.ID)); err != nil {
					return err
				}
				return a.shred(ctx, shred)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&shred, "shred", false, "destroy older versions of the document too, where the store keeps them")
	return cmd
}
