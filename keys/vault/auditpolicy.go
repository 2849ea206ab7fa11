package vault

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// probe is something that a login may have to do with nothing of, and the paths
// by which it shows.
type probe struct {
	severity, what string
	paths          []string
	// harmless are capabilities that give nothing away there.
	harmless string
}

// Names that belong to nobody: a pattern that covers one covers others' too.
// beside is put behind the keyring's own, for patterns that begin like it.
const (
	beside = "-securecache-audit"
	nobody = "securecache-audit"
)

// system are the probes that have nothing to do with a keyring.
var system = []probe{
	{critical, "grant itself and others any right", []string{"sys/policies/acl/" + nobody, "sys/policy/" + nobody, "sys/auth/" + nobody,
		"auth/approle/role/" + nobody, "identity/entity", "identity/group"}, "read list"},
	{critical, "copy or rewrite Vault's storage", []string{"sys/storage/raft/snapshot", "sys/storage/raft/snapshot-force", "sys/raw/" + nobody}, ""},
	{high, "administer Vault", []string{"sys/mounts/" + nobody, "sys/remount", "sys/audit/" + nobody, "sys/seal", "sys/step-down", "sys/plugins/catalog/secret/" + nobody}, "read list"},
	{high, "create tokens, which outlive a withdrawn login", []string{"auth/token/create", "auth/token/create-orphan", "auth/token/create/" + nobody, "auth/token/roles/" + nobody}, "read list"},
}

func (t *Transit) probes() []probe {
	if t == nil {
		return nil
	}
	at, own := func(verb, name string) string { return t.mount + "/" + verb + "/" + name }, t.path("keys")
	p := probe{severity: high, what: "use other keys of the engine", harmless: "list"}
	for _, name := range []string{t.key + beside, nobody} {
		p.paths = append(p.paths, at("decrypt", name), at("encrypt", name), at("rewrap", name), at("keys", name), at("export/encryption-key", name), at("backup", name))
	}
	return []probe{
		{high, "take the key-encryption key out of Vault", []string{at("export/encryption-key", t.key), t.path("backup"), at("byok-export/"+nobody, t.key)}, "list"},
		{high, "change, replace or destroy the key-encryption key", []string{own, own + "/config", own + "/rotate", own + "/trim", own + "/import_version", t.path("restore")}, "read list"},
		{medium, "wrap keys of its own making", []string{t.path("encrypt"), at("datakey/plaintext", t.key)}, "read list"},
		{low, "do more with wrapped keys than unwrap them", []string{t.path("decrypt"), t.path("rewrap")}, "read list"},
		p,
	}
}

func (s *KV) probes(r Role) []probe {
	if s == nil {
		return nil
	}
	harmless := "list"
	if r == Operator { // who may update may as well patch
		harmless += " patch"
	}
	others := probe{severity: high, what: "use other secrets of the engine", harmless: "list"}
	for _, name := range []string{s.name + beside, s.name + "/" + nobody, nobody} {
		for _, verb := range []string{"data", "metadata", "delete", "destroy"} {
			others.paths = append(others.paths, s.mount+"/"+verb+"/"+name)
		}
	}
	return []probe{
		{high, "replace or delete the keyring's document", []string{s.path("data")}, harmless},
		{high, "destroy the keyring's document or bring back older versions", []string{s.path("metadata"), s.path("delete"), s.path("undelete"), s.path("destroy"), s.mount + "/config"}, "read list"},
		others,
	}
}

// auditPolicies is V3 and V4.
func (c *Client) auditPolicies(ctx context.Context, r Role, t *Transit, s *KV) ([]Result, error) {
	needed, probes := rules(r, t, s), slices.Concat(s.probes(r), t.probes(), system)
	var paths []string
	for _, n := range needed {
		paths = append(paths, n.path)
	}
	for _, p := range probes {
		paths = append(paths, p.paths...)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	rq := call{op: opUpdate, path: "sys/capabilities-self", in: map[string][]string{"paths": paths}}
	var out struct {
		Data map[string][]string `json:"data"`
	}
	denied, err := c.look(ctx, rq, &out)
	if err != nil {
		return nil, err
	}
	if denied {
		why, needs := "the token may not ask what it may do, or has ended", grant(rq.path, rq.op)
		return []Result{checkWide.unknown(why, needs), checkNarrow.unknown(why, needs)}, nil
	}
	for _, path := range paths {
		if len(out.Data[path]) == 0 {
			return nil, c.oddAnswer(rq)
		}
	}
	return append(checkWide.or(wider(probes, needed, out.Data)), checkNarrow.or(narrower(needed, out.Data))...), nil
}

// wider returns what is granted at the probes beyond what is needed.
func wider(probes []probe, needed []rule, granted map[string][]string) (found []Result) {
	const remedy = "put in the place of its policies what this prints: securecache vault policy app, or operator"
	if slices.ContainsFunc(slices.Collect(maps.Values(granted)), func(g []string) bool { return slices.Contains(g, "root") }) {
		return []Result{checkWide.failed(critical, "the login may do everything", remedy)}
	}
	for _, p := range probes {
		var may []string
		for _, path := range p.paths {
			if extra := beyond(granted[path], p.harmless+" "+at(needed, path)); len(extra) > 0 {
				may = append(may, strings.Join(extra, "+")+" on "+path)
			}
		}
		if len(may) > 0 {
			found = append(found, checkWide.failed(p.severity, "the login may "+p.what+": "+strings.Join(may, ", "), remedy))
		}
	}
	return found
}

// beyond returns the capabilities that are not among the expected words. Vault
// says deny where there are none, and root for all.
func beyond(granted []string, expected string) []string {
	words := append(strings.Fields(expected), "deny")
	return slices.DeleteFunc(slices.Clone(granted), func(g string) bool { return slices.Contains(words, g) })
}

// at returns the capabilities that are needed on path.
func at(needed []rule, path string) string {
	for _, n := range needed {
		if n.path == path {
			return n.capabilities
		}
	}
	return ""
}

// narrower returns what is needed and not granted.
func narrower(needed []rule, granted map[string][]string) (found []Result) {
	for _, n := range needed {
		has := strings.Join(granted[n.path], " ")
		if has == "root" {
			continue
		}
		if lacking := beyond(strings.Fields(n.capabilities), has); len(lacking) > 0 {
			found = append(found, checkNarrow.failed(medium, "the login may not "+strings.Join(lacking, ", ")+" on "+n.path, n.line()))
		}
	}
	return found
}
