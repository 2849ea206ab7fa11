package token_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/token"
	"github.com/securecache/securecache-go/securecachetest"
)

// patience is how long a caller waits where the server says nothing; slack is for
// a machine whose cores are all taken by other tests.
const (
	patience = 300 * time.Millisecond
	slack    = 10 * time.Second
)

// ward is what is asked of a server that falls ill.
type ward struct {
	closed, open  *token.Denylist
	revoked       token.ID
	once          *token.Once
	code          token.Code
	op            token.Operation
	says          string        // the server does, "" where it says nothing
	waits         time.Duration // a caller does at most
	reads, spends bool          // works
}

func (w *ward) admit(t *testing.T, env *securecachetest.Env) {
	t.Helper()
	w.closed, w.open = denylist(t, env, nil), denylist(t, env, &token.Options{FailOpen: true})
	w.revoked, w.once, w.op, w.waits = token.JTI("revoked"), once(t, env.Cache), token.NewOperation(), slack
	if w.says == "" {
		w.waits = patience
	}
	w.code = token.Code{Purpose: "link", Text: "code"}
	_, err := w.once.Issue(t.Context(), w.code, []byte("value"), time.Hour)
	if err := errors.Join(err, w.closed.Revoke(t.Context(), w.revoked, time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
}

// asks has do ask under the caller's patience.
func (w *ward) asks(t *testing.T, do func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), w.waits)
	defer cancel()
	began := time.Now()
	err := do(ctx)
	if took := time.Since(began); took > w.waits+slack {
		t.Errorf("it took %v", took)
	}
	return err
}

func (w *ward) checks(t *testing.T) {
	t.Helper()
	for _, tc := range []struct {
		what       string
		d          *token.Denylist
		id         token.ID
		well, sick bool // what is said with an answer, and without
	}{
		{"closed, one that is revoked", w.closed, w.revoked, true, true},
		{"closed, one that is not", w.closed, token.JTI("fine"), false, true},
		{"open, one that is revoked", w.open, w.revoked, true, false},
		{"open, one that is not", w.open, token.JTI("fine"), false, false},
	} {
		var revoked bool
		err := w.asks(t, func(ctx context.Context) (err error) {
			revoked, err = tc.d.Revoked(ctx, token.Token{ID: tc.id})
			return err
		})
		want := tc.sick
		if w.reads {
			want = tc.well
		}
		if revoked != want || (err == nil) != w.reads || err != nil && !strings.Contains(err.Error(), w.says) {
			t.Errorf("%s: %t, %v", tc.what, revoked, err)
		}
	}
}

func (w *ward) writes(t *testing.T) {
	t.Helper()
	for what, do := range map[string]func(context.Context) error{
		"Revoke": func(ctx context.Context) error {
			return w.closed.Revoke(ctx, token.JTI("another"), time.Now().Add(time.Hour))
		},
		"Issue": func(ctx context.Context) error {
			_, err := w.once.Issue(ctx, token.Code{Text: "another"}, nil, time.Hour)
			return err
		},
	} {
		if err := w.asks(t, do); err == nil || errors.Is(err, token.ErrUsed) || !strings.Contains(err.Error(), w.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	err := w.asks(t, func(ctx context.Context) error { return w.spend(ctx) })
	if (err == nil) != w.spends || errors.Is(err, securecache.ErrMiss) || err != nil && !strings.Contains(err.Error(), w.says) {
		t.Errorf("Consume: %v", err)
	}
}

// spend consumes the code, as the same operation each time.
func (w *ward) spend(ctx context.Context) error {
	value, err := w.once.ConsumeAs(ctx, w.op, w.code)
	if err == nil && string(value) != "value" {
		err = errors.New("another value")
	}
	return err
}

// mends asks until the server answers: the operation then has its answer, and
// nobody else has one.
func (w *ward) mends(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for err := w.spend(ctx); err != nil; err = w.spend(ctx) {
		if ctx.Err() != nil || errors.Is(err, securecache.ErrMiss) {
			t.Fatal(err)
		}
	}
	if _, err := w.once.Consume(ctx, w.code); !errors.Is(err, securecache.ErrMiss) {
		t.Errorf("consumed by somebody else: %v", err)
	}
	says(t, w.closed, token.Token{ID: w.revoked}, true)
}

func TestDegraded(t *testing.T) {
	wards := map[string]ward{"read-only": {reads: true}, "out of memory": {reads: true, spends: true}}
	for name, ill := range servertest.Ills {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := securecachetest.Start(t, securecachetest.WithPersistence())
			servertest.Real(t, env.Server)
			w := wards[name]
			w.says = ill.Says
			w.admit(t, env)
			patient := servertest.Patient{Server: env.Server, Admin: env.Admin, App: env.Client.Options().Username}
			if err := ill.Ail(t.Context(), patient); err != nil {
				t.Fatal(err)
			}
			w.checks(t)
			w.writes(t)
			if err := ill.Mend(t.Context(), patient); err != nil {
				t.Fatal(err)
			}
			w.mends(t)
		})
	}
}

// TestNoServerToDial is of a failover client whose sentinels all answer that they
// know of no server: what go-redis says then wraps that reply of nothing.
func TestNoServerToDial(t *testing.T) {
	env := securecachetest.Start(t)
	for _, batch := range []bool{false, true} {
		options := *env.Client.Options()
		options.DialerRetries = 1
		options.Dialer = func(context.Context, string, string) (net.Conn, error) {
			return nil, fmt.Errorf("the sentinels know of no server: %w", redis.Nil)
		}
		rdb := redis.NewClient(&options)
		t.Cleanup(func() { _ = rdb.Close() })
		c, err := securecache.New(rdb, env.Keyring, &securecache.Options{Batch: batch})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		for _, failOpen := range []bool{false, true} {
			d, err := token.NewDenylist(c, &token.Options{FailOpen: failOpen})
			if err != nil {
				t.Fatal(err)
			}
			if revoked, err := d.Revoked(t.Context(), token.Token{ID: token.JTI("x")}); revoked == failOpen || err == nil {
				t.Errorf("batch %t, fail open %t: %t, %v", batch, failOpen, revoked, err)
			}
			if err := d.Revoke(t.Context(), token.JTI("x"), time.Now().Add(time.Minute)); err == nil {
				t.Errorf("batch %t: revoked without a server", batch)
			}
		}
	}
}
