package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/keys"
)

func newKeysCmd(a *app) *cobra.Command {
	return group("keys", "Create and keep the keyring of a namespace",
		newKeysCreateCmd(a), newKeysListCmd(a), newKeysRotateCmd(a),
		newKeysDestroyCmd(a), newKeysRevokeAllCmd(a), newKeysRewrapCmd(a))
}

// changeKeyring opens the keyring and has do change it.
func (a *app) changeKeyring(cmd *cobra.Command, do func(context.Context, *keys.Keyring) error) error {
	k, err := a.openKeyring(cmd.Context())
	if err != nil {
		return err
	}
	ctx, cancel := a.within(cmd.Context())
	defer cancel()
	return do(ctx, k)
}

// shredder is a store that keeps older versions of the document, which hold
// destroyed keys, wrapped.
type shredder interface {
	Shred(context.Context) (int, error)
}

// shred destroys those versions where the store has them and the user said so.
func (a *app) shred(ctx context.Context, yes bool) error {
	store, err := a.store(ctx)
	if err != nil {
		return err
	}
	s, keeps := store.(shredder)
	switch {
	case !keeps && yes:
		a.note("This store keeps no older versions that would have to be destroyed; copies of the file are yours to find.")
	case !keeps:
	case !yes:
		a.note("Older versions of the document at %s still hold the keys, wrapped: --shred destroys them.", a.keyring)
	default:
		ctx, cancel := a.within(ctx)
		defer cancel()
		n, err := s.Shred(ctx)
		if err != nil {
			return fmt.Errorf("the keyring is changed, its older versions are not destroyed: %w", err)
		}
		a.note("Destroyed %d older versions of the document.", n)
	}
	return nil
}

// showKey prints one key after a change, with a sentence about it.
func (a *app) showKey(info keys.Info, sentence string) error {
	return a.show(info, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, sentence)
		return err
	})
}
