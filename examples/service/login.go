package main

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecache/token"
)

// authenticated serves who has a session, or a bearer token that holds.
func (s *service) authenticated(next http.Handler) http.Handler {
	bySession := s.sessions.Handler(s.serve(func(w http.ResponseWriter, r *http.Request) error {
		mine, err := current(r)
		if err == nil {
			next.ServeHTTP(w, as(r, mine.Subject()))
		}
		return err
	}))
	byToken := s.serve(func(w http.ResponseWriter, r *http.Request) error {
		text, _ := bearerOf(r)
		c, err := s.bearers.check(r.Context(), text)
		if err == nil {
			next.ServeHTTP(w, as(r, c.Subject))
		}
		return err
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given := bearerOf(r); given {
			byToken.ServeHTTP(w, r)
			return
		}
		bySession.ServeHTTP(w, r)
	})
}

type callerKey struct{}

func as(r *http.Request, subject string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, subject))
}

// callerName is whose request it is, once that is known.
func callerName(r *http.Request) string {
	subject, _ := r.Context().Value(callerKey{}).(string)
	return subject
}

// current is the session of a request behind the session middleware.
func current(r *http.Request) (*session.Session[device], error) {
	if mine := session.From[device](r.Context()).Session(); mine != nil {
		return mine, nil
	}
	return nil, errLogin
}

// login checks a password and begins a session, under a token that nobody can
// have planted, in the place of the one that the browser had.
func (s *service) login(w http.ResponseWriter, r *http.Request) error {
	var form struct{ User, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&form); err != nil || form.User == "" {
		return errForm
	}
	ctx := r.Context()
	// Also for users that there are not: a limit must not tell.
	res, err := s.logins.Allow(ctx, "login of "+form.User)
	if err != nil {
		return err
	}
	if !res.Allowed {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(res.RetryAfter.Seconds()))))
		return &refusal{http.StatusTooManyRequests, "too many attempts"}
	}
	right, err := s.users.check(ctx, form.User, form.Password)
	if err != nil {
		return err
	}
	if !right {
		return &refusal{http.StatusUnauthorized, "no such user, or another password"}
	}
	agent := r.UserAgent()
	err = session.From[device](ctx).Login(ctx, w, "user/"+form.User, device{Agent: agent[:min(len(agent), 200)]})
	if err != nil {
		return err
	}
	return done(w)
}

// logout ends the session by its token, and not only where there is one still: a
// logout that could not be acknowledged is repeated to the end.
func (s *service) logout(w http.ResponseWriter, r *http.Request) error {
	ctx := lasting(r.Context())
	if cookie, err := r.Cookie("__Host-session"); err == nil {
		if err := s.sessions.Destroy(ctx, cookie.Value); err != nil {
			return err
		}
	}
	if err := session.From[device](ctx).Logout(ctx, w); err != nil {
		return err
	}
	return done(w)
}

// logoutEverywhere ends the tokens first: without a session nobody could ask for
// it again.
func (s *service) logoutEverywhere(w http.ResponseWriter, r *http.Request) error {
	mine, err := current(r)
	if err != nil {
		return err
	}
	ctx := lasting(r.Context())
	if err := s.bearers.revokeAll(ctx, mine.Subject()); err != nil {
		return err
	}
	if _, err := s.sessions.DestroyAll(ctx, mine.Subject()); err != nil {
		return err
	}
	return s.logout(w, r)
}

// sessionView is a session as its owner is shown it.
type sessionView struct {
	ID      string    `json:"id"`
	Agent   string    `json:"agent"`
	Created time.Time `json:"created"`
	Current bool      `json:"current"`
}

func (s *service) listSessions(w http.ResponseWriter, r *http.Request) error {
	mine, err := current(r)
	if err != nil {
		return err
	}
	all, err := s.sessions.List(r.Context(), mine.Subject())
	if err != nil {
		return err
	}
	list := make([]sessionView, len(all))
	for i, one := range all {
		list[i] = sessionView{one.ID(), one.Value.Agent, one.Created(), one.ID() == mine.ID()}
	}
	return answer(w, http.StatusOK, list)
}

// endSession logs one device out. That it is out already is what was asked for.
func (s *service) endSession(w http.ResponseWriter, r *http.Request) error {
	mine, err := current(r)
	if err != nil {
		return err
	}
	if _, err := s.sessions.Revoke(lasting(r.Context()), mine.Subject(), r.PathValue("id")); err != nil {
		return err
	}
	return done(w)
}

func (s *service) issueToken(w http.ResponseWriter, r *http.Request) error {
	mine, err := current(r)
	if err != nil {
		return err
	}
	text, c, err := s.bearers.issue(mine.Subject(), mine.Created())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"token": text, "ends": c.Ends})
}

// revokeToken revokes the token that it comes with, whatever has become of it.
func (s *service) revokeToken(w http.ResponseWriter, r *http.Request) error {
	text, _ := bearerOf(r)
	c, err := s.bearers.open(text)
	if err != nil {
		return err
	}
	if err := s.bearers.denied.Revoke(lasting(r.Context()), token.JTI(c.ID), c.Ends); err != nil {
		return err
	}
	return done(w)
}
