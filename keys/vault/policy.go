package vault

import "strings"

// AppPolicy returns the HCL policy of a process that uses the keyring kept in s
// and wrapped by t: it may read the document and unwrap, and change neither.
func AppPolicy(t *Transit, s *KV) string {
	return hcl(
		rule{"the keyring's document", s.path("data"), "read"},
		rule{"unwrap its keys", t.path("decrypt"), "update"},
	)
}

// OperatorPolicy returns the HCL policy of whoever creates the keyring and
// rotates, destroys and re-wraps its keys. Rotating the key-encryption key and
// raising its min_decryption_version is for Vault's own operators, with update
// on transit/keys/<key>/rotate and transit/keys/<key>/config.
func OperatorPolicy(t *Transit, s *KV) string {
	return hcl(
		rule{"the keyring's document", s.path("data"), "create read update"},
		rule{"its older versions, to shred destroyed keys", s.path("metadata"), "read"},
		rule{"", s.path("destroy"), "update"},
		rule{"wrap and unwrap its keys", t.path("encrypt"), "update"},
		rule{"", t.path("decrypt"), "update"},
		rule{"the key-encryption key's type", t.path("keys"), "read"},
	)
}

type rule struct{ why, path, capabilities string }

func hcl(rules ...rule) string {
	var b strings.Builder
	for _, r := range rules {
		if r.why != "" {
			b.WriteString("# " + r.why + "\n")
		}
		b.WriteString(`path "` + r.path + `" { capabilities = ["` + strings.Join(strings.Fields(r.capabilities), `", "`) + "\"] }\n")
	}
	return b.String()
}
