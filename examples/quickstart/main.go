// Command quickstart is the program of the README. It takes its server and its
// keyring from the environment that `securecache dev` prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

// User is what the example caches.
type User struct{ Name, Email string }

// loadUser stands for the database.
func loadUser(context.Context) (User, error) {
	return User{Name: "Ada", Email: "ada@example.org"}, nil
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	user, err := fetch(ctx, os.Getenv("REDIS_URL"), hardening.Files{
		CA:   os.Getenv("SECURECACHE_TLS_CA"),
		Cert: os.Getenv("SECURECACHE_TLS_CERT"),
		Key:  os.Getenv("SECURECACHE_TLS_KEY"),
	}, os.Getenv("SECURECACHE_NAMESPACE"), keys.NewFile(strings.TrimPrefix(os.Getenv("SECURECACHE_KEYRING"), "file:")), keys.InsecurePlain())
	if err != nil {
		log.Fatalf("%v\nRun it as: securecache dev -- go run ./examples/quickstart", err)
	}
	fmt.Printf("%s <%s>, by way of the cache\n", user.Name, user.Email)
}

// fetch is what the README shows, line for line.
func fetch(ctx context.Context, url string, files hardening.Files, namespace string, store keys.Store, wrapper keys.Wrapper) (User, error) {
	tls, err1 := hardening.ClientTLS(files, "")
	keyring, err2 := keys.Open(ctx, namespace, store, wrapper, nil)
	if err := errors.Join(err1, err2); err != nil {
		return User{}, err
	}
	cache, err := securecache.Dial(ctx, url, tls, keyring, nil)
	if err != nil {
		return User{}, err
	}
	return securecache.For(cache, codec.JSON[User]()).Fetch(ctx, "user/42", 10*time.Minute, loadUser)
}
