package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/limit"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecache/session"
)

// device is what a session holds: enough for its owner to tell it from others.
type device struct{ Agent string }

type service struct {
	backend  *backend
	users    *users
	sessions *session.Store[device]
	bearers  *bearers
	logins   *limit.Limiter
	notes    *securecache.Typed[[]string]
	log      *slog.Logger
}

// guardTTL is how long a user whose change was cut off, with Redis or with this
// process, is kept from the next one.
const guardTTL = 5 * time.Second

// newService returns the handler of all that is served.
func newService(b *backend, u *users, c config, log *slog.Logger) (http.Handler, error) {
	s := &service{backend: b, users: u, log: log, notes: securecache.For(b.cache, codec.JSON[[]string]())}
	var errs [6]error
	s.sessions, errs[0] = session.New(b.cache, codec.JSON[device](), &session.Options{
		Idle: 30 * time.Minute, Absolute: 12 * time.Hour,
		Cookie:    session.Cookie{SameSite: http.SameSiteStrictMode},
		OnFailure: s.fail,
	})
	s.bearers, errs[1] = newBearers(b, c.patience)
	s.logins, errs[2] = limit.New(b.cache, c.logins, &limit.Options{WhenAway: limit.FailClosed})
	ofAddress, err1 := s.limited(c, c.addresses, "address", addressOf)
	ofUser, err2 := s.limited(c, c.requests, "user", callerName)
	guard, err3 := b.locks.Middleware(callerName, &lock.HTTPOptions{TTL: guardTTL})
	errs[3], errs[4], errs[5] = err1, err2, err3
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}

	public := func(h handler) http.Handler { return ofAddress(s.serve(h)) }
	user := func(h handler) http.Handler { return ofAddress(s.authenticated(ofUser(s.serve(h)))) }
	oneAtATime := func(h handler) http.Handler { return ofAddress(s.authenticated(ofUser(guard(s.serve(h))))) }
	browser := func(h handler) http.Handler { return ofAddress(s.sessions.Handler(s.serve(h))) }

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", public(s.welcome))
	mux.Handle("GET /ready", public(s.ready))
	mux.Handle("POST /login", browser(s.login))
	mux.Handle("POST /logout", browser(s.logout))
	mux.Handle("POST /logout/everywhere", browser(s.logoutEverywhere))
	mux.Handle("GET /sessions", browser(s.listSessions))
	mux.Handle("DELETE /sessions/{id}", browser(s.endSession))
	mux.Handle("POST /tokens", browser(s.issueToken))
	mux.Handle("DELETE /tokens", public(s.revokeToken))
	mux.Handle("GET /notes", user(s.readNotes))
	mux.Handle("POST /notes", oneAtATime(s.addNote))
	return s.outermost(http.NewCrossOriginProtection().Handler(mux), c.patience), nil
}

// limited is a limit on requests that is counted here while Redis is away.
func (s *service) limited(c config, r limit.Rate, policy string, name func(*http.Request) string) (func(http.Handler) http.Handler, error) {
	l, err := limit.New(s.backend.cache, r, &limit.Options{
		WhenAway: limit.Local, Nodes: c.nodes, Timeout: c.patience / 20, // most of it is the handler's
		OnError: func(err error) { s.log.Warn("limit counted locally", "policy", policy, "error", err) },
	})
	if err != nil {
		return nil, err
	}
	return l.Middleware(func(r *http.Request) string {
		if whose := name(r); whose != "" {
			return policy + " " + whose
		}
		return ""
	}, &limit.HTTPOptions{Policy: policy})
}

// outermost bounds what a request may take of Redis' time, and notes what became
// of it: neither who nor what, which are secrets.
func (s *service) outermost(next http.Handler, patience time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		r = r.WithContext(ctx)
		began, seen := time.Now(), &seen{ResponseWriter: w}
		next.ServeHTTP(seen, r)
		s.log.Info("served", "method", r.Method, "pattern", r.Pattern, "status", seen.status, "took", time.Since(began))
	})
}

// seen remembers the status.
type seen struct {
	http.ResponseWriter
	status int
}

func (w *seen) WriteHeader(status int) {
	if w.status == 0 || w.status < http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *seen) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// handler says what came in the way; serve tells the client.
type handler func(http.ResponseWriter, *http.Request) error

func (s *service) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// refusal is an answer that is the client's to mend.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

var (
	errLogin  = &refusal{http.StatusUnauthorized, "log in first"}
	errForm   = &refusal{http.StatusBadRequest, "not what is expected here"}
	errBehind = &refusal{http.StatusConflict, "overtaken by another change; look, and try again"}
)

// fail answers with what the error stands for. What it does not know came from
// Redis, or is a keyring's: no answer yet.
func (s *service) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *refusal
	switch {
	case errors.As(err, &known):
	case errors.Is(err, securecache.ErrMiss): // the session ended meanwhile
		known = errLogin
	case errors.Is(err, securecache.ErrConflict), errors.Is(err, lock.ErrFenced):
		known = errBehind
	default:
		s.log.Warn("no answer", "pattern", r.Pattern, "error", err)
		w.Header().Set("Retry-After", "1")
		known = &refusal{http.StatusServiceUnavailable, "try again"}
	}
	if known.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, known.text, known.status)
}

func answer(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has hung up
	return nil
}

func done(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *service) welcome(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, map[string]string{"service": "notes"})
}

// ready is for load balancers, which send nobody here while Redis is away.
func (s *service) ready(w http.ResponseWriter, r *http.Request) error {
	if err := s.backend.rdb.Ping(r.Context()).Err(); err != nil {
		return err
	}
	return done(w)
}

// addressOf is who asks, as far as the connection tells: headers can be made up.
// One user of IPv6 has 2^64 addresses.
func addressOf(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address := from.Addr().Unmap()
	if address.Is6() {
		network, _ := address.Prefix(64)
		return network.Addr().String()
	}
	return address.String()
}
