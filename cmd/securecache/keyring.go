package main

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"strings"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
)

const (
	wrapTransit    = "vault-transit"
	wrapPassphrase = "passphrase"
	wrapPlain      = "insecure-plain"

	passphraseEnv   = "SECURECACHE_PASSPHRASE_FILE"
	toPassphraseEnv = "SECURECACHE_TO_PASSPHRASE_FILE"
)

// vaults gives store and wrapper one login at Vault.
type vaults struct{ client *vault.Client }

func (v *vaults) get(ctx context.Context, a *app) (*vault.Client, error) {
	if v.client != nil {
		return v.client, nil
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	client, err := vault.New(ctx, vault.Config{Timeout: a.timeout})
	if err != nil {
		return nil, err
	}
	a.atExit(client.Close)
	v.client = client
	return client, nil
}

// source returns where the keyring is, and what wraps its keys. A passphrase
// that is asked for is asked for twice where it is new.
func (a *app) source(ctx context.Context, fresh bool) (keys.Store, keys.Wrapper, error) {
	if a.namespace == "" {
		return nil, nil, &failure{code: exitUsage, err: errors.New("no namespace is given"), next: "set SECURECACHE_NAMESPACE or --namespace"}
	}
	store, err := a.store(ctx)
	if err != nil {
		return nil, nil, err
	}
	wrapper, err := a.wrapper(ctx, "--wrap", a.wrap, passphraseEnv, fresh)
	return store, wrapper, err
}

func (a *app) store(ctx context.Context) (keys.Store, error) {
	file, isFile := strings.CutPrefix(a.keyring, "file:")
	mount, path, isVault := kvOf(a.keyring)
	switch {
	case isFile && file != "":
		return keys.NewFile(file), nil
	case isVault:
		client, err := a.vaults.get(ctx, a)
		if err != nil {
			return nil, err
		}
		return client.KV(mount, path), nil
	case a.keyring == "":
		return nil, &failure{code: exitUsage, err: errors.New("no keyring is given"),
			next: "set SECURECACHE_KEYRING or --keyring to file:PATH or vault-kv:MOUNT/PATH; to make one: securecache keys create"}
	}
	return nil, &failure{code: exitUsage, err: fmt.Errorf("--keyring cannot be read: %q", a.keyring), next: "give file:PATH or vault-kv:MOUNT/PATH"}
}

// kvOf reads a --keyring that is in Vault. The mount ends at the first two
// slashes, for a mount that has one itself, or else at the first slash.
func kvOf(spec string) (mount, path string, ok bool) {
	rest, found := strings.CutPrefix(spec, "vault-kv:")
	mount, path, two := strings.Cut(rest, "//")
	if !two {
		mount, path, _ = strings.Cut(rest, "/")
	}
	return mount, path, found && mount != "" && path != ""
}

// transitOf reads a --wrap that is Vault's. A mount may have slashes, a key has
// none.
func transitOf(spec string) (mount, key string, ok bool) {
	rest, found := strings.CutPrefix(spec, wrapTransit+":")
	i := strings.LastIndexByte(rest, '/')
	if !found || i <= 0 || i == len(rest)-1 {
		return "", "", false
	}
	return rest[:i], rest[i+1:], true
}

// wrapper reads what --wrap or --to-wrap says.
func (a *app) wrapper(ctx context.Context, flag, spec, env string, fresh bool) (keys.Wrapper, error) {
	const forms = "vault-transit:MOUNT/KEY, passphrase or insecure-plain"
	if mount, key, isVault := transitOf(spec); isVault {
		client, err := a.vaults.get(ctx, a)
		if err != nil {
			return nil, err
		}
		return client.Transit(mount, key), nil
	}
	switch spec {
	case wrapPassphrase:
		if fips140.Enforced() {
			return nil, &failure{code: exitUsage, err: errors.New("a passphrase takes argon2id, which FIPS 140-only mode does not have"), next: "wrap with vault-transit:MOUNT/KEY"}
		}
		what := "passphrase of the keyring"
		if fresh {
			what = "new " + what
		}
		secret, err := a.passphrase(env, what, fresh)
		if err != nil {
			return nil, err
		}
		defer clear(secret)
		return keys.NewPassphrase(secret, nil), nil
	case wrapPlain:
		return keys.InsecurePlain(), nil
	case "":
		return nil, &failure{code: exitUsage, err: errors.New("what wraps the keyring's keys is not given"), next: "set SECURECACHE_WRAP or --wrap to " + forms}
	}
	return nil, &failure{code: exitUsage, err: fmt.Errorf("%s cannot be read: %q", flag, spec), next: "give " + forms}
}

// openKeyring opens the namespace's keyring.
func (a *app) openKeyring(ctx context.Context) (*keys.Keyring, error) {
	store, wrapper, err := a.source(ctx, false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	k, err := keys.Open(ctx, a.namespace, store, wrapper, nil)
	if err != nil {
		return nil, err
	}
	a.atExit(k.Close)
	return k, nil
}
