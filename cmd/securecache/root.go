package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

// verbs are the commands, each in the file of its name.
var verbs = []func(*app) *cobra.Command{
	newSetCmd, newGetCmd, newDelCmd, newTTLCmd, newTouchCmd, newInspectCmd,
	newKeysCmd, newResealCmd, newScriptsCmd, newAuditCmd, newACLCmd, newTLSCmd, newVaultCmd, newSessionCmd, newTokenCmd, newLockCmd, newLimitCmd, newWatchCmd, newDevCmd, newDemoCmd, newVersionCmd, newManCmd,
}

const longHelp = `securecache stores what must not leak in Redis or Valkey: values are sealed
before they leave the process, under names that the server cannot read.

Settings come from flags or from the environment. Secrets have no flag: a
password stands in REDIS_URL or in a file, a passphrase in a file or is asked
for, a value comes from standard input or a file. Vault is found as its own
command finds it, by VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT and so on.

Exit status: 0 done, 1 error, 2 wrong usage, 3 not there, 4 login refused,
5 unreachable, 6 a record was refused, 7 not now.`

// run runs the command and returns its exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends the process at once.
	defer context.AfterFunc(ctx, stop)()
	redis.SetLogger(quiet{})
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRootCmd(a)
	root.SetArgs(args)
	err := errors.Join(root.ExecuteContext(ctx), a.close())
	if err == nil {
		return exitOK
	}
	if !a.running { // what cobra finds wrong before a verb runs is the caller's
		err = usage(err.Error())
	}
	return a.report(ctx, err)
}

func newRootCmd(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "securecache",
		Short:         "A cache on Redis and Valkey for what must not leak",
		Long:          longHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	a.addFlags(root)
	for _, verb := range verbs {
		root.AddCommand(verb(a))
	}
	prepare(a, root)
	return root
}

// prepare has every verb settle its flags and the environment before it runs.
func prepare(a *app, cmd *cobra.Command) {
	for _, child := range cmd.Commands() {
		prepare(a, child)
	}
	act := cmd.RunE
	if act == nil {
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.running = true
		if err := a.settle(cmd); err != nil {
			return err
		}
		return act(cmd, args)
	}
}

// takes checks positional arguments by name. A last name that ends in "..."
// takes one or more. What is given too much is not repeated: it may be a value
// that should never have been an argument.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", strings.TrimSuffix(names[len(args)], "..."))
		case len(args) > len(names) && !many && len(names) == 0:
			return fmt.Errorf("%s takes no arguments", cmd.Name())
		case len(args) > len(names) && !many:
			return fmt.Errorf("%s takes %s and nothing else", cmd.Name(), strings.Join(names, " "))
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return usage("one of its verbs is missing: see " + cmd.CommandPath() + " --help")
	}}
	cmd.AddCommand(verbs...)
	return cmd
}
