package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/keys"
)

func newKeysRotateCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Announce a new key",
		Long: `Add a key to the keyring. It is announced to every process first and then seals
in all of them at once. The key before it goes on opening what it sealed, until
keys list shows that nothing of that can be alive.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.changeKeyring(cmd, func(ctx context.Context, k *keys.Keyring) error {
				info, err := k.Rotate(ctx)
				if err != nil {
					return err
				}
				return a.showKey(info, fmt.Sprintf("announced the key %s, which seals from %s on", info.ID, moment(info.Activates, time.Now())))
			})
		},
	}
}
