package session_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecachetest"
)

// patience is what a caller gives an operation that is to fail; slack is for a
// machine whose cores are all taken by other tests, and all that an operation
// gets which is to work.
const (
	patience = 500 * time.Millisecond
	slack    = 30 * time.Second
)

// operations are everything that a store does, each on a session of its own,
// made while the server was well.
func operations(t *testing.T, b *bed) map[string]func(context.Context) error {
	t.Helper()
	s, adapter := b.store(t, nil), b.scs(t)
	subject := func(op string) string { return "subject of " + op }
	in := time.Now().Add(time.Hour)
	tokens, read := make(map[string]string), make(map[string]*session.Session[cart])
	for _, op := range []string{"get", "update", "regenerate", "login", "destroy", "destroyall", "list", "revoke", "touch"} {
		tokens[op] = create(t, s, subject(op), "one")
		read[op] = holds(t, s, tokens[op], "one")
	}
	for _, op := range []string{"find", "commit", "delete"} {
		ok(t, adapter.CommitCtx(t.Context(), op, []byte("one"), in))
	}
	return map[string]func(context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := s.Create(ctx, subject("create"), cart{})
			return err
		},
		"get": func(ctx context.Context) error {
			got, err := s.Get(ctx, tokens["get"])
			if err == nil && got.Value.Note != "one" {
				err = errors.New("a wrong session")
			}
			return err
		},
		"update": func(ctx context.Context) error { return s.Update(ctx, read["update"]) },
		"regenerate": func(ctx context.Context) error {
			token, err := s.Regenerate(ctx, tokens["regenerate"])
			if err == nil {
				tokens["regenerate"] = token
			}
			return err
		},
		"login": func(ctx context.Context) error {
			_, err := s.Login(ctx, read["login"], "another subject", cart{})
			return err
		},
		"touch":   func(ctx context.Context) error { return s.Touch(ctx, []string{tokens["touch"]})[0] },
		"destroy": func(ctx context.Context) error { return s.Destroy(ctx, tokens["destroy"]) },
		"destroyall": func(ctx context.Context) error {
			_, err := s.DestroyAll(ctx, subject("destroyall"))
			return err
		},
		"list": func(ctx context.Context) error {
			list, err := s.List(ctx, subject("list"))
			if err == nil && len(list) != 1 {
				err = fmt.Errorf("%d sessions are listed", len(list))
			}
			return err
		},
		"revoke": func(ctx context.Context) error {
			_, err := s.Revoke(ctx, subject("revoke"), read["revoke"].ID())
			return err
		},
		"find": func(ctx context.Context) error {
			_, found, err := adapter.FindCtx(ctx, "find")
			if err == nil && !found {
				err = errors.New("it is not found")
			}
			return err
		},
		"commit": func(ctx context.Context) error { return adapter.CommitCtx(ctx, "commit", []byte("two"), in) },
		"delete": func(ctx context.Context) error { return adapter.DeleteCtx(ctx, "delete") },
	}
}

// TestDegraded holds every operation to what the package's doc says of a server
// that is not well: it works, or it fails by its deadline; and when the server
// is well again so is the operation.
func TestDegraded(t *testing.T) {
	reads := []string{"get", "list", "find"}
	ends := []string{"destroy", "destroyall", "revoke", "delete"}
	fine := map[string][]string{"read-only": reads, "out of memory": append(ends, reads...)}
	for name, ill := range servertest.Ills {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onServer(t, securecachetest.WithPersistence())
			servertest.Real(t, b.env.Server)
			patient := servertest.Patient{Server: b.env.Server, Admin: b.env.Admin, App: b.env.Client.Options().Username}
			all := operations(t, b)
			ok(t, ill.Ail(t.Context(), patient))
			works := make(map[string]bool)
			for _, op := range fine[name] {
				works[op] = true
			}
			for op, do := range all {
				deadline := patience
				if works[op] {
					deadline = slack
				}
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				began := time.Now()
				err := do(ctx)
				took := time.Since(began)
				cancel()
				if (err == nil) != works[op] || took > patience+slack {
					t.Errorf("%s: after %v: %v", op, took, err)
				}
				if errors.Is(err, securecache.ErrMiss) || errors.Is(err, securecache.ErrConflict) || errors.Is(err, session.ErrDestroyed) {
					t.Errorf("%s: an answer without one: %v", op, err)
				}
			}
			ok(t, ill.Mend(t.Context(), patient))
			ctx, cancel := context.WithTimeout(t.Context(), slack)
			defer cancel()
			for op, do := range operationsLeft(all, works) {
				var err error
				if servertest.Until(ctx, op, func() bool { err = do(ctx); return harmless(err) }) != nil {
					t.Errorf("%s: %v once it is well again", op, err)
				}
			}
		})
	}
}

