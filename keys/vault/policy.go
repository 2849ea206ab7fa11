package vault

import (
	"slices"
	"strings"
)

// Role is what a login is for. Its zero value is [App].
type Role int

const (
	// App uses a keyring: it reads the document and unwraps, and changes neither.
	App Role = iota
	// Operator creates a keyring, and rotates, destroys and re-wraps its keys.
	Operator
)

// AppPolicy returns the HCL policy of a process that uses the keyring kept in s
// and wrapped by t: it may read the document and unwrap, and change neither. Nil
// is what of the two is not in Vault.
func AppPolicy(t *Transit, s *KV) string { return hcl(rules(App, t, s)) }

// OperatorPolicy returns the HCL policy of whoever creates the keyring and
// rotates, destroys and re-wraps its keys. Rotating the key-encryption key and
// raising its min_decryption_version is for Vault's own operators, with update
// on transit/keys/<key>/rotate and transit/keys/<key>/config. Nil is what of the
// two is not in Vault.
func OperatorPolicy(t *Transit, s *KV) string { return hcl(rules(Operator, t, s)) }

// rule is a path of a policy with what is granted there.
type rule struct{ why, path, capabilities string }

func rules(r Role, t *Transit, s *KV) []rule { return slices.Concat(s.rules(r), t.rules(r)) }

func (s *KV) rules(r Role) []rule {
	switch {
	case s == nil:
		return nil
	case r == App:
		return []rule{{"the keyring's document", s.path("data"), "read"}}
	}
	return []rule{
		{"the keyring's document", s.path("data"), "create read update"},
		{"its older versions, to shred destroyed keys", s.path("metadata"), "read"},
		{"", s.path("destroy"), "update"},
	}
}

func (t *Transit) rules(r Role) []rule {
	switch {
	case t == nil:
		return nil
	case r == App:
		return []rule{{"unwrap its keys", t.path("decrypt"), "update"}}
	}
	return []rule{
		{"wrap and unwrap its keys", t.path("encrypt"), "update"},
		{"", t.path("decrypt"), "update"},
		{"the key-encryption key's type", t.path("keys"), "read"},
	}
}

func hcl(rules []rule) string {
	var b strings.Builder
	for _, r := range rules {
		if r.why != "" {
			b.WriteString("# " + r.why + "\n")
		}
		b.WriteString(r.line() + "\n")
	}
	return b.String()
}

func (r rule) line() string {
	return `path "` + r.path + `" { capabilities = ["` + strings.Join(strings.Fields(r.capabilities), `", "`) + `"] }`
}
