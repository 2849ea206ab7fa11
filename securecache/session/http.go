package session

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/securecache/securecache-go/securecache"
)

// Handler looks up the session of each request before next serves it; next
// finds it with [From]. Nothing is written for a request that changes nothing,
// but that its session was in use. A record that is refused has been reported,
// and the request goes on as one without a session: so it does for everybody
// once all keys were revoked.
func (s *Store[T]) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Cookie")
		v := &Visit[T]{store: s}
		if err := v.load(r); err != nil {
			s.options.OnFailure(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey[T]{}, v)))
	})
}

type visitKey[T any] struct{}

// From returns the visit that [Store.Handler] began for the request of ctx; of
// several with the same T, the innermost one's. It panics where there is none:
// the handler was not put behind the middleware.
func From[T any](ctx context.Context) *Visit[T] {
	v, ok := ctx.Value(visitKey[T]{}).(*Visit[T])
	if !ok {
		panic("session: From is called where no Handler of this type stands before")
	}
	return v
}

// Visit is a request and its session, if it has one. Its methods write at once,
// and set the cookie, which has to happen before the response's first byte. It
// is not safe for concurrent use.
type Visit[T any] struct {
	store   *Store[T]
	token   string
	session *Session[T]
}

// Session returns the request's session, nil where it has none.
func (v *Visit[T]) Session() *Session[T] { return v.session }

// Save updates the session's value as [Store.Update] does, or begins a session
// of nobody's.
func (v *Visit[T]) Save(ctx context.Context, w http.ResponseWriter, value T) error {
	if v.session == nil {
		return v.Login(ctx, w, "", value)
	}
	was := v.session.Value
	v.session.Value = value
	err := v.store.Update(ctx, v.session)
	if err != nil {
		v.session.Value = was
	}
	return err
}

// Login begins a session of subject, under a token of its own, and ends the one
// before it, as [Store.Login] does.
func (v *Visit[T]) Login(ctx context.Context, w http.ResponseWriter, subject string, value T) error {
	token, session, err := v.store.login(ctx, v.session, subject, value)
	if err != nil {
		return err
	}
	v.adopt(w, token, session)
	return nil
}

// Regenerate gives the session another token, as [Store.Regenerate] does. It is
// [securecache.ErrMiss] where there is no session.
func (v *Visit[T]) Regenerate(ctx context.Context, w http.ResponseWriter) error {
	token, session, err := v.store.move(ctx, v.token)
	if err != nil {
		return err
	}
	v.adopt(w, token, session)
	return nil
}

// Logout ends the session and takes the cookie back. Where it fails the session
// may still be alive, and the cookie stays, so that it can be tried again.
func (v *Visit[T]) Logout(ctx context.Context, w http.ResponseWriter) error {
	if v.session != nil {
		if err := v.store.end(ctx, v.session, nil); err != nil {
			return err
		}
	}
	v.token, v.session = "", nil
	v.put(w, "", time.Time{})
	return nil
}

func (v *Visit[T]) load(r *http.Request) error {
	cookie, err := r.Cookie(v.store.options.Cookie.cookie("").Name)
	if err != nil {
		return nil
	}
	session, err := v.store.Get(r.Context(), cookie.Value)
	var refused *securecache.RefusedError
	switch {
	case errors.Is(err, securecache.ErrMiss), errors.As(err, &refused):
		return nil
	case err != nil:
		return err
	}
	v.token, v.session = cookie.Value, session
	return nil
}

// adopt takes over a session that has just got its token.
func (v *Visit[T]) adopt(w http.ResponseWriter, token string, session *Session[T]) {
	v.token, v.session = token, session
	v.put(w, token, session.ends)
}

// put sets the cookie, or takes it back where token is empty.
func (v *Visit[T]) put(w http.ResponseWriter, token string, ends time.Time) {
	o := v.store.options.Cookie
	cookie := o.cookie(token)
	switch {
	case token == "":
		cookie.MaxAge = -1
	case o.Persist:
		cookie.Expires = ends
		cookie.MaxAge = max(int(ends.Sub(v.store.cache.Now())/time.Second), 1)
	}
	http.SetCookie(w, cookie)
	w.Header().Add("Cache-Control", `no-cache="Set-Cookie"`)
}
