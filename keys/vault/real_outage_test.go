package vault_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
)

func TestRealSealedMidRun(t *testing.T) {
	r := newReal(t)
	const refresh, offline = 100 * time.Millisecond, 4 * time.Second
	c := r.root()
	w, s := r.at(c)
	if err := keys.Create(t.Context(), "shop", s, w, keys.Layout{Refresh: refresh, MaxOffline: offline}); err != nil {
		t.Fatal(err)
	}
	k := r.open(s, w, nil)
	if err := r.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "a refresh that fails", func() bool { return k.Status().Failures > 0 })
	if _, err := k.Ring(); err != nil {
		t.Errorf("sealed, and the keyring does not serve: %v", err)
	}
	if err := k.Status().LastError; !errors.Is(err, vault.ErrUnavailable) || !strings.Contains(err.Error(), "vault operator unseal") {
		t.Errorf("reported: %v", err)
	}
	late := servertest.Late(k.Status().Refreshed.Add(offline))
	await(t, "closed to use", func() bool { _, err := k.Ring(); return errors.Is(err, keys.ErrStale) })
	// The time counts from the beginning of that refresh, and this is its end.
	if by, d := late(), time.Since(k.Status().Refreshed); d < offline-500*time.Millisecond || by > time.Second {
		t.Errorf("closed to use %s after the last refresh, %s late, want %s", d, by, offline)
	}
	if err := r.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "serves again", func() bool { _, err := k.Ring(); return err == nil })
	if _, err := c.KV("kv", "securecache/shop").Load(t.Context()); err != nil {
		t.Errorf("the client has not recovered: %v", err)
	}
}

func TestRealTokenRevoked(t *testing.T) {
	r := newReal(t)
	ow, os := r.operator()
	if err := keys.Create(t.Context(), "shop", os, ow, keys.Layout{}); err != nil {
		t.Fatal(err)
	}
	aw, as := r.app(nil)
	k := r.open(as, aw, nil)
	for range 3 {
		r.must("sys/leases/revoke-prefix/auth/approle/login", nil)
		if err := k.Refresh(t.Context()); err != nil {
			t.Fatalf("after the token was revoked: %v", err)
		}
	}
}

func TestRealTokenThatIsGone(t *testing.T) {
	r := newReal(t)
	token := tokenOf(r, map[string]any{"ttl": "1h"})
	c := r.client(vault.Token(vault.Value(token)))
	r.must("auth/token/revoke", map[string]any{"token": token})
	_, err := c.KV("kv", "x").Load(t.Context())
	if !errors.Is(err, vault.ErrDenied) || !strings.Contains(err.Error(), "vault login") || strings.Contains(err.Error(), token) {
		t.Errorf("a revoked token that nothing can replace: %v", err)
	}
}

func TestRealMessages(t *testing.T) {
	r := newReal(t)
	root := r.root()
	narrow := r.client(r.role("narrow", `path "kv/data/other" { capabilities = ["read"] }`, nil))
	r.must("sys/mounts/kv1", map[string]any{"type": "kv"})
	r.must("kv1/data/ring", map[string]any{"data": "x"})
	r.must("transit/keys/rsa", map[string]any{"type": "rsa-2048"})
	r.must("transit/keys/derived", map[string]any{"derived": true})
	r.must("kv/data/foreign", map[string]any{"data": map[string]any{"password": "x"}})
	load := func(c *vault.Client, mount, path string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := c.KV(mount, path).Load(ctx); return err }
	}
	save := func(c *vault.Client, mount, path string) func(context.Context) error {
		return func(ctx context.Context) error { return c.KV(mount, path).Save(ctx, []byte("x"), nil) }
	}
	wrap := func(c *vault.Client, mount, key string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := c.Transit(mount, key).Wrap(ctx, make([]byte, 32), []byte("a"))
			return err
		}
	}
	unwrap := func(c *vault.Client, mount, key string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := c.Transit(mount, key).Unwrap(ctx, "vault:v1:AAAA", []byte("a"))
			return err
		}
	}
	for name, tc := range map[string]struct {
		do   func(context.Context) error
		is   error
		want string
	}{
		"policy of a read":              {load(narrow, "kv", "ring"), vault.ErrDenied, `path "kv/data/ring" { capabilities = ["read"] }`},
		"policy of a create":            {save(narrow, "kv", "ring"), vault.ErrDenied, `path "kv/data/ring" { capabilities = ["create"] }`},
		"policy of wrapping":            {wrap(narrow, "transit", "app"), vault.ErrDenied, `path "transit/encrypt/app" { capabilities = ["update"] }`},
		"policy of unwrapping":          {unwrap(narrow, "transit", "app"), vault.ErrDenied, `path "transit/decrypt/app" { capabilities = ["update"] }`},
		"wrong KV mount":                {load(root, "kvv", "ring"), vault.ErrDenied, "vault secrets list"},
		"wrong KV mount, create":        {save(root, "kvv", "ring"), vault.ErrDenied, "vault secrets list"},
		"wrong KV mount, narrow policy": {load(narrow, "kvv", "ring"), vault.ErrDenied, `path "kvv/data/ring"`},
		"wrong transit mount":           {wrap(root, "transitt", "app"), nil, "vault secrets list"},
		"wrong transit mount, unwrap":   {unwrap(root, "transitt", "app"), nil, "vault secrets list"},
		"another engine":                {load(root, "transit", "ring"), nil, "not KV version 2"},
		"KV version 1, nothing there":   {load(root, "kv1", "none"), nil, "KV version 1"},
		"KV version 1, something there": {load(root, "kv1", "ring"), nil, "KV version 1"},
		"KV version 1, create":          {save(root, "kv1", "none"), nil, "KV version 1"},
		"no such key":                   {wrap(root, "transit", "none"), nil, "vault write -f transit/keys/none"},
		"no such key, unwrap":           {unwrap(root, "transit", "none"), nil, "vault write -f transit/keys/none"},
		"RSA":                           {wrap(root, "transit", "rsa"), nil, "rsa-2048"},
		"derived":                       {wrap(root, "transit", "derived"), nil, "derived"},
		"garbage":                       {unwrap(root, "transit", "app"), keys.ErrUnwrap, "invalid ciphertext"},
		"another secret":                {load(root, "kv", "foreign"), nil, "no keyring"},
		"nothing there":                 {load(root, "kv", "none"), keys.ErrNotFound, "vault-kv:kv/none"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.do(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%v; want %v and %q", err, tc.is, tc.want)
			}
		})
	}
	if s, err := r.Admin().Logical().Read("kv1/data/none"); err != nil || s != nil {
		t.Errorf("something was written to KV version 1 (%v)", err)
	}
}

