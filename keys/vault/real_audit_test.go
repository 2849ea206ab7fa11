package vault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/keys/vault"
)

// readsKey lets an audit see the key-encryption key's settings.
const readsKey = `path "transit/keys/app" { capabilities = ["read"] }` + "\n"

// audited is an audit of the keyring of the tests.
func (r *real) audited(c *vault.Client, role vault.Role) []vault.Result {
	r.t.Helper()
	t, s := r.at(c)
	list, err := c.Audit(r.t.Context(), role, t, s)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// statuses are the checks and statuses of an audit, such as "V1 passed".
func statuses(list []vault.Result) string {
	var words []string
	for _, one := range list {
		words = append(words, one.Check+" "+one.Status)
	}
	return strings.Join(words, ", ")
}

// finds reports a list without exactly one failed result of the check, of this
// severity and with this evidence and a remedy.
func finds(t *testing.T, list []vault.Result, check, severity, evidence string) {
	t.Helper()
	found := 0
	for _, one := range list {
		if one.Status != "failed" {
			continue
		}
		if one.Check != check || one.Severity != severity || !strings.Contains(one.Evidence, evidence) || len(one.Remedy) == 0 {
			t.Errorf("found besides: %+v", one)
			continue
		}
		found++
	}
	if found != 1 {
		t.Errorf("%s %s %q was found %d times in %+v", check, severity, evidence, found, list)
	}
}

const clean = "V1 passed, V2 passed, V3 passed, V4 passed"

func TestRealAuditIsSilent(t *testing.T) {
	r := newReal(t)
	tr, kv := r.at(r.root())
	app := r.client(r.role("app", vault.AppPolicy(tr, kv), nil))
	list := r.audited(app, vault.App)
	if got := statuses(list); got != "V1 passed, V2 unknown, V3 passed, V4 passed" {
		t.Errorf("the application: %s", got)
	}
	if list[1].Needs+"\n" != readsKey {
		t.Errorf("V2 needs %s", list[1].Needs)
	}
	seeing := r.client(r.role("seeing", vault.AppPolicy(tr, kv)+readsKey, nil))
	if got := statuses(r.audited(seeing, vault.App)); got != clean {
		t.Errorf("the application, with %s: %s", readsKey, got)
	}
	operator := r.client(r.role("operator", vault.OperatorPolicy(tr, kv), nil))
	if got := statuses(r.audited(operator, vault.Operator)); got != clean {
		t.Errorf("the operator: %s", got)
	}
	for name, half := range map[string]struct {
		t    *vault.Transit
		s    *vault.KV
		want string
	}{"transit alone": {tr, nil, clean}, "kv alone": {nil, kv, "V1 passed, V3 passed, V4 passed"}} {
		c := r.client(r.role("half", vault.OperatorPolicy(half.t, half.s), nil))
		list, err := c.Audit(t.Context(), vault.Operator, half.t, half.s)
		if got := statuses(list); err != nil || got != half.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestRealAuditFindsWidePolicies(t *testing.T) {
	r := newReal(t)
	tr, kv := r.at(r.root())
	for _, c := range []struct{ path, capability, severity, evidence string }{
		{"transit/export/encryption-key/app", "read", "high", "may take the key-encryption key out of Vault: read on transit/export/encryption-key/app"},
		{"transit/backup/app", "read", "high", "may take the key-encryption key out of Vault"},
		{"transit/byok-export/*", "read", "high", "may take the key-encryption key out of Vault"},
		{"transit/keys/app", "delete", "high", "may change, replace or destroy the key-encryption key: delete on transit/keys/app"},
		{"transit/keys/app/config", "update", "high", "may change, replace or destroy the key-encryption key: update on transit/keys/app/config"},
		{"transit/keys/app/rotate", "update", "high", "may change, replace or destroy the key-encryption key"},
		{"transit/keys/app/trim", "update", "high", "may change, replace or destroy the key-encryption key"},
		{"transit/keys/app/import_version", "update", "high", "may change, replace or destroy the key-encryption key"},
		{"transit/restore/app", "update", "high", "may change, replace or destroy the key-encryption key"},
		{"transit/encrypt/app", "update", "medium", "may wrap keys of its own making: update on transit/encrypt/app"},
		{"transit/datakey/+/app", "update", "medium", "may wrap keys of its own making"},
		{"transit/rewrap/app", "update", "low", "may do more with wrapped keys"},
		{"transit/decrypt/*", "update", "high", "may use other keys of the engine: update on transit/decrypt/app-"},
		{"transit/decrypt/app*", "update", "high", "may use other keys of the engine: update on transit/decrypt/app-"},
		{"transit/decrypt/+", "update", "high", "may use other keys of the engine"},
		{"kv/data/securecache/shop", "update", "high", "may replace or delete the keyring's document: update on kv/data/securecache/shop"},
		{"kv/data/securecache/shop", "delete", "high", "may replace or delete the keyring's document"},
		{"kv/metadata/securecache/shop", "delete", "high", "may destroy the keyring's document"},
		{"kv/undelete/securecache/shop", "update", "high", "may destroy the keyring's document"},
		{"kv/destroy/securecache/shop", "update", "high", "may destroy the keyring's document"},
		{"kv/config", "update", "high", "may destroy the keyring's document"},
		{"kv/data/securecache/+", "read", "high", "may use other secrets of the engine: read on kv/data/securecache/shop-"},
		{"kv/data/securecache/shop/*", "read", "high", "may use other secrets of the engine: read on kv/data/securecache/shop/"},
		{"kv/delete/securecache/shop", "update", "high", "may destroy the keyring's document"},
		{"kv/metadata/*", "read", "high", "may use other secrets of the engine"},
		{"sys/policies/acl/*", "update", "critical", "may grant itself and others any right: update on sys/policies/acl/"},
		{"auth/approle/role/*", "create", "critical", "may grant itself and others any right"},
		{"sys/auth/*", "sudo", "critical", "may grant itself and others any right"},
		{"sys/policy/*", "update", "critical", "may grant itself and others any right"},
		{"identity/entity", "update", "critical", "may grant itself and others any right"},
		{"identity/group", "update", "critical", "may grant itself and others any right"},
		{"sys/storage/raft/snapshot-force", "update", "critical", "may copy or rewrite Vault's storage"},
		{"sys/raw/*", "read", "critical", "may copy or rewrite Vault's storage"},
		{"sys/storage/raft/snapshot", "read", "critical", "may copy or rewrite Vault's storage"},
		{"sys/mounts/*", "create", "high", "may administer Vault"},
		{"sys/audit/*", "sudo", "high", "may administer Vault"},
		{"sys/remount", "update", "high", "may administer Vault"},
		{"sys/seal", "update", "high", "may administer Vault"},
		{"sys/step-down", "update", "high", "may administer Vault"},
		{"sys/plugins/catalog/*", "update", "high", "may administer Vault"},
		{"auth/token/create/*", "update", "high", "may create tokens"},
		{"auth/token/roles/*", "update", "high", "may create tokens"},
		{"auth/token/create", "update", "high", "may create tokens"},
		{"auth/token/create-orphan", "sudo", "high", "may create tokens"},
	} {
		t.Run(c.path+" "+c.capability, func(t *testing.T) {
			policy := vault.AppPolicy(tr, kv) + readsKey + `path "` + c.path + `" { capabilities = ["` + c.capability + `"] }`
			finds(t, r.audited(r.client(r.role("wide", policy, nil)), vault.App), "V3", c.severity, c.evidence)
		})
	}
	// What begins like the keyring's own is closed, and everything else open.
	for _, at := range []struct{ rest, beside, evidence string }{
		{"transit/decrypt/*", "transit/decrypt/app-*", "may use other keys of the engine: update on transit/decrypt/securecache-audit"},
		{"kv/data/*", "kv/data/securecache/*", "may use other secrets of the engine: update on kv/data/securecache-audit"},
	} {
		policy := vault.AppPolicy(tr, kv) + readsKey + `path "` + at.rest + `" { capabilities = ["update"] }
path "` + at.beside + `" { capabilities = ["deny"] }`
		finds(t, r.audited(r.client(r.role("holed", policy, nil)), vault.App), "V3", "high", at.evidence)
	}
	operator := vault.OperatorPolicy(tr, kv)
	if got := statuses(r.audited(r.client(r.role("mistaken", operator, nil)), vault.App)); got != "V1 passed, V2 passed, V3 failed, V3 failed, V3 failed, V4 passed" {
		t.Errorf("an operator's policy for an application: %s", got)
	}
	finds(t, r.audited(r.client(r.role("creator", operator+`path "transit/encrypt/app" { capabilities = ["create"] }`, nil)), vault.Operator),
		"V3", "medium", "create on transit/encrypt/app")

	all := r.audited(r.client(r.role("all", `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`, nil)), vault.App)
	if n := strings.Count(statuses(all), "V3 failed"); n != 12 || !strings.Contains(statuses(all), "V4 passed") {
		t.Errorf("a policy for everything has %d findings: %s", n, statuses(all))
	}
}

func TestRealAuditFindsNarrowPolicies(t *testing.T) {
	r := newReal(t)
	tr, kv := r.at(r.root())
	c := r.client(r.role("narrow", vault.AppPolicy(nil, kv)+readsKey, nil))
	finds(t, r.audited(c, vault.App), "V4", "medium", "may not update on transit/decrypt/app")
	c = r.client(r.role("reader", vault.OperatorPolicy(tr, nil)+`path "kv/+/securecache/shop" { capabilities = ["read", "update"] }`, nil))
	for _, one := range r.audited(c, vault.Operator) {
		if one.Check == "V4" && one.Evidence != "the login may not create on kv/data/securecache/shop" {
			t.Errorf("%+v", one)
		}
	}
}

func TestRealAuditFindsBadKeys(t *testing.T) {
	r := newReal(t)
	for name, c := range map[string]struct {
		make, config       map[string]any
		severity, evidence string
	}{
		"exportable": {map[string]any{"exportable": true}, nil, "high", "is exportable"},
		"backup":     {nil, map[string]any{"allow_plaintext_backup": true}, "high", "allows plaintext backup"},
		"deletion":   {nil, map[string]any{"deletion_allowed": true}, "medium", "may be deleted"},
		"rsa":        {map[string]any{"type": "rsa-2048"}, nil, "high", `is of type "rsa-2048"`},
		"derived":    {map[string]any{"derived": true}, nil, "high", "is a derived one"},
	} {
		t.Run(name, func(t *testing.T) {
			r.must("transit/keys/"+name, c.make)
			if c.config != nil {
				r.must("transit/keys/"+name+"/config", c.config)
			}
			finds(t, r.auditedKey(name), "V2", c.severity, c.evidence)
		})
	}
	finds(t, r.auditedKey("absent"), "V2", "high", "there is no transit key transit/absent")

	if got := statuses(r.auditedKey("app")); got != clean {
		t.Errorf("a good key: %s", got)
	}
	r.must("transit/keys/app/rotate", nil)
	finds(t, r.auditedKey("app"), "V2", "info", "decrypts with versions 1 to 2")
	r.must("transit/keys/app/config", map[string]any{"min_decryption_version": 2})
	if got := statuses(r.auditedKey("app")); got != clean {
		t.Errorf("with older versions closed: %s", got)
	}
}

// auditedKey is the audit of an operator of a key-encryption key.
func (r *real) auditedKey(name string) []vault.Result {
	r.t.Helper()
	var none vault.Client
	c := r.client(r.role("of-"+name, vault.OperatorPolicy(none.Transit("transit", name), nil), nil))
	list, err := c.Audit(r.t.Context(), vault.Operator, c.Transit("transit", name), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func TestRealAuditOfTokens(t *testing.T) {
	r := newReal(t)
	root := r.audited(r.root(), vault.App)
	if got := statuses(root); got != "V1 failed, V2 passed, V3 failed, V4 passed" || root[0].Severity != "critical" || root[2].Severity != "critical" {
		t.Errorf("a root token: %s", got)
	}

	tr, kv := r.at(r.root())
	blind := r.client(r.role("blind", vault.AppPolicy(tr, kv), map[string]any{"token_no_default_policy": true}))
	list := r.audited(blind, vault.App)
	if got := statuses(list); got != "V1 unknown, V2 unknown, V3 unknown, V4 unknown" {
		t.Errorf("without the default policy: %s", got)
	}
	for i, path := range []string{"auth/token/lookup-self", "transit/keys/app", "sys/capabilities-self", "sys/capabilities-self"} {
		if !strings.HasPrefix(list[i].Needs, `path "`+path+`" { capabilities = [`) {
			t.Errorf("%s needs %q", list[i].Check, list[i].Needs)
		}
	}
	// What it was told to grant makes it see.
	var grants string
	for _, one := range list {
		grants += one.Needs + "\n"
	}
	seeing := r.client(r.role("granted", vault.AppPolicy(tr, kv)+grants, map[string]any{"token_no_default_policy": true}))
	if got := statuses(r.audited(seeing, vault.App)); got != clean {
		t.Errorf("with what it was told to grant: %s", got)
	}

	if err := r.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := seeing.Audit(t.Context(), vault.App, tr, kv); !errors.Is(err, vault.ErrUnavailable) {
		t.Errorf("sealed: %v", err)
	}
}

func TestRealAuditOfARevokedToken(t *testing.T) {
	r := newReal(t)
	made, err := r.Admin().Auth().Token().CreateOrphan(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := r.client(vault.Token(vault.Value(made.Auth.ClientToken)))
	r.must("auth/token/revoke", map[string]any{"token": made.Auth.ClientToken})
	if list, err := c.Audit(t.Context(), vault.App, nil, nil); err != nil || statuses(list) != "V1 unknown, V3 unknown, V4 unknown" {
		t.Errorf("%s, %v", statuses(list), err)
	}
}
