package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/keys"
)

func newKeysCreateCmd(a *app) *cobra.Command {
	var layout keys.Layout
	names := "blind"
	life := lifetime{endless: true}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create the keyring of a namespace",
		Long: `Create the keyring of a namespace: a key for its names, and a first key for its
records, active at once. What the flags say is fixed for the namespace's life.
Nothing is overwritten.`,
		Example: `  securecache keys create --namespace shop \
    --keyring vault-kv:kv/securecache/shop --wrap vault-transit:transit/shop`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch names {
			case "blind", "plain":
				layout.Plain = names == "plain"
			default:
				return usage("--names must be blind or plain")
			}
			layout.MaxLife = life.Duration
			if life.never {
				layout.MaxLife = keys.Forever
			}
			return a.createKeyring(cmd, layout)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&names, "names", names, "blind, or plain to leave the names of values and hashes readable on the server")
	flags.IntVar(&layout.Shards, "shards", 0, "cluster slots to spread names over, for scheduled expiry events: a power of two up to 256")
	flags.Var(&life, "max-life", "longest life of a record, or never for no limit (90d)")
	flags.StringVar(&layout.Prefix, "prefix", "", "first part of every Redis key (sc)")
	flags.DurationVar(&layout.Refresh, "refresh", 0, "longest interval at which a process reads the keyring anew (1m)")
	flags.DurationVar(&layout.MaxOffline, "max-offline", 0, "longest time that a process serves without having read it (1h)")
	return cmd
}

func (a *app) createKeyring(cmd *cobra.Command, layout keys.Layout) error {
	store, wrapper, err := a.source(cmd.Context(), true)
	if err != nil {
		return err
	}
	ctx, cancel := a.within(cmd.Context())
	defer cancel()
	if err := keys.Create(ctx, a.namespace, store, wrapper, layout); err != nil {
		return err
	}
	k, err := keys.Open(ctx, a.namespace, store, wrapper, nil)
	if err != nil {
		return fmt.Errorf("the keyring was created and does not open: %w", err)
	}
	a.atExit(k.Close)
	if a.wrap == wrapPlain {
		a.note("The keys are not wrapped: whoever reads the document holds them. For development only.")
	}
	ring, err := k.Ring()
	if err != nil {
		return err
	}
	return a.show(listing(ring), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "created the keyring of %s at %s, with the key %s\n", a.namespace, a.keyring, ring.Keys()[0].ID)
		return err
	})
}
