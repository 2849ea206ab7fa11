package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Result is what an audit found out about one thing. Its words are those of the
// package hardening/audit.
type Result struct {
	// Check is V1 to V4, Title how it ought to be.
	Check, Title string
	// Status is passed, failed, or unknown where the login may not look.
	Status string
	// Severity is info, low, medium, high or critical.
	Severity string
	// Evidence is what was seen: paths and settings, no secret.
	Evidence string
	// Remedy is what to type.
	Remedy []string
	// Needs is the line of a policy without which an unknown stays one.
	Needs string
}

const (
	passed  = "passed"
	failed  = "failed"
	unknown = "unknown"

	info     = "info"
	low      = "low"
	medium   = "medium"
	high     = "high"
	critical = "critical"
)

// check is the head of a result, with the worst severity that it reports.
type check struct{ id, title, severity string }

var (
	checkLogin  = check{"V1", "verified TLS, and no root token", critical}
	checkKey    = check{"V2", "the key-encryption key stays in Vault", high}
	checkWide   = check{"V3", "the policies grant no more than is needed", critical}
	checkNarrow = check{"V4", "the policies grant what is needed", medium}
)

func (c check) passed() Result {
	return Result{Check: c.id, Title: c.title, Status: passed, Severity: c.severity}
}

func (c check) failed(severity, evidence string, remedy ...string) Result {
	return Result{Check: c.id, Title: c.title, Status: failed, Severity: severity, Evidence: evidence, Remedy: remedy}
}

func (c check) unknown(evidence, needs string) Result {
	return Result{Check: c.id, Title: c.title, Status: unknown, Severity: c.severity, Evidence: evidence, Needs: needs}
}

// or returns the findings, or that there are none.
func (c check) or(found []Result) []Result {
	if len(found) == 0 {
		return []Result{c.passed()}
	}
	return found
}

