package token_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/lossy"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/token"
	"github.com/securecache/securecache-go/securecachetest"
)

func once(t *testing.T, c *securecache.Cache) *token.Once {
	t.Helper()
	o, err := token.NewOnce(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOnce(t *testing.T) {
	env := securecachetest.Start(t)
	o, ctx := once(t, env.Cache), t.Context()
	link := token.Code{Purpose: "reset", Subject: "u1"}
	var err error
	if link.Text, err = o.Issue(ctx, link, []byte("value"), time.Minute); err != nil || len(link.Text) != 43 {
		t.Fatalf("%q, %v", link.Text, err)
	}
	for name, other := range map[string]token.Code{
		"purpose": {Purpose: "login", Subject: "u1", Text: link.Text},
		"subject": {Purpose: "reset", Subject: "u2", Text: link.Text},
		"text":    {Purpose: "reset", Subject: "u1", Text: link.Text + "x"},
		"split":   {Purpose: "res", Subject: "etu1", Text: link.Text},
	} {
		if _, err := o.Consume(ctx, other); !errors.Is(err, securecache.ErrMiss) {
			t.Errorf("of another %s: %v", name, err)
		}
	}
	op := token.NewOperation()
	for range 3 {
		if value, err := o.ConsumeAs(ctx, op, link); string(value) != "value" || err != nil {
			t.Errorf("the same operation again: %q, %v", value, err)
		}
	}
	if _, err := o.Consume(ctx, link); !errors.Is(err, securecache.ErrMiss) {
		t.Errorf("another operation: %v", err)
	}
	if _, err := o.Issue(ctx, link, nil, time.Minute); !errors.Is(err, token.ErrUsed) {
		t.Errorf("issued again within its time: %v", err)
	}
	for _, name := range env.Admin.Keys(ctx, "*").Val() {
		if ttl := env.Admin.PTTL(ctx, name).Val(); ttl <= 0 || ttl > time.Minute || strings.Contains(name, link.Text) {
			t.Errorf("%s is kept for %v", name, ttl)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	o := once(t, securecachetest.Start(t).Cache)
	code := token.Code{Purpose: "payment", Subject: "u1", Text: "order-7"}
	var first atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			switch _, err := o.Issue(t.Context(), code, nil, time.Minute); {
			case err == nil:
				first.Add(1)
			case !errors.Is(err, token.ErrUsed):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := first.Load(); n != 1 {
		t.Errorf("%d were the first", n)
	}
	if there, err := o.Revoke(t.Context(), code); !there || err != nil {
		t.Errorf("revoked: %t, %v", there, err)
	}
	if there, err := o.Revoke(t.Context(), code); there || err != nil {
		t.Errorf("revoked again: %t, %v", there, err)
	}
}

func TestOnceRefuses(t *testing.T) {
	env := securecachetest.Start(t)
	o, ctx := once(t, env.Cache), t.Context()
	if _, err := o.Issue(ctx, token.Code{}, nil, 0); !errors.Is(err, securecache.ErrNoTTL) {
		t.Errorf("no TTL: %v", err)
	}
	if _, err := o.Issue(ctx, token.Code{}, nil, 365*24*time.Hour); !errors.Is(err, codec.ErrLifetime) {
		t.Errorf("beyond any life: %v", err)
	}
	if _, err := o.ConsumeAs(ctx, token.Operation{}, token.Code{Text: "a"}); err == nil {
		t.Error("the zero operation consumed")
	}
	if _, err := token.NewOnce(nil); err == nil {
		t.Error("no cache")
	}
	code := token.Code{Text: "a"}
	if _, err := o.Issue(ctx, code, []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	record := env.Admin.Keys(ctx, "*").Val()[0]
	is, err := env.Admin.GetRange(ctx, record, 61, 61).Bytes()
	if err != nil || len(is) != 1 {
		t.Fatalf("its byte 61 is %x, %v", is, err)
	}
	if err := env.Admin.SetRange(ctx, record, 61, string([]byte{is[0] ^ 1})).Err(); err != nil {
		t.Fatal(err)
	}
	var refused *securecache.RefusedError
	if _, err := o.Consume(ctx, code); !errors.As(err, &refused) {
		t.Errorf("a record that was tampered with: %v", err)
	}
}

// TestExactlyOnce has 32 consumers compete for each token over connections that
// are cut after the server has answered.
func TestExactlyOnce(t *testing.T) {
	tokens := 100
	if os.Getenv("SECURECACHE_LONG") != "" {
		tokens = 1000
	}
	const consumers = 32
	env := securecachetest.Start(t)
	if env.Server.Lacks() != nil {
		t.Skip("the embedded server's connections are not cut")
	}
	var replies atomic.Int64
	proxy, err := lossy.Start(env.Server.Addr(), func() bool { return replies.Add(1)%37 == 0 })
	if err != nil {
		t.Fatal(err)
	}
	options := *env.Client.Options()
	options.Addr = proxy.Addr()
	rdb := redis.NewClient(&options)
	t.Cleanup(func() { _, _ = rdb.Close(), proxy.Close() })
	c, err := securecache.New(rdb, env.Keyring, nil)
	if err != nil {
		t.Fatal(err)
	}
	issue, consume := once(t, env.Cache), once(t, c)
	var lost, unknown atomic.Int64
	for i := range tokens {
		code := token.Code{Purpose: "link", Text: fmt.Sprint(i)}
		if _, err := issue.Issue(t.Context(), code, []byte("value"), time.Minute); err != nil {
			t.Fatal(err)
		}
		var got atomic.Int32
		var wg sync.WaitGroup
		for range consumers {
			wg.Go(func() {
				op := token.NewOperation()
				for {
					value, err := consume.ConsumeAs(t.Context(), op, code)
					switch {
					case err == nil && string(value) == "value":
						got.Add(1)
					case errors.Is(err, securecache.ErrMiss):
						lost.Add(1)
					default:
						unknown.Add(1)
						continue // the same operation asks again
					}
					return
				}
			})
		}
		wg.Wait()
		if n := got.Load(); n != 1 {
			t.Fatalf("token %d was consumed %d times", i, n)
		}
	}
	t.Logf("%d tokens, %d replies cut, %d consumptions asked again, %d came too late", tokens, proxy.Lost(), unknown.Load(), lost.Load())
	if proxy.Lost() == 0 {
		t.Error("no reply was cut: the test shows nothing")
	}
}

func TestOnCluster(t *testing.T) {
	t.Parallel()
	env := securecachetest.StartCluster(t)
	o := once(t, env.Cache)
	d, err := token.NewDenylist(env.Cache, &token.Options{Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		code := token.Code{Purpose: "link", Text: fmt.Sprint(i)}
		if _, err := o.Issue(t.Context(), code, []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if value, err := o.Consume(t.Context(), code); string(value) != "v" || err != nil {
			t.Fatalf("%q, %v", value, err)
		}
		id, subject := token.JTI(fmt.Sprint(i)), fmt.Sprint("u", i)
		if err := errors.Join(d.Revoke(t.Context(), id, time.Now().Add(time.Minute)), d.RevokeSubject(t.Context(), subject, time.Now())); err != nil {
			t.Fatal(err)
		}
		says(t, d, token.Token{ID: id, Subject: "nobody", Issued: time.Now()}, true)
		says(t, d, token.Token{ID: token.JTI("other"), Subject: subject, Issued: time.Now().Add(-time.Minute)}, true)
	}
}
