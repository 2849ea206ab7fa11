package token_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/token"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

const compact = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2lnbmF0dXJl"

func denylist(t *testing.T, env *securecachetest.Env, o *token.Options) *token.Denylist {
	t.Helper()
	d, err := token.NewDenylist(env.Cache, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// says checks an answer that came without an error.
func says(t *testing.T, d *token.Denylist, tk token.Token, want bool) {
	t.Helper()
	if got, err := d.Revoked(t.Context(), tk); got != want || err != nil {
		t.Errorf("%t, %v; want %t", got, err, want)
	}
}

func TestRevoke(t *testing.T) {
	env := securecachetest.Start(t)
	d := denylist(t, env, nil)
	end := time.Now().Add(time.Hour)
	for name, id := range map[string]token.ID{"opaque": token.Opaque(compact), "jti": token.JTI(compact), "jwt": token.JWT(compact)} {
		t.Run(name, func(t *testing.T) {
			says(t, d, token.Token{ID: id}, false)
			if err := d.Revoke(t.Context(), id, end); err != nil {
				t.Fatal(err)
			}
			says(t, d, token.Token{ID: id}, true)
		})
	}
	says(t, d, token.Token{ID: token.JWT(strings.Replace(compact, "c2ln", "c2lo", 1))}, true) // another writing of the signature
	says(t, d, token.Token{ID: token.Opaque(compact[1:])}, false)
	for _, name := range env.Admin.Keys(t.Context(), "*").Val() {
		if strings.Contains(name, compact[:10]) || !strings.HasPrefix(name, "sc:test:d:{") {
			t.Errorf("a key reads %s", name)
		}
	}
}

func TestRevokeNeverShortens(t *testing.T) {
	env := securecachetest.Start(t)
	d := denylist(t, env, nil)
	id := token.JTI("a")
	for _, life := range []time.Duration{time.Minute, time.Hour, time.Second, -time.Second} {
		if err := d.Revoke(t.Context(), id, time.Now().Add(life)); err != nil {
			t.Fatal(err)
		}
	}
	names := env.Admin.Keys(t.Context(), "*").Val()
	if len(names) != 1 {
		t.Fatalf("%d entries", len(names))
	}
	if ttl := env.Admin.PTTL(t.Context(), names[0]).Val(); ttl < 59*time.Minute {
		t.Errorf("the entry ends in %v", ttl)
	}
}

func TestRevokeSubject(t *testing.T) {
	env := securecachetest.Start(t)
	d := denylist(t, env, &token.Options{Life: 24 * time.Hour})
	cut := time.Now().Truncate(time.Second)
	issued := func(at time.Time) token.Token {
		return token.Token{ID: token.JTI("a"), Subject: "u1", Issued: at}
	}
	says(t, d, issued(cut.Add(-time.Second)), false)
	for _, before := range []time.Time{cut, cut.Add(-time.Hour)} { // the second takes nothing back
		if err := d.RevokeSubject(t.Context(), "u1", before); err != nil {
			t.Fatal(err)
		}
	}
	says(t, d, issued(cut.Add(-time.Second)), true)
	says(t, d, issued(time.Time{}), true)
	says(t, d, issued(cut), false)
	says(t, d, token.Token{Subject: "u1", Issued: cut.Add(-time.Second)}, true)
	says(t, d, token.Token{Subject: "u2", Issued: cut.Add(-time.Second)}, false)
	says(t, d, token.Token{ID: token.JTI("a")}, false)
	if err := d.RevokeSubject(t.Context(), "u1", cut.Add(-48*time.Hour)); err != nil {
		t.Errorf("a cut-off that nothing lives from: %v", err)
	}
}

func TestDenylistRefuses(t *testing.T) {
	env := securecachetest.Start(t)
	d := denylist(t, env, nil)
	ctx, end := t.Context(), time.Now().Add(time.Hour)
	for name, tc := range map[string]struct {
		err  error
		want error
	}{
		"an empty token":     {d.Revoke(ctx, token.Opaque(""), end), token.ErrID},
		"no JWT":             {d.Revoke(ctx, token.JWT("nodots"), end), token.ErrID},
		"the zero ID":        {d.Revoke(ctx, token.ID{}, end), token.ErrID},
		"beyond any life":    {d.Revoke(ctx, token.JTI("a"), end.Add(365*24*time.Hour)), codec.ErrLifetime},
		"no life for cutoff": {d.RevokeSubject(ctx, "u1", end), token.ErrNoLife},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want %v", name, tc.err, tc.want)
		}
	}
	if revoked, err := d.Revoked(ctx, token.Token{}); !revoked || !errors.Is(err, token.ErrID) {
		t.Errorf("nothing to look at: %t, %v", revoked, err)
	}
	if _, err := token.NewDenylist(nil, nil); err == nil {
		t.Error("no cache")
	}
	if _, err := token.NewDenylist(env.Cache, &token.Options{Life: -1}); err == nil {
		t.Error("a negative life")
	}
}

// TestDenylistFailsClosed tampers with an entry, and takes the server away.
func TestDenylistFailsClosed(t *testing.T) {
	env := securecachetest.Start(t)
	closed, open := denylist(t, env, nil), denylist(t, env, &token.Options{FailOpen: true})
	id := token.JTI("a")
	if err := closed.Revoke(t.Context(), id, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	name := env.Admin.Keys(t.Context(), "*").Val()[0]
	env.Admin.Set(t.Context(), name, "garbled", 0)
	var refused *securecache.RefusedError
	for _, d := range []*token.Denylist{closed, open} {
		if revoked, err := d.Revoked(t.Context(), token.Token{ID: id}); !revoked || !errors.As(err, &refused) {
			t.Errorf("an entry that does not open: %t, %v", revoked, err)
		}
	}
	if env.Server.Lacks() != nil {
		t.Skip("the embedded server cannot be stopped under its clients")
	}
	if err := env.Server.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if revoked, err := closed.Revoked(ctx, token.Token{ID: id}); !revoked || err == nil {
		t.Errorf("closed, without a server: %t, %v", revoked, err)
	}
	if revoked, err := open.Revoked(ctx, token.Token{ID: id}); revoked || err == nil {
		t.Errorf("open, without a server: %t, %v", revoked, err)
	}
	if err := closed.Revoke(ctx, id, time.Now().Add(time.Hour)); err == nil {
		t.Error("a revocation without a server succeeded")
	}
}
