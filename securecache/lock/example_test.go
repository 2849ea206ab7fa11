package lock_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
)

var (
	ctx   = context.Background()
	cache *securecache.Cache
	locks *lock.Locker
	db    *sql.DB
)

func ExampleNew() {
	locks, err := lock.New(cache, nil) // one for the whole process
	if err != nil {
		log.Fatal(err)
	}
	defer locks.Close()
}

func ExampleLocker_Do() {
	wait, cancel := context.WithTimeout(ctx, time.Minute) // for the lock and the work together
	defer cancel()
	err := locks.Do(wait, "nightly report", 30*time.Second, func(ctx context.Context) error {
		// ctx ends when the lock is lost: pass it on to whatever takes time.
		return report(ctx)
	})
	switch {
	case errors.Is(err, lock.ErrNotObtained):
		fmt.Println("somebody else is at it")
	case errors.Is(err, lock.ErrLost):
		fmt.Println("somebody else may have begun before it was done")
	case err != nil:
		log.Fatal(err)
	}
}

func report(context.Context) error { return nil }

func ExampleLocker_Try() {
	held, err := locks.Try(ctx, "user/42", 30*time.Second)
	if errors.Is(err, lock.ErrNotObtained) {
		fmt.Println("busy")
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := held.Release(ctx); err != nil {
			log.Print(err)
		}
	}()
}

// A store that keeps the greatest fence it has seen beside what it guards
// refuses a holder who has been overtaken without knowing it.
func ExampleLock_Fence() {
	held, err := locks.Obtain(ctx, "account/42", 10*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = held.Release(ctx) }()
	result, err := db.ExecContext(held.Context(),
		`UPDATE account SET balance = $1, fence = $2 WHERE id = 42 AND fence <= $2`, 100, held.Fence())
	if err != nil {
		log.Fatal(err)
	}
	if n, err := result.RowsAffected(); err == nil && n == 0 {
		fmt.Println("a later holder has been here")
	}
}

func ExampleLock_GuardedSet() {
	err := locks.Do(ctx, "rates", 10*time.Second, func(ctx context.Context) error {
		held, _ := lock.FromContext(ctx)
		return held.GuardedSet(ctx, "rates/today", []byte("1.08"), time.Hour)
	})
	if errors.Is(err, lock.ErrFenced) {
		fmt.Println("a later holder has stored a newer one")
	}
}

// One request of a user at a time, on all servers together.
func ExampleLocker_Middleware() {
	user := func(r *http.Request) string { // of the session, never of what the client says
		id, _ := r.Context().Value("user").(string)
		if id == "" {
			return ""
		}
		return "request of " + id
	}
	guard, err := locks.Middleware(user, &lock.HTTPOptions{Status: http.StatusTooManyRequests})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /checkout", guard(http.HandlerFunc(checkout)))
}

func checkout(http.ResponseWriter, *http.Request) {}
