package vault_test

import (
	"context"
	"fmt"
	"log"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
)

// A service finds Vault and its login in the environment, and reads the keyring
// that an operator has created.
func Example() {
	ctx := context.Background()
	c, err := vault.New(ctx, vault.Config{OnError: func(err error) { log.Print(err) }})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := keys.Open(ctx, "shop", c.KV("kv", "securecache/shop"), c.Transit("transit", "shop"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	fmt.Println(k.Status().Revision)
}

// An operator creates the keyring once.
func ExampleClient_Transit() {
	ctx := context.Background()
	c, err := vault.New(ctx, vault.Config{
		Address: "https://vault.example:8200",
		CACert:  "/etc/ssl/vault-ca.pem",
		Login:   vault.AppRole("", "8f4c2c1e-operator", vault.File("/run/secrets/secret-id")),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := keys.Create(ctx, "shop", c.KV("kv", "securecache/shop"), c.Transit("transit", "shop"), keys.Layout{}); err != nil {
		log.Fatal(err)
	}
}

// The document may be in a file, and its keys wrapped by Vault all the same.
func ExampleTransit() {
	ctx := context.Background()
	c, err := vault.New(ctx, vault.Config{Login: vault.Kubernetes("", "shop", nil)})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := keys.Open(ctx, "shop", keys.NewFile("/etc/securecache/shop.json"), c.Transit("transit", "shop"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
}

// After keys were destroyed, the older versions of the document go too.
func ExampleKV_Shred() {
	ctx := context.Background()
	c, err := vault.New(ctx, vault.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	n, err := c.KV("kv", "securecache/shop").Shred(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "older versions destroyed")
}

func ExampleClient_Audit() {
	ctx := context.Background()
	c, err := vault.New(ctx, vault.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	results, err := c.Audit(ctx, vault.App, c.Transit("transit", "shop"), c.KV("kv", "securecache/shop"))
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range results {
		fmt.Println(r.Status, r.Severity, r.Check, r.Title, r.Evidence, r.Needs)
	}
}

func ExampleAppPolicy() {
	var c vault.Client // a policy is text: no connection is needed
	fmt.Print(vault.AppPolicy(c.Transit("transit", "shop"), c.KV("kv", "securecache/shop")))
	// Output:
	// # the keyring's document
	// path "kv/data/securecache/shop" { capabilities = ["read"] }
	// # unwrap its keys
	// path "transit/decrypt/shop" { capabilities = ["update"] }
}

func ExampleOperatorPolicy() {
	var c vault.Client
	fmt.Print(vault.OperatorPolicy(c.Transit("transit", "shop"), c.KV("kv", "securecache/shop")))
	// Output:
	// # the keyring's document
	// path "kv/data/securecache/shop" { capabilities = ["create", "read", "update"] }
	// # its older versions, to shred destroyed keys
	// path "kv/metadata/securecache/shop" { capabilities = ["read"] }
	// path "kv/destroy/securecache/shop" { capabilities = ["update"] }
	// # wrap and unwrap its keys
	// path "transit/encrypt/shop" { capabilities = ["update"] }
	// path "transit/decrypt/shop" { capabilities = ["update"] }
	// # the key-encryption key's type
	// path "transit/keys/shop" { capabilities = ["read"] }
}
