package main

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/securecache/securecache-go/internal/vaulttest"
)

const (
	transitName  = "Vault transit + go-redis"
	transitMount = "transit"
	transitKey   = namespace
)

// vaultBuilt is where make vault puts what it builds.
const vaultBuilt = "../.cache/vaultdev"

// vaultProgram returns the program of a Vault server, "" where there is none.
func vaultProgram() string {
	if program := os.Getenv(vaulttest.Variable); program != "" {
		return program
	}
	if program, err := exec.LookPath("vault"); err == nil {
		return program
	}
	if program, err := filepath.Abs(vaultBuilt); err == nil {
		if _, err := os.Stat(program); err == nil {
			return program
		}
	}
	return ""
}

// transit has Vault encrypt and decrypt each value, and keeps what it answers
// with go-redis.
func (b *bench) transit(ctx context.Context) (contender, error) {
	program := vaultProgram()
	if program == "" {
		return contender{who: transitName, absent: "no Vault server; make vault builds one, or " + vaulttest.Variable + " names its program"}, nil
	}
	vault, err := vaulttest.Start(ctx, program)
	if err != nil {
		return contender{}, err
	}
	b.onClose(vault.Close)
	b.vaultVersion = vault.Version
	client := vault.Admin()
	path := func(verb string) string { return transitMount + "/" + verb + "/" + transitKey }
	if _, err := client.Logical().WriteWithContext(ctx, path("keys"), nil); err != nil {
		return contender{}, err
	}
	ask := func(ctx context.Context, verb, in, text, out string) (string, error) {
		answer, err := client.Logical().WriteWithContext(ctx, path(verb), map[string]any{in: text})
		if err != nil {
			return "", err
		}
		result, ok := answer.Data[out].(string)
		if !ok {
			return "", errors.New("vault: the answer holds no " + out)
		}
		return result, nil
	}
	rdb := b.client()
	return contender{
		who: transitName, tag: "transit",
		set: func(ctx context.Context, name string, value []byte) error {
			sealed, err := ask(ctx, "encrypt", "plaintext", base64.StdEncoding.EncodeToString(value), "ciphertext")
			if err != nil {
				return err
			}
			return rdb.Set(ctx, name, sealed, ttl).Err()
		},
		get: func(ctx context.Context, name string) ([]byte, error) {
			sealed, err := rdb.Get(ctx, name).Result()
			if err != nil {
				return nil, err
			}
			text, err := ask(ctx, "decrypt", "ciphertext", sealed, "plaintext")
			if err != nil {
				return nil, err
			}
			return base64.StdEncoding.DecodeString(text)
		},
	}, nil
}
