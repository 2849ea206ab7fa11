package token_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/token"
)

var (
	ctx   = context.Background()
	cache *securecache.Cache
)

func ExampleDenylist() {
	d, err := token.NewDenylist(cache, &token.Options{Life: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	// At the logout: this token, until it ends by itself.
	if err := d.Revoke(ctx, token.JTI("4f1c…"), time.Now().Add(time.Hour)); err != nil {
		log.Fatal(err)
	}
	// At each request.
	revoked, err := d.Revoked(ctx, token.Token{ID: token.JTI("4f1c…"), Subject: "user/42", Issued: time.Now()})
	if err != nil {
		log.Print(err)
	}
	if revoked {
		fmt.Println("401")
	}
}

func ExampleOnce() {
	links, err := token.NewOnce(cache)
	if err != nil {
		log.Fatal(err)
	}
	code := token.Code{Purpose: "reset-password", Subject: "user/42"}
	if code.Text, err = links.Issue(ctx, code, []byte("the request that asked for it"), 15*time.Minute); err != nil {
		log.Fatal(err)
	}
	_, err = links.Consume(ctx, code)
	if errors.Is(err, securecache.ErrMiss) {
		fmt.Println("the link has been used, or has ended")
	}
}
