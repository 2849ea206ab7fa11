package main

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/keys/vault"
)

func newVaultCmd(a *app) *cobra.Command {
	policy := group("policy", "Least-privilege policies of Vault, in HCL",
		newVaultPolicyCmd(a, "app", "The policy of an application: read the keyring and unwrap its keys", vault.AppPolicy),
		newVaultPolicyCmd(a, "operator", "The policy of whoever creates, rotates and destroys keys", vault.OperatorPolicy))
	return group("vault", "How the keyring is secured in Vault", newVaultAuditCmd(a), policy)
}

// vaultRoles are the roles of a login at Vault, by the verbs that print them.
var vaultRoles = map[string]vault.Role{"app": vault.App, "operator": vault.Operator}

func newVaultPolicyCmd(a *app, role, short string, render func(*vault.Transit, *vault.KV) string) *cobra.Command {
	return &cobra.Command{
		Use:   role,
		Short: short,
		Long: short + `.

Printed for the paths that --keyring and --wrap name; Vault is not asked. What of
the two is not in Vault is left out. In a namespace of Vault Enterprise, write the
policy there: its paths are the namespace's own.`,
		Example: "  securecache vault policy " + role + " | vault policy write securecache-" + role + " -",
		Args:    takes(),
		RunE: func(*cobra.Command, []string) error {
			t, s, err := a.inVault(new(vault.Client))
			if err != nil {
				return err
			}
			text := render(t, s)
			shown := struct {
				Role   string `json:"role"`
				Policy string `json:"policy"`
			}{role, text}
			return a.show(shown, func(w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			})
		},
	}
}

// inVault returns what of the keyring is in Vault, nil for what is not.
func (a *app) inVault(c *vault.Client) (t *vault.Transit, s *vault.KV, err error) {
	var names string
	if mount, key, ok := transitOf(a.wrap); ok {
		t, names = c.Transit(mount, key), mount+key
	}
	if mount, path, ok := kvOf(a.keyring); ok {
		s, names = c.KV(mount, path), names+mount+path
	}
	switch {
	case t == nil && strings.HasPrefix(a.wrap, wrapTransit), s == nil && strings.HasPrefix(a.keyring, "vault-kv"), names == "":
		return nil, nil, &failure{code: exitUsage, err: errors.New("neither --keyring nor --wrap is Vault's, or one cannot be read"),
			next: "give --keyring vault-kv:MOUNT/PATH, --wrap vault-transit:MOUNT/KEY, or both"}
	case strings.ContainsFunc(names, isPattern):
		return nil, nil, &failure{code: exitUsage, err: errors.New("--keyring or --wrap has a character that means something else in a policy"),
			next: `use mounts, paths and keys without white space and * + " \ { } $`}
	}
	return t, s, nil
}

// isPattern reports what in a policy would match more, or end the string.
func isPattern(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`*+"\{}$`, r) }
