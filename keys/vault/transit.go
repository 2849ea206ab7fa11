package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/securecache/securecache-go/keys"
)

// Transit is a key-encryption key in Vault's transit engine. It implements
// [keys.Wrapper] with the scheme "vault"; a wrapped key is transit's own text,
// vault:v<version>:<base64>, verbatim. It needs Vault 1.13 or newer, the first
// that authenticates associated data, and a key of type aes256-gcm96 (transit's
// default), aes128-gcm96 or chacha20-poly1305, not derived. It is safe for
// concurrent use.
type Transit struct {
	c          *Client
	mount, key string
	// checked is set once the key was found fit to wrap with.
	checked atomic.Bool
}

var _ keys.Wrapper = (*Transit)(nil)

// Transit returns the key-encryption key called key of the transit engine at
// mount. Nothing is sent before it is used.
func (c *Client) Transit(mount, key string) *Transit {
	return &Transit{c: c, mount: strings.Trim(mount, "/"), key: key}
}

// String returns vault-transit:MOUNT/KEY.
func (t *Transit) String() string { return "vault-transit:" + t.mount + "/" + t.key }

// Scheme is "vault".
func (t *Transit) Scheme() string { return "vault" }

func (t *Transit) path(verb string) string { return t.mount + "/" + verb + "/" + t.key }

// Wrap encrypts a key under the newest version of the key-encryption key. Its
// first call looks at the type of the key-encryption key, where the policies
// permit that, so that a misspelt name is an error rather than a new key.
func (t *Transit) Wrap(ctx context.Context, key, associated []byte) (string, error) {
	if err := t.check(ctx); err != nil {
		return "", err
	}
	rq := transitRequest{Plaintext: encode(key), Associated: encode(associated)}
	var out struct {
		Warnings []string `json:"warnings"`
		Data     struct {
			Ciphertext string `json:"ciphertext"`
		} `json:"data"`
	}
	if err := t.c.do(ctx, call{op: opUpdate, path: t.path("encrypt"), in: rq, sent: []string{rq.Plaintext}}, &out); err != nil {
		return "", t.explain(err)
	}
	if strings.Contains(strings.Join(out.Warnings, " "), "associated_data") {
		return "", fmt.Errorf("vault: transit at %s ignores associated_data: keys need Vault 1.13 or newer", t.c.address)
	}
	if !strings.HasPrefix(out.Data.Ciphertext, "vault:v") {
		return "", fmt.Errorf("vault: %s at %s: %w", t.path("encrypt"), t.c.address, errAnswer)
	}
	return out.Data.Ciphertext, nil
}

// Unwrap decrypts what Wrap returned. The error wraps [keys.ErrUnwrap] where
// Vault refuses the text or its associated data.
func (t *Transit) Unwrap(ctx context.Context, wrapped string, associated []byte) ([]byte, error) {
	rq := transitRequest{Ciphertext: wrapped, Associated: encode(associated)}
	var out struct {
		Data struct {
			Plaintext *[]byte `json:"plaintext"`
		} `json:"data"`
	}
	if err := t.c.do(ctx, call{op: opUpdate, path: t.path("decrypt"), in: rq}, &out); err != nil {
		return nil, t.explain(err)
	}
	if out.Data.Plaintext == nil {
		return nil, fmt.Errorf("vault: %s at %s: %w", t.path("decrypt"), t.c.address, errAnswer)
	}
	return *out.Data.Plaintext, nil
}

// transitRequest is the body of transit/encrypt and transit/decrypt; all but
// the ciphertext is base64.
type transitRequest struct {
	Plaintext  string `json:"plaintext,omitempty"`
	Ciphertext string `json:"ciphertext,omitempty"`
	Associated string `json:"associated_data,omitempty"`
}

// check refuses a key that is missing or of the wrong type. A policy that does
// not let it look is no obstacle: Vault refuses such keys when encrypting.
func (t *Transit) check(ctx context.Context) error {
	if t.checked.Load() {
		return nil
	}
	var out struct {
		Data struct {
			Type    string `json:"type"`
			Derived bool   `json:"derived"`
		} `json:"data"`
	}
	err := t.c.do(ctx, call{op: opRead, path: t.path("keys")}, &out)
	missing := new(notFoundError)
	switch {
	case errors.Is(err, ErrDenied):
		return nil
	case errors.As(err, &missing) && !missing.unrouted:
		return t.missing()
	case err != nil:
		return err
	}
	if !authenticates(out.Data.Type) {
		return fmt.Errorf("vault: the transit key %s/%s is of type %q, which does not authenticate associated data; use aes256-gcm96", t.mount, t.key, out.Data.Type)
	}
	if out.Data.Derived {
		return fmt.Errorf("vault: the transit key %s/%s is a derived one, which needs a context; use one made with derived=false", t.mount, t.key)
	}
	t.checked.Store(true)
	return nil
}

func (t *Transit) missing() error {
	return fmt.Errorf("vault: there is no transit key %s/%s at %s: check both names, or create it: vault write -f %s type=aes256-gcm96", t.mount, t.key, t.c.address, t.path("keys"))
}

// explain reads transit's refusals.
func (t *Transit) explain(err error) error {
	r := new(requestError)
	if !errors.As(err, &r) {
		return err
	}
	switch {
	case strings.Contains(r.said, "encryption key not found"):
		return t.missing()
	case strings.Contains(r.said, "non-AEAD"):
		return fmt.Errorf("vault: the transit key %s/%s does not authenticate associated data; use one of type aes256-gcm96", t.mount, t.key)
	case strings.Contains(r.said, "too old"):
		return fmt.Errorf("%w (transit %s/%s: its version is below min_decryption_version: lower that, re-wrap the keyring, then raise it)", keys.ErrUnwrap, t.mount, t.key)
	case strings.Contains(r.said, "version is too new"), strings.Contains(r.said, "message authentication failed"),
		strings.Contains(r.said, "invalid ciphertext"), strings.Contains(r.said, "unable to decrypt"):
		return fmt.Errorf("%w (transit %s/%s%s)", keys.ErrUnwrap, t.mount, t.key, r.said)
	}
	return err
}