// operationsLeft are those that have not been done.
func operationsLeft(all map[string]func(context.Context) error, done map[string]bool) map[string]func(context.Context) error {
	left := make(map[string]func(context.Context) error)
	for op, do := range all {
		if !done[op] {
			left[op] = do
		}
	}
	return left
}

// harmless reports whether an operation has an answer: one that was sent to a
// server that then fell ill may have run there.
func harmless(err error) bool {
	return err == nil || errors.Is(err, securecache.ErrMiss) || errors.Is(err, securecache.ErrConflict)
}

// TestServerSays has the server answer each command with an error of its own.
func TestServerSays(t *testing.T) {
	for name, text := range servertest.Replies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onMini(t)
			all := operations(t, b)
			b.mini.SetError(text)
			for op, do := range all {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				began := time.Now()
				err := do(ctx)
				cancel()
				if took := time.Since(began); err == nil || took > patience+slack {
					t.Errorf("%s: after %v: %v", op, took, err)
				}
			}
			b.mini.SetError("")
			for op, do := range all {
				if err := do(t.Context()); err != nil {
					t.Errorf("%s: %v once it is well again", op, err)
				}
			}
		})
	}
}

// TestLostReplies ends connections in place of passing on answers. What a caller
// is told holds, a session that was destroyed stays so, and nobody is given a
// token that stands for nothing.
func TestLostReplies(t *testing.T) {
	b := onServer(t)
	if b.rdb.(*redis.Client).Options().Dialer == nil {
		t.Fatal("the client has no dialer to put a fault into")
	}
	faulty := newCutting(t, b)
	s, honest := faulty.store(t, nil), b.store(t, nil)
	ctx := t.Context()
	unknown := 0
	for i := range 200 {
		subject := fmt.Sprintf("subject %d", i)
		token, err := s.Create(ctx, subject, cart{Note: "one"})
		if err != nil {
			unknown++
			continue
		}
		got := holds(t, honest, token, "one")
		got.Value.Note = "two"
		switch err := s.Update(ctx, got); {
		case err == nil:
			holds(t, honest, token, "two")
		case errors.Is(err, securecache.ErrOutcomeUnknown):
			unknown++
		default:
			t.Errorf("update: %v", err)
		}
		switch next, err := s.Regenerate(ctx, token); {
		case err == nil:
			gone(t, honest, token)
			token = next
			if _, err := honest.Get(ctx, token); err != nil {
				t.Errorf("the new token stands for nothing: %v", err)
			}
		case errors.Is(err, securecache.ErrOutcomeUnknown):
			unknown++
		default:
			if _, replied := errors.AsType[redis.Error](err); replied || errors.Is(err, securecache.ErrMiss) {
				t.Errorf("regenerate: %v", err)
			}
		}
		if err := s.Destroy(ctx, token); err == nil {
			gone(t, honest, token)
		}
		if _, err := s.DestroyAll(ctx, subject); err == nil {
			listed(t, honest, subject, "")
		}
	}
	if cuts := faulty.proxy.Lost(); cuts == 0 {
		t.Error("no reply was lost")
	} else {
		t.Logf("%d replies were lost, %d operations could not say what became of them", cuts, unknown)
	}
}

// TestRefusedConnection tells a server that is not there from a session that is
// not.
func TestRefusedConnection(t *testing.T) {
	b := onServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	address := l.Addr().String()
	ok(t, l.Close())
	rdb := redis.NewClient(&redis.Options{Addr: address, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	c, err := securecache.New(rdb, b.keys, nil)
	ok(t, err)
	s, err := session.New(c, codec.Bytes(), nil)
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = s.Get(ctx, create(t, b.store(t, nil), "alice", "one"))
	if err == nil || errors.Is(err, securecache.ErrMiss) {
		t.Errorf("%v", err)
	}
}

// TestStaleKeyring fails closed with the keyring.
func TestStaleKeyring(t *testing.T) {
	t.Parallel()
	b := onServer(t)
	store := &outage{Store: keys.NewFile(t.TempDir() + "/keyring.json")}
	ok(t, keys.Create(t.Context(), "test", store, keys.InsecurePlain(), keys.Layout{}))
	k, err := keys.Open(t.Context(), "test", store, keys.InsecurePlain(), &keys.Options{Refresh: 10 * time.Millisecond, MaxOffline: 2 * time.Second})
	ok(t, err)
	t.Cleanup(func() { _ = k.Close() })
	c, err := securecache.New(b.rdb, k, nil)
	ok(t, err)
	b.cache = c
	s := b.store(t, nil)
	token := create(t, s, "alice", "one")
	store.away.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), slack)
	defer cancel()
	ok(t, servertest.Until(ctx, "the keyring is stale", func() bool { return k.Status().Stale }))
	_, err = s.Get(t.Context(), token)
	is(t, "get", err, keys.ErrStale)
	_, err = s.Create(t.Context(), "alice", cart{})
	is(t, "create", err, keys.ErrStale)
	is(t, "destroy", s.Destroy(t.Context(), token), keys.ErrStale)
}
