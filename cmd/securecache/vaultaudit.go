package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/hardening/audit"
	"github.com/securecache/securecache-go/keys/vault"
)

// vaultAuditing is one call of vault audit.
type vaultAuditing struct {
	role, failOn string
}

func newVaultAuditCmd(a *app) *cobra.Command {
	var u vaultAuditing
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check the login at Vault and the key that wraps the keyring",
		Long: `Check the login at Vault and the key that wraps the keyring: V1 that TLS is
verified and the token is no root token, V2 that the key-encryption key cannot
leave Vault, V3 that the policies grant no more than the role needs, V4 that they
grant that. Nothing is changed. Vault is found, and the login made, as for every
other command: run this as the login that is to be checked.

What the login may not see is unknown, with the grant that it lacks, and never
passes: an application that may not read the key's settings has V2 unknown, which
an operator's login can see. Policies are asked about by path, beside the
keyring's own paths too: what covers others by a pattern is found, a rule that
names another key in full is not.

Over http:// or with VAULT_SKIP_VERIFY nothing is sent, and that is the finding.

Exit status: 0 nothing at or above --fail-on, 3 findings, 4 login refused,
5 Vault was not reached.`,
		Example: "  securecache vault audit\n  securecache vault audit --role operator -o json",
		Args:    takes(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context(), a) },
	}
	cmd.Flags().StringVar(&u.role, "role", "app", "what the login is for: app or operator")
	cmd.Flags().StringVar(&u.failOn, "fail-on", audit.High.String(), "exit with 3 from this severity on: info, low, medium, high, critical, or never")
	// They fail for a flag that does not exist only.
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"app", "operator"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"info", "low", "medium", "high", "critical", "never"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (u *vaultAuditing) run(ctx context.Context, a *app) error {
	floor, err := (&auditing{failOn: u.failOn}).floor()
	if err != nil {
		return err
	}
	role, known := vaultRoles[u.role]
	if !known {
		return usage("--role must be app or operator")
	}
	if _, _, err := a.inVault(new(vault.Client)); err != nil {
		return err
	}
	report, err := a.auditVault(ctx, role)
	if err != nil {
		return err
	}
	err = a.show(report, func(w io.Writer) error {
		return auditTable(w, report, isTerminal(w) && os.Getenv("NO_COLOR") == "")
	})
	if err != nil {
		return err
	}
	return verdict(report, floor)
}

// auditVault logs in and audits. That nothing may be sent is a finding too.
func (a *app) auditVault(ctx context.Context, role vault.Role) (*audit.Report, error) {
	report := &audit.Report{Time: time.Now().UTC()}
	client, err := a.vaults.get(ctx, a)
	if errors.Is(err, vault.ErrInsecure) {
		why, remedy := apart(err)
		report.Nodes = []audit.Node{{Addr: "vault", Error: "nothing is sent before this is mended"}}
		report.Results = []audit.Result{{Check: "V1", Title: "verified TLS, and no root token", Node: "vault",
			Status: audit.Failed, Severity: audit.Critical, Evidence: why, Remedy: []string{remedy}}}
		return report, nil
	}
	if err != nil {
		return nil, err
	}
	t, s, err := a.inVault(client)
	if err != nil {
		return nil, err
	}
	found, err := client.Audit(ctx, role, t, s)
	if err != nil {
		return nil, err
	}
	report.Nodes = []audit.Node{{Addr: client.String()}}
	for _, one := range found {
		r := audit.Result{Check: one.Check, Title: one.Title, Node: client.String(), Status: audit.Status(one.Status), Evidence: one.Evidence, Remedy: one.Remedy, Needs: one.Needs}
		if err := r.Severity.UnmarshalText([]byte(one.Severity)); err != nil {
			return nil, err
		}
		report.Results = append(report.Results, r)
	}
	return report, nil
}