// Audit looks at the login of c as that of a role, for a keyring kept in s and
// wrapped by t; nil is what of the two is not in Vault. It reads only, with the
// token that it finds, and does not log in anew. Every check has one result or
// more, the checks in order.
//
// What a login may do is asked of Vault, path by path, at names beside the
// keyring's own too. That finds every pattern that covers them; it cannot find a
// rule that names another key in full, nor see what narrows a rule further, such
// as allowed parameters.
//
// Where TLS is off or the certificate is not verified, that is the finding, and
// nothing is sent. To a token that has ended Vault answers as to one without
// rights: all is unknown. The error wraps [ErrUnavailable] where Vault is.
func (c *Client) Audit(ctx context.Context, r Role, t *Transit, s *KV) ([]Result, error) {
	if why := c.insecure(); why != "" {
		list := []Result{checkLogin.failed(critical, why, "use an https:// address, unset VAULT_SKIP_VERIFY, and name the server's CA in VAULT_CACERT")}
		for _, blind := range []check{checkKey, checkWide, checkNarrow} {
			list = append(list, blind.unknown("nothing is sent over a connection that others may read", ""))
		}
		return list, nil
	}
	var list []Result
	for _, look := range []func() ([]Result, error){
		func() ([]Result, error) { return c.auditToken(ctx) },
		func() ([]Result, error) { return c.auditKey(ctx, t) },
		func() ([]Result, error) { return c.auditPolicies(ctx, r, t, s) },
	} {
		found, err := look()
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// insecure says why the connection is not to be trusted, "" where it is.
func (c *Client) insecure() string {
	if strings.HasPrefix(c.address, "http:") {
		return "the address is http://: tokens and keys travel in the clear"
	}
	over, ok := c.http().Transport.(*http.Transport)
	if ok && over.TLSClientConfig != nil && over.TLSClientConfig.InsecureSkipVerify {
		return "the server's certificate is not verified: anyone in between reads tokens and keys"
	}
	return ""
}

// look makes a call with the token at hand: after a new login it would be
// another's rights. Denied is what Vault says where policies do not permit the
// call, and where the token has ended too.
func (c *Client) look(ctx context.Context, rq call, out any) (denied bool, err error) {
	if err := c.ready(rq); err != nil {
		return false, err
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	err = send(ctx, c.session.Load().api(), rq.op, rq.path, rq.in, out)
	if err == nil {
		return false, nil
	}
	err = c.explain(ctx, rq, err)
	if errors.Is(err, ErrDenied) {
		return true, nil
	}
	return false, err
}

// auditToken is V1, once the connection is known to be good.
func (c *Client) auditToken(ctx context.Context) ([]Result, error) {
	rq := call{op: opRead, path: "auth/token/lookup-self"}
	var out struct {
		Data *struct {
			Policies []string `json:"policies"`
			Identity []string `json:"identity_policies"`
		} `json:"data"`
	}
	denied, err := c.look(ctx, rq, &out)
	switch {
	case err != nil:
		return nil, err
	case denied:
		return []Result{checkLogin.unknown("the token may not look itself up, or has ended", grant(rq.path, rq.op))}, nil
	case out.Data == nil:
		return nil, c.oddAnswer(rq)
	case slices.Contains(slices.Concat(out.Data.Policies, out.Data.Identity), "root"):
		return []Result{checkLogin.failed(critical, "the token is a root token: it may do everything, and nothing limits who has it",
			"log in by a method with a policy of its own, then, with the root token: vault token revoke -self")}, nil
	}
	return []Result{checkLogin.passed()}, nil
}

// oddAnswer is for an answer without what was asked: it must not pass.
func (c *Client) oddAnswer(rq call) error {
	return fmt.Errorf("vault: %s at %s: %w", rq.path, c.address, errAnswer)
}

// kek are the settings of a transit key.
type kek struct {
	Type       string `json:"type"`
	Derived    bool   `json:"derived"`
	Exportable bool   `json:"exportable"`
	Backup     bool   `json:"allow_plaintext_backup"`
	Deletion   bool   `json:"deletion_allowed"`
	Latest     int    `json:"latest_version"`
	Oldest     int    `json:"min_decryption_version"`
}

// auditKey is V2, which has no results where t is nil.
func (c *Client) auditKey(ctx context.Context, t *Transit) ([]Result, error) {
	if t == nil {
		return nil, nil
	}
	rq := call{op: opRead, path: t.path("keys")}
	var out struct {
		Data kek `json:"data"`
	}
	denied, err := c.look(ctx, rq, &out)
	missing := new(notFoundError)
	switch {
	case errors.As(err, &missing):
		return []Result{checkKey.failed(high, fmt.Sprintf("there is no transit key %s/%s", t.mount, t.key), "check both names with: vault list "+t.mount+"/keys")}, nil
	case err != nil:
		return nil, err
	case denied:
		return []Result{checkKey.unknown("the settings of the transit key may not be read", grant(rq.path, rq.op))}, nil
	case out.Data.Type == "":
		return nil, c.oddAnswer(rq)
	}
	return checkKey.or(t.judge(out.Data)), nil
}

// judge says what is wrong with a key-encryption key's settings.
func (t *Transit) judge(k kek) (found []Result) {
	name, config := t.mount+"/"+t.key, "vault write "+t.path("keys")+"/config "
	anew := []string{"vault write -f " + t.mount + "/keys/NEW type=aes256-gcm96", "securecache keys rewrap --to-wrap vault-transit:" + t.mount + "/NEW"}
	add := func(severity, evidence string, remedy ...string) {
		found = append(found, checkKey.failed(severity, "the transit key "+name+" "+evidence, remedy...))
	}
	if k.Exportable {
		add(high, "is exportable, which cannot be undone: whoever may read "+t.mount+"/export has it for good", anew...)
	}
	if k.Backup {
		add(high, "allows plaintext backup, which cannot be undone: whoever may read "+t.path("backup")+" has it for good", anew...)
	}
	if !authenticates(k.Type) {
		add(high, fmt.Sprintf("is of type %q, which does not authenticate associated data", k.Type), anew...)
	}
	if k.Derived {
		add(high, "is a derived one, which does not wrap without a context", anew...)
	}
	if k.Deletion {
		add(medium, "may be deleted, and all records with it", config+"deletion_allowed=false")
	}
	if k.Oldest < k.Latest {
		add(info, fmt.Sprintf("decrypts with versions %d to %d: a document wrapped by an older one still opens", k.Oldest, k.Latest),
			"securecache keys rewrap", fmt.Sprintf("%smin_decryption_version=%d", config, k.Latest))
	}
	return found
}

// authenticates reports whether transit keys of a type take associated data.
func authenticates(keyType string) bool {
	return slices.Contains([]string{"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305"}, keyType)
}
