// Package vault keeps a keyring in HashiCorp Vault: [Transit] wraps its keys,
// so that they are of no use without Vault, and [KV] stores its document in a
// KV version 2 engine. The two are independent of each other: a document in a
// file may be wrapped by Vault.
//
// Nothing of it is on the path of a get or a set. A keys.Keyring calls it when
// it is opened, at each refresh in the background, and when keys are rotated.
//
// A [Client] logs in by token, AppRole, Kubernetes service account, TLS
// certificate or one of Vault's other methods, renews its token ahead of time
// and logs in anew when renewal ends, and once when a call is answered with 403.
// Every call ends by its caller's context or [Config.Timeout]. The server's
// certificate is always verified, with TLS 1.2 or newer.
//
// # Policies
//
// An application reads the document and unwraps; it can change neither. With
// the engines at kv and transit, a keyring at securecache/shop and a
// key-encryption key of its own called shop ([AppPolicy] writes it):
//
//	path "kv/data/securecache/shop" { capabilities = ["read"] }
//	path "transit/decrypt/shop"     { capabilities = ["update"] }
//
// An operator who creates the keyring and rotates, destroys and re-wraps keys
// ([OperatorPolicy]):
//
//	path "kv/data/securecache/shop"     { capabilities = ["create", "read", "update"] }
//	path "kv/metadata/securecache/shop" { capabilities = ["read"] }
//	path "kv/destroy/securecache/shop"  { capabilities = ["update"] }
//	path "transit/encrypt/shop"         { capabilities = ["update"] }
//	path "transit/decrypt/shop"         { capabilities = ["update"] }
//	path "transit/keys/shop"            { capabilities = ["read"] }
//
// Neither may create on transit/encrypt: Vault would make a new key of a
// misspelt name. Give each namespace a key-encryption key and policies of its
// own: associated data keeps a wrapped key from being put in another's place,
// but whoever may decrypt with the key-encryption key can unwrap all of them.
// [Client.Audit] tells whether a login has more than that, or less.
package vault
