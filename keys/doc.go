// Package keys holds the data keys that seal a namespace's records, and the
// names key that blinds its names.
//
// A [Keyring] is one namespace's keys. It reads them from a document in a
// [Store], where they stand encrypted by a [Wrapper], keeps them fresh in the
// background and hands out a [Ring], an immutable snapshot: the ring's primary
// seals, all its keys open.
//
// Life cycle: [Create] makes the document, once. [Keyring.Rotate] announces a
// new key, which becomes active everywhere at once; the key before it goes on
// opening what it sealed, until nothing of that can be alive and
// [Keyring.Destroy] may remove it. [Keyring.RevokeAll] ends every older record
// at once, and [Keyring.Rewrap] moves the keys to the newest key-encryption key.
//
// The document is authenticated with the names key. Whoever can write the store
// can delete it, or put an older one before a process that starts; a process
// that runs refuses a document older than one it has seen. The store must not be
// where the Redis server can write.
//
// Key bytes cannot be read out of this package and show under no fmt verb. They
// lie in ordinary memory, though: a core dump holds them.
package keys
