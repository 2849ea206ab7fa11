package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

const namespace = "bench"

// bench is one run: a server, a keyring, and the rows so far.
type bench struct {
	settings
	progress     io.Writer
	server       *server.Server
	dir          string
	keyring      *keys.Keyring
	rows         []row
	vaultVersion string
	loadBefore   string
	closers      []func() error // run in reverse
}

// start starts the server and opens a new keyring.
func start(ctx context.Context, s settings, progress io.Writer) (_ *bench, err error) {
	b := &bench{settings: s, progress: progress, loadBefore: load()}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.server, err = server.Start(ctx, server.Options{Namespace: namespace}); err != nil {
		return nil, err
	}
	b.onClose(b.server.Close)
	if b.dir, err = os.MkdirTemp("", "securecache-bench-"); err != nil {
		return nil, err
	}
	b.onClose(func() error { return os.RemoveAll(b.dir) })
	store, wrapper := b.store()
	if err = keys.Create(ctx, namespace, store, wrapper, keys.Layout{}); err != nil {
		return nil, err
	}
	if b.keyring, err = keys.Open(ctx, namespace, store, wrapper, nil); err != nil {
		return nil, err
	}
	b.onClose(b.keyring.Close)
	return b, nil
}

// store is where the keyring is kept, and how it is wrapped.
func (b *bench) store() (keys.Store, keys.Wrapper) {
	return keys.NewFile(b.keyringFile()), keys.InsecurePlain()
}

func (b *bench) keyringFile() string { return filepath.Join(b.dir, "keyring.json") }

func (b *bench) onClose(f func() error) { b.closers = append(b.closers, f) }

// close ends what start and the sections began, and says what did not end well.
func (b *bench) close() {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	b.closers = nil
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(b.progress, "bench: closing:", err)
	}
}

// client returns a client of its own, of the application's user. All sides of a
// comparison have the same options.
func (b *bench) client() *redis.Client {
	rdb := redis.NewClient(b.server.Options())
	b.onClose(rdb.Close)
	return rdb
}

// cache returns a cache on a client of its own.
func (b *bench) cache(o *securecache.Options) (*securecache.Cache, error) {
	c, err := securecache.New(b.client(), b.keyring, o)
	if err != nil {
		return nil, err
	}
	b.onClose(c.Close)
	return c, nil
}

// wants reports whether -only leaves a row in.
func (b *bench) wants(what, who string) bool { return b.only.MatchString(what + ", " + who) }

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, format+"\n", args...)
}
