package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/scripts/lua"
)

func newScriptsCmd(a *app) *cobra.Command {
	return group("scripts", "The scripts that run on the server", newScriptsLoadCmd(a))
}

func newScriptsLoadCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "load",
		Short: "Load the scripts on every master",
		Long: `Load the scripts on every master, for applications whose user may not: SCRIPT
LOAD lets a stolen login run any script, so the strict profile leaves it out.
The server forgets them at a restart, so this belongs after each one.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			rdb, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := a.within(cmd.Context())
			defer cancel()
			if err := lua.NewRunner(rdb, nil).Load(ctx); err != nil {
				return err
			}
			return a.showScripts(lua.All())
		},
	}
}

func (a *app) showScripts(scripts []*lua.Script) error {
	type loaded struct {
		Name string `json:"name"`
		SHA  string `json:"sha1"`
	}
	out := make([]loaded, len(scripts))
	rows := make([][]string, len(scripts))
	for i, s := range scripts {
		out[i] = loaded{s.Name(), s.SHA()}
		rows[i] = []string{s.Name(), s.SHA()}
	}
	return a.show(out, func(w io.Writer) error {
		if err := lines(w, rows...); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "%d scripts loaded\n", len(out))
		return err
	})
}
