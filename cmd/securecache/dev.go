package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
)

const (
	// devNamespace is dev's, unless another is asked for.
	devNamespace = "dev"
	// devShards has it keep a schedule, so that there is nothing that cannot be
	// tried.
	devShards = 16
)

const serverHelp = `The server is valkey-server or redis-server, whichever is on the PATH, otherwise
one embedded in this process; SECURECACHE_SERVER chooses (valkey-server,
redis-server, a path, or embedded).`

func newDevCmd(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "dev [-- COMMAND...]",
		Short: "Start a throw-away secure setup and print the environment to use it",
		Long: `dev starts a server under mutual TLS with certificates, a least-privileged user
and a keyring of its own, with shards for expiry events, and prints the
environment to use it from another terminal. It runs until Ctrl-C or SIGTERM and removes all of it then.

What is printed to standard output is for a shell to read; in bash and zsh

    . <(securecache dev)

starts it in the background of this very shell. Scripts give --env-file, which
is written once everything answers and removed in the end. With a COMMAND behind
two dashes, dev prints nothing, runs it in that environment, and ends when it
does, with its exit status.

` + serverHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (cmd.ArgsLenAtDash() != 0 || file != "") {
				return errors.New("a command stands behind two dashes, and takes no --env-file: securecache dev -- COMMAND")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.dev(cmd.Context(), file, args) },
	}
	cmd.Flags().StringVar(&file, "env-file", "", "write the environment to this new file, of mode 0600, instead")
	return cmd
}

func (a *app) dev(ctx context.Context, file string, command []string) (err error) {
	ctx, stop := untilHangup(ctx)
	defer stop()
	namespace := a.namespace
	if namespace == "" {
		namespace = devNamespace
	}
	s, err := startSetup(ctx, server.Options{Namespace: namespace}, keys.Layout{Shards: devShards})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if len(command) > 0 {
		return a.runWith(ctx, s, command)
	}
	if file != "" {
		if err := writeEnvironment(file, s.environment()); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(file)) }()
	}
	if err := a.present(s, file); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

var errHangup = errors.New("interrupted: nobody reads the output any more")

// untilHangup ends the context also where the terminal goes away or nobody
// reads the output any more: there is something to clean up.
func untilHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
}

// present tells people on standard error what runs, and shells and programs on
// standard output how to use it.
func (a *app) present(s *setup, file string) error {
	p := &printer{w: a.stderr, colour: colourful(a.stderr)}
	p.text("%s on %s, mutual TLS, namespace %s.", p.in(bold, s.title()), s.server.Addr(), s.namespace)
	if s.embedded() {
		p.text("It stands in for a real one (%s). What it lacks:", server.Install)
		p.list(s.server.Lacks())
	}
	seen := isTerminal(a.stdout) && file == ""
	if seen {
		p.line("\nTo use it, paste this into another terminal:\n")
	}
	if err := a.printEnvironment(s, file); err != nil {
		return err
	}
	if file != "" {
		p.text("Its environment is in %s.", file)
	}
	p.line("\nThen, for instance:\n")
	p.line("  echo hello | securecache set greeting --ttl 10m")
	p.line("  securecache get greeting")
	p.line("  securecache watch")
	p.line("  REDIS_URL=$%s securecache reseal", operatorVariable)
	p.line("\nCtrl-C or kill %d ends it and removes all of it.", os.Getpid())
	return p.err
}

// devReport is what dev tells a program.
type devReport struct {
	Server      string            `json:"server"`
	Version     string            `json:"version"`
	Address     string            `json:"address"`
	Embedded    bool              `json:"embedded"`
	Lacks       []string          `json:"lacks,omitempty"`
	PID         int               `json:"pid"`
	Environment map[string]string `json:"environment"`
}

func (a *app) printEnvironment(s *setup, file string) error {
	r := devReport{
		Server: s.server.Name(), Version: s.server.Version(), Address: s.server.Addr(),
		Embedded: s.embedded(), Lacks: s.server.Lacks(), PID: os.Getpid(), Environment: map[string]string{},
	}
	for _, v := range s.environment() {
		r.Environment[v.name] = v.value
	}
	err := a.show(r, func(w io.Writer) error {
		if file != "" {
			return nil
		}
		_, err := io.WriteString(w, exports(s.environment()))
		return err
	})
	if err != nil || isTerminal(a.stdout) {
		return err
	}
	// Whoever reads the output to its end, as a shell does, need not wait for
	// the end of the process.
	if c, ok := a.stdout.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// exports is the environment in the language of the shell.
func exports(environment []variable) string {
	var b strings.Builder
	for _, v := range environment {
		fmt.Fprintf(&b, "export %s='%s'\n", v.name, strings.ReplaceAll(v.value, "'", `'\''`))
	}
	return b.String()
}

// writeEnvironment makes the file in one step, so that whoever waits for it
// finds all of it. One that exists stays as it is.
func writeEnvironment(path string, environment []variable) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".securecache-env-") // of mode 0600
	if err != nil {
		return &failure{code: exitError, err: err, next: "give --env-file a path where you may write"}
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = io.WriteString(f, exports(environment))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, os.ErrExist) {
		return &failure{code: exitError, err: fmt.Errorf("%s exists already", path), next: "remove it if no other securecache dev runs with it"}
	}
	return err
}
