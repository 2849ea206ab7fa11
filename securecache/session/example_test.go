package session_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
)

// login is what a service may keep in a session.
type login struct {
	Name  string
	Theme string
}

var (
	ctx   = context.Background()
	cache *securecache.Cache // as securecache.Dial returned it
)

func ExampleNew() {
	sessions, err := session.New(cache, codec.JSON[login](), &session.Options{
		Idle: 20 * time.Minute, Absolute: 12 * time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	token, err := sessions.Create(ctx, "user/42", login{Name: "Ada"})
	if err != nil {
		log.Fatal(err)
	}
	found, err := sessions.Get(ctx, token)
	switch {
	case errors.Is(err, securecache.ErrMiss):
		fmt.Println("not logged in, or no more")
	case err != nil:
		fmt.Println("no answer:", err)
	default:
		fmt.Println(found.Value.Name, "until", found.Ends())
	}
}

func ExampleStore_Update() {
	var sessions *session.Store[login]
	found, err := sessions.Get(ctx, "…")
	if err != nil {
		log.Fatal(err)
	}
	found.Value.Theme = "dark"
	switch err := sessions.Update(ctx, found); {
	case errors.Is(err, securecache.ErrConflict):
		fmt.Println("changed meanwhile: read it again")
	case errors.Is(err, securecache.ErrMiss):
		fmt.Println("logged out meanwhile")
	case err != nil:
		fmt.Println("no answer:", err)
	}
}

func ExampleStore_DestroyAll() {
	var sessions *session.Store[login]
	devices, err := sessions.List(ctx, "user/42")
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range devices {
		fmt.Println(d.ID(), d.Created())
	}
	// One of them, by the id that its owner was shown.
	if _, err := sessions.Revoke(ctx, "user/42", devices[0].ID()); err != nil {
		log.Fatal(err)
	}
	ended, err := sessions.DestroyAll(ctx, "user/42")
	fmt.Println(ended, err)
}

func ExampleStore_Handler() {
	sessions, err := session.New(cache, codec.JSON[login](), nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		// Once the password is checked: the session gets a token that nobody can
		// have planted.
		v := session.From[login](r.Context())
		if err := v.Login(r.Context(), w, "user/42", login{Name: "Ada"}); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if now := session.From[login](r.Context()).Session(); now != nil {
			fmt.Fprintln(w, "hello", now.Value.Name)
		}
	})
	log.Fatal(http.ListenAndServeTLS(":8443", "cert.pem", "key.pem", sessions.Handler(mux)))
}

func ExampleNewSCS() {
	store, err := session.NewSCS(cache, nil)
	if err != nil {
		log.Fatal(err)
	}
	manager := scs.New()
	manager.Store = store
	manager.Cookie.Secure = true
}
