package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/hardening"
)

func newACLCmd(a *app) *cobra.Command {
	var verbs []*cobra.Command
	for _, v := range []struct {
		role  hardening.Role
		short string
	}{
		{hardening.App, "The user of an application: one namespace's records, by name"},
		{hardening.Operator, "The user that re-seals a namespace and loads its scripts"},
		{hardening.Backup, "The user that copies the whole data set, and reads no key"},
		{hardening.Monitor, "The user that sees how the server fares, and no key"},
		{hardening.Doorbell, "The user that hears what expires, for watch --doorbell"},
	} {
		verbs = append(verbs, newACLRoleCmd(a, v.role, v.short))
	}
	return group("acl", "Least-privilege users of the server", verbs...)
}

// aclOptions are the flags of one acl verb.
type aclOptions struct {
	profile hardening.Profile
	file    string
	apply   bool
	yes     bool
}

func newACLRoleCmd(a *app, role hardening.Role, short string) *cobra.Command {
	o := aclOptions{profile: hardening.Profile{Role: role}}
	cmd := &cobra.Command{
		Use:   role.String(),
		Short: short,
		Long: short + `.

Prints the user as a line of the server's ACL file: what it needs for its purpose,
and nothing else. The user's password comes from standard input or from --file
and is in the line as the hash that the server keeps, which has no salt: make the
password long and random. The line suits the server that --redis names; without
one, give --server-version, or get what every supported server knows.

--apply creates or replaces the user on that server, on every node of a cluster,
and on a master and the replicas that follow it, after asking: with ACL SETUSER,
then ACL SAVE, or CONFIG REWRITE where the server has no ACL file. Where neither
can be had it says so: the line then has to go into the file, or the user is gone
after a restart. A cluster's node that is down is told of, and gets the user when
this is called again. It takes a login that may run these, such as REDIS_URL of an
administrator, and never changes the user that it is logged in as. Sentinels have
users of their own, with other rights: docs/hardening.md has them.`,
		Example: fmt.Sprintf("  openssl rand -hex 32 >%[1]s.password\n  securecache acl %[1]s --file %[1]s.password --apply", role),
		Args:    takes(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.profile.User, "user", role.String(), "the login name")
	flags.StringVar(&o.file, "file", "", "file with the user's password, - for standard input")
	flags.StringVar(&o.profile.Version, "server-version", "", "the server's version, instead of asking it")
	if role != hardening.Backup {
		flags.BoolVar(&o.profile.Cluster, "cluster", false, "for a cluster, where no server is asked")
	}
	if role != hardening.Backup && role != hardening.Monitor {
		flags.StringVar(&o.profile.Prefix, "prefix", "sc", "prefix of the namespace's keys, as keys create was given it")
	}
	if role == hardening.App {
		flags.BoolVar(&o.profile.NoScriptLoad, "no-script-load", false, "the strict profile: an operator loads the scripts")
		flags.StringSliceVar(&o.profile.Commands, "command", nil, "a further command that the application's own scripts call")
	}
	flags.BoolVar(&o.apply, "apply", false, "give the server this user")
	flags.BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

func (o *aclOptions) run(ctx context.Context, a *app) error {
	if a.namespace == "" && o.profile.Role != hardening.Backup && o.profile.Role != hardening.Monitor {
		return &failure{code: exitUsage, err: errors.New("no namespace is given"), next: "set SECURECACHE_NAMESPACE or --namespace"}
	}
	o.profile.Namespace = a.namespace
	var rdb redis.UniversalClient
	if o.apply || a.redis != "" && o.profile.Version == "" {
		var err error
		if rdb, err = a.connect(ctx); err != nil {
			return err
		}
		if err := o.ask(ctx, a, rdb); err != nil {
			return err
		}
	}
	line, err := o.line(a)
	if err != nil {
		return err
	}
	if !o.apply {
		return a.showACL(o.profile, line, nil)
	}
	done, err := o.install(ctx, a, rdb, line)
	if done == nil {
		return err
	}
	return errors.Join(a.showACL(o.profile, line, done), err)
}

// ask takes from the server what shapes the line.
func (o *aclOptions) ask(ctx context.Context, a *app, rdb redis.UniversalClient) error {
	ctx, cancel := a.within(ctx)
	defer cancel()
	// HELLO answers whoever is logged in; INFO would take a right.
	reply, err := rdb.Do(ctx, "hello").Result()
	if err != nil {
		return fmt.Errorf("asking for the server's version: %w", err)
	}
	hello := pairs(reply)
	if o.profile.Version == "" {
		o.profile.Version = hello["version"]
	}
	if hello["mode"] == "cluster" && o.profile.Role != hardening.Backup {
		o.profile.Cluster = true
	}
	return nil
}

// shortPassword is what a password should have at least, in bytes.
const shortPassword = 20

// line renders the user with its password's hash.
func (o *aclOptions) line(a *app) (string, error) {
	password, err := a.newPassword(o.file)
	if err != nil {
		return "", err
	}
	if len(password) < shortPassword {
		a.note("The password has %d bytes: whoever sees the hash can guess short ones. openssl rand -hex 32 makes a long one.", len(password))
	}
	sum := sha256.Sum256(password)
	clear(password)
	o.profile.PasswordSHA256 = hex.EncodeToString(sum[:])
	line, err := hardening.ACL(o.profile)
	if err != nil {
		return "", &failure{code: exitUsage, err: err}
	}
	return line, nil
}

// newPassword reads the password of a user that is to be made.
func (a *app) newPassword(file string) ([]byte, error) {
	if file != "" && file != "-" {
		return readSecret(file)
	}
	if isTerminal(a.stdin) {
		return nil, &failure{code: exitUsage, err: errors.New("the user's password is missing"),
			next: "pipe it in, or give --file: openssl rand -hex 32 >FILE makes one"}
	}
	return readSecretFrom(a.stdin, "standard input")
}

// showACL prints the line, and what was done with it.
func (a *app) showACL(p hardening.Profile, line string, done []installed) error {
	out := struct {
		Role    string      `json:"role"`
		User    string      `json:"user"`
		Line    string      `json:"line"`
		Version string      `json:"server_version,omitempty"`
		Applied []installed `json:"applied,omitempty"`
	}{p.Role.String(), p.User, line, p.Version, done}
	return a.show(out, func(w io.Writer) error {
		if done == nil {
			_, err := fmt.Fprintln(w, line)
			return err
		}
		for _, d := range done {
			fmt.Fprintf(w, "%s: %s\n", d.Node, d.sentence(p.User))
		}
		return nil
	})
}
