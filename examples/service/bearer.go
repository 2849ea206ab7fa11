package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/token"
)

// bearers issues bearer tokens and tells those that hold. A bearer token is a
// record that its holder carries instead of the server: sealed under the
// namespace's keys, which rotate, and good until its own end. Nothing has to be
// looked up to read it, so what ends it early is a denylist.
type bearers struct {
	codec   *codec.Codec
	binding codec.Binding
	denied  *token.Denylist
	now     func() time.Time
}

const (
	bearerKind = codec.Kind(0x80) // the first of those that are the application's own
	bearerLife = 15 * time.Minute
	bearerMax  = 4 << 10 // more than any token has, in bytes
)

// claims are what a bearer token says.
type claims struct {
	ID      string    `json:"jti"`
	Subject string    `json:"sub"`
	Login   time.Time `json:"login"` // of the session that it was issued in
	Ends    time.Time `json:"exp"`
}

// newBearers takes a codec of its own: what anybody may send is no sign of
// tampering with the cache, and must not count as one or have the keyring read.
func newBearers(b *backend, patience time.Duration) (*bearers, error) {
	sealed, err := codec.New(b.keyring, &codec.Options{MaxValue: bearerMax})
	if err != nil {
		return nil, err
	}
	key, err := b.cache.Key(bearerKind, "bearer token")
	if err != nil {
		return nil, err
	}
	// A token may still be issued in a session that is being ended, by a request
	// that began before: the cut-off has to outlast that one too.
	denied, err := token.NewDenylist(b.cache, &token.Options{Life: bearerLife + patience + time.Minute})
	return &bearers{sealed, key.Binding(), denied, b.cache.Now}, err
}

func (b *bearers) issue(subject string, login time.Time) (string, claims, error) {
	c := claims{ID: rand.Text(), Subject: subject, Login: login, Ends: b.now().Add(bearerLife)}
	content, err := json.Marshal(c)
	if err != nil {
		return "", c, err
	}
	record, err := b.codec.Seal(nil, b.binding, c.Ends, content)
	return base64.RawURLEncoding.EncodeToString(record), c, err
}

// open reads a token, whether or not it was revoked. All that can be wrong with
// one is [errLogin].
func (b *bearers) open(text string) (claims, error) {
	var c claims
	if len(text) > bearerMax {
		return c, errLogin
	}
	record, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return c, errLogin
	}
	content, err := b.codec.Open(nil, b.binding, record)
	var refused *securecache.RefusedError
	switch {
	case errors.Is(err, codec.ErrExpired), errors.As(err, &refused):
		return c, errLogin
	case err != nil:
		return c, err
	}
	return c, json.Unmarshal(content, &c)
}

// check reads a token that holds.
func (b *bearers) check(ctx context.Context, text string) (claims, error) {
	c, err := b.open(text)
	if err != nil {
		return c, err
	}
	// The login counts, not the token's own time: one that is issued in a session
	// while that is ended everywhere ends with it.
	revoked, err := b.denied.Revoked(ctx, token.Token{ID: token.JTI(c.ID), Subject: c.Subject, Issued: c.Login})
	var refused *securecache.RefusedError
	switch {
	case revoked && (err == nil || errors.As(err, &refused)):
		return c, errLogin
	case err != nil:
		return c, err
	}
	return c, nil
}

// revokeAll ends the tokens of all sessions that subject has begun. The
// denylist knows milliseconds: a login within this one is over, too.
func (b *bearers) revokeAll(ctx context.Context, subject string) error {
	return b.denied.RevokeSubject(ctx, subject, b.now().Add(time.Millisecond))
}

// bearerOf returns the token in a request's header.
func bearerOf(r *http.Request) (string, bool) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return text, strings.EqualFold(scheme, "Bearer")
}
