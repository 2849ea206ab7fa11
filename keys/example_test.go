package keys_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/securecache/securecache-go/keys"
)

// exampleStore returns a store for one example.
func exampleStore() (s keys.Store, remove func()) {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		panic(err)
	}
	return keys.NewFile(filepath.Join(dir, "keyring.json")), func() { _ = os.RemoveAll(dir) }
}

// exampleKeyring returns a keyring for one example.
func exampleKeyring() (k *keys.Keyring, remove func()) {
	store, removeStore := exampleStore()
	ctx, wrapper := context.Background(), keys.InsecurePlain()
	if err := keys.Create(ctx, "shop", store, wrapper, keys.Layout{}); err != nil {
		panic(err)
	}
	k, err := keys.Open(ctx, "shop", store, wrapper, nil)
	if err != nil {
		panic(err)
	}
	return k, func() { _ = k.Close(); removeStore() }
}

// A service creates its keyring once, by hand, and opens it at each start.
func Example() {
	store, remove := exampleStore() // keys.NewFile("/etc/shop/keyring.json")
	defer remove()
	ctx, wrapper := context.Background(), keys.InsecurePlain() // in production: package vault's

	if err := keys.Create(ctx, "shop", store, wrapper, keys.Layout{MaxLife: 24 * time.Hour}); err != nil {
		fmt.Println(err)
		return
	}
	keyring, err := keys.Open(ctx, "shop", store, wrapper, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keyring.Close()
	ring, err := keyring.Ring()
	fmt.Println(ring.Namespace(), ring.Revision(), ring.Layout().MaxLife, err)
	// Output: shop 1 24h0m0s <nil>
}

func ExampleCreate() {
	store, remove := exampleStore()
	defer remove()
	ctx := context.Background()
	layout := keys.Layout{Prefix: "cache", Shards: 16}
	fmt.Println(keys.Create(ctx, "shop", store, keys.InsecurePlain(), layout))
	again := keys.Create(ctx, "shop", store, keys.InsecurePlain(), layout)
	fmt.Println(errors.Is(again, keys.ErrExists))
	// Output:
	// <nil>
	// true
}

func ExampleOpen() {
	store, remove := exampleStore()
	defer remove()
	_, err := keys.Open(context.Background(), "shop", store, keys.InsecurePlain(), &keys.Options{
		OnError: func(err error) { fmt.Println("the keyring was not refreshed:", err) },
	})
	fmt.Println(errors.Is(err, keys.ErrNotFound))
	// Output: true
}

func ExampleKeyring_Rotate() {
	keyring, remove := exampleKeyring()
	defer remove()
	added, err := keyring.Rotate(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	ring, err := keyring.Ring()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("announced:", ring.Key(added.ID) != nil)
	fmt.Println("seals now:", ring.Primary(time.Now()).ID() == added.ID)
	fmt.Println("seals then:", ring.Primary(added.Activates).ID() == added.ID)
	// Output:
	// announced: true
	// seals now: false
	// seals then: true
}

func ExampleKeyring_Destroy() {
	keyring, remove := exampleKeyring()
	defer remove()
	ring, err := keyring.Ring()
	if err != nil {
		fmt.Println(err)
		return
	}
	err = keyring.Destroy(context.Background(), ring.Primary(time.Now()).ID(), false)
	fmt.Println(errors.Is(err, keys.ErrInUse), err)
	// Output: true keys: the key is in use: it seals; rotate first, or revoke all
}

func ExampleKeyring_RevokeAll() {
	keyring, remove := exampleKeyring()
	defer remove()
	if _, err := keyring.RevokeAll(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	ring, err := keyring.Ring()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range ring.Keys() {
		fmt.Println("destroyed:", key.Destroyed)
	}
	// Output:
	// destroyed: true
	// destroyed: false
}

func ExampleKeyring_Rewrap() {
	keyring, remove := exampleKeyring()
	defer remove()
	// With nil the keys move to the newest version of the same key-encryption key.
	fmt.Println(keyring.Rewrap(context.Background(), nil))
	// Output: <nil>
}

func ExampleNewPassphrase() {
	wrapper := keys.NewPassphrase([]byte("correct horse battery staple"), nil)
	fmt.Println(wrapper.Scheme(), wrapper)
	// Output: argon2id argon2id
}

func ExampleNames_Blind() {
	keyring, remove := exampleKeyring()
	defer remove()
	ring, err := keyring.Ring()
	if err != nil {
		fmt.Println(err)
		return
	}
	value, session := ring.Names().Blind('v', "user:42"), ring.Names().Blind('s', "user:42")
	fmt.Println(len(value), value == session)
	// Output: 16 false
}

func ExampleParseID() {
	id, err := keys.ParseID("d3d64e3444951ab1487b0fa31152646d")
	fmt.Println(id, err)
	// Output: d3d64e3444951ab1487b0fa31152646d <nil>
}
