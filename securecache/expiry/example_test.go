package expiry_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
)

var (
	ctx   = context.Background()
	cache *securecache.Cache // of a namespace with shards
)

func ExampleListen() {
	err := expiry.Listen(ctx, cache, func(ctx context.Context, e expiry.Event) error {
		fmt.Println(e.Name, "ended", e.Deadline) // until this returns nil, the event comes back
		return nil
	}, nil)
	log.Println("no more events:", err) // ctx has ended
}

func ExampleNew() {
	n, err := expiry.New(cache, &expiry.Options{
		Visibility: time.Minute, // what a handler may take
		OnError:    func(err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for range time.Tick(time.Minute) {
			log.Printf("%v behind, %d delivered", n.Stats().Lag, n.Stats().Delivered)
		}
	}()
	err = n.Listen(ctx, func(context.Context, expiry.Event) error { return nil })
	log.Println("no more events:", err)
}

func ExampleNotifier_Dead() {
	n, err := expiry.New(cache, nil)
	if err != nil {
		log.Fatal(err)
	}
	for letter, err := range n.Dead(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if letter.Err != nil { // tampered with: nothing to be done
			_, err = n.Drop(ctx, letter)
		} else {
			_, err = n.Requeue(ctx, letter)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}
