package securecache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

var (
	ctx   = context.Background()
	cache *securecache.Cache
)

func ExampleDial() {
	tls, err := hardening.ClientTLS(hardening.Files{CA: "ca.pem", Cert: "client.pem", Key: "client-key.pem"}, "redis.internal")
	if err != nil {
		log.Fatal(err)
	}
	keyring, err := keys.Open(ctx, "shop", keys.NewFile("/etc/shop/keyring.json"), keys.InsecurePlain(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer keyring.Close()
	cache, err := securecache.Dial(ctx, os.Getenv("REDIS_URL"), tls, keyring, &securecache.Options{
		OnRefused: func(r securecache.Refusal) { log.Printf("refused %s: %v", r.Key, r.Err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
}

func ExampleCache_Get() {
	value, err := cache.Get(ctx, "token/7")
	var refused *securecache.RefusedError
	switch {
	case errors.Is(err, securecache.ErrMiss):
		fmt.Println("not there, or past its end")
	case errors.As(err, &refused):
		fmt.Println("somebody has been at it:", refused.Reason)
	case err != nil:
		fmt.Println("no answer:", err)
	default:
		fmt.Printf("%d bytes\n", len(value))
	}
}

func ExampleCache_Touch() {
	// The session ends after 30 minutes without a touch, and after 12 hours
	// whatever happens.
	err := cache.Set(ctx, "session/8f3a", []byte("…"), 30*time.Minute, securecache.MaxLife(12*time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	left, err := cache.Touch(ctx, "session/8f3a", 30*time.Minute)
	fmt.Println(left, err)
}

func ExampleCache_Replace() {
	item, err := cache.Item(ctx, "cart/42")
	if err != nil {
		log.Fatal(err)
	}
	err = cache.Replace(ctx, "cart/42", item.ETag, append(item.Value, "one more"...), time.Hour)
	if errors.Is(err, securecache.ErrConflict) {
		fmt.Println("somebody else was faster: read it again")
	}
}

func ExampleFor() {
	type user struct{ Name string }
	users := securecache.For(cache, codec.JSON[user]())
	u, err := users.Fetch(ctx, "user/42", 10*time.Minute, func(context.Context) (user, error) {
		return user{"Ada"}, nil // from the database
	})
	fmt.Println(u.Name, err)
}

// A script of one's own works on sealed records and blinded names, like ours.
func ExampleCache_Run() {
	const mine codec.Kind = 0x80
	swap := lua.New("swap", `return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'GET')`)
	key, err := cache.Key(mine, "leader")
	if err != nil {
		log.Fatal(err)
	}
	record, err := cache.Seal(key, time.Now().Add(time.Minute), []byte("node 3"))
	if err != nil {
		log.Fatal(err)
	}
	reply, err := cache.Run(ctx, swap, []securecache.Key{key}, record, 60_000)
	if err != nil {
		log.Fatal(err)
	}
	if before, ok := reply.Value.(string); ok {
		name, err := cache.Open(ctx, key, []byte(before))
		fmt.Printf("%s %v\n", name, err)
	}
}