func TestRealMountWithSlashes(t *testing.T) {
	r := newReal(t)
	if err := r.MountKV(t.Context(), "team/kv"); err != nil {
		t.Fatal(err)
	}
	root := r.root()
	kek, good := root.Transit("transit", "app"), root.KV("team/kv", "securecache/shop")
	// Nothing but the documented policy: asking for the mount takes no other.
	operator := r.client(r.role("operator", vault.OperatorPolicy(kek, good), map[string]any{"token_no_default_policy": true}))
	s := operator.KV("team/kv", "securecache/shop")
	if err := keys.Create(t.Context(), "shop", s, operator.Transit("transit", "app"), keys.Layout{}); err != nil {
		t.Fatal(err)
	}
	r.refreshed(r.open(s, operator.Transit("transit", "app"), nil))
	for who, c := range map[string]*vault.Client{"operator": operator, "root": root} {
		for path, remedy := range map[[2]string]string{
			{"team", "kv/securecache/shop"}: "mounted at team/kv, not at team; tell the mount from the path: vault-kv:team/kv//securecache/shop",
			{"team/kv/securecache", "shop"}: "not at team/kv/securecache; tell the mount from the path: vault-kv:team/kv//securecache/shop",
			{"team", "kv"}:                  "team/kv at " + r.Address + " is a mount",
		} {
			wrong := c.KV(path[0], path[1])
			_, err := wrong.Load(t.Context())
			for what, err := range map[string]error{"load": err, "create": wrong.Save(t.Context(), []byte("x"), nil)} {
				if err == nil || errors.Is(err, vault.ErrDenied) || !strings.Contains(err.Error(), remedy) {
					t.Errorf("%s of %v as %s: %v; want %q", what, path, who, err, remedy)
				}
			}
		}
	}
}

func TestRealWrongCA(t *testing.T) {
	r := newReal(t)
	ca, _ := stranger(t)
	_, err := vault.New(t.Context(), vault.Config{Address: r.Address, CACert: ca, Login: approle()})
	if !errors.Is(err, vault.ErrUnavailable) || !strings.Contains(err.Error(), "VAULT_CACERT") {
		t.Errorf("a CA that has not signed the server's certificate: %v", err)
	}
	_, err = vault.New(t.Context(), vault.Config{Address: r.Address, CACert: filepath.Join(t.TempDir(), "none"), Login: approle()})
	if err == nil || !strings.Contains(err.Error(), "CA file") {
		t.Errorf("a CA file that is absent: %v", err)
	}
}

func TestRealDeletedKeyring(t *testing.T) {
	r := newReal(t)
	kv := r.root().KV("kv", "a/b")
	if err := kv.Save(t.Context(), []byte("one"), nil); err != nil {
		t.Fatal(err)
	}
	check := func(state, want string) {
		t.Helper()
		_, err := kv.Load(t.Context())
		for what, err := range map[string]error{"load": err, "create": kv.Save(t.Context(), []byte("two"), nil), "replace": kv.Save(t.Context(), []byte("two"), []byte("one"))} {
			if err == nil || errors.Is(err, keys.ErrNotFound) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %s: %v; want %q", state, what, err, want)
			}
		}
	}
	if _, err := r.Admin().Logical().DeleteWithContext(t.Context(), "kv/data/a/b"); err != nil {
		t.Fatal(err)
	}
	check("deleted", "vault kv undelete -mount=kv -versions=1 a/b")
	r.must("kv/undelete/a/b", map[string]any{"versions": []int{1}})
	if got, err := kv.Load(t.Context()); err != nil || string(got) != "one" {
		t.Errorf("undeleted: %q, %v", got, err)
	}
	r.must("kv/destroy/a/b", map[string]any{"versions": []int{1}})
	check("destroyed", "was destroyed")
}
