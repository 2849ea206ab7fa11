package main

import "github.com/spf13/cobra"

func newTLSCmd(a *app) *cobra.Command {
	return group("tls", "What the server and a client's certificate do together", newTLSCheckCmd(a))
}
