package session

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Options tune a [Store]; nil and the zero value mean the defaults. The clock is
// the cache's. All processes that share sessions should have the same ones.
type Options struct {
	// Idle ends a session that nobody has used for so long; 30 minutes unless
	// set. For [SCS] it is how long a deleted session cannot come back.
	Idle time.Duration

	// Absolute ends a session so long after it was created, however much it is
	// used; 24 hours unless set. A session keeps the end it was created with,
	// unless this makes it a sooner one.
	Absolute time.Duration

	// Realm keeps the sessions of one store apart from another's in the same
	// namespace: a token of one realm is none of another, and a subject's
	// sessions are listed and ended for each realm by itself. Give one wherever
	// a namespace has sessions of more than one type.
	Realm string

	// Cookie is what the middleware sets.
	Cookie Cookie

	// OnError is told when a session was read, and could then not be renewed. It
	// runs on the caller's goroutine.
	OnError func(error)

	// OnFailure answers a request whose session could not be looked up: by
	// default with status 503 and nothing of the error. It may also have the
	// request served in some way that needs no session.
	OnFailure func(http.ResponseWriter, *http.Request, error)
}

// Cookie is the cookie that carries the token. It is always HttpOnly, its path
// is /, and it names no domain.
type Cookie struct {
	// Name is put behind "__Host-", which has browsers take it from this very
	// host alone, over TLS; "session" unless set.
	Name string
	// SameSite is Lax unless set.
	SameSite http.SameSite
	// Persist has the browser keep the cookie until the session's absolute end,
	// and not only until it is closed.
	Persist bool
	// InsecurePlaintext leaves Secure and the "__Host-" away, for development
	// without TLS.
	InsecurePlaintext bool
}

const (
	defaultIdle     = 30 * time.Minute
	defaultAbsolute = 24 * time.Hour
	defaultCookie   = "session"
	hostPrefix      = "__Host-"
)

// shortestIdle keeps a tenth of the idle timeout at a millisecond or more.
const shortestIdle = 10 * time.Millisecond

func (o *Options) orDefault() Options {
	var options Options
	if o != nil {
		options = *o
	}
	if options.Idle == 0 {
		options.Idle = defaultIdle
	}
	if options.Absolute == 0 {
		options.Absolute = max(defaultAbsolute, options.Idle)
	}
	if options.Cookie.Name == "" {
		options.Cookie.Name = defaultCookie
	}
	if options.Cookie.SameSite == 0 {
		options.Cookie.SameSite = http.SameSiteLaxMode
	}
	if options.OnFailure == nil {
		options.OnFailure = unavailable
	}
	return options
}

func (o Options) validate() error {
	switch {
	case o.Idle < shortestIdle:
		return errors.New("session: Options.Idle is shorter than 10 ms")
	case o.Absolute < o.Idle:
		return errors.New("session: Options.Absolute is shorter than Options.Idle")
	case strings.HasPrefix(o.Cookie.Name, "__"):
		return errors.New("session: Options.Cookie.Name is given without its prefix")
	case o.Cookie.SameSite == http.SameSiteNoneMode && o.Cookie.InsecurePlaintext:
		return errors.New("session: browsers drop a cookie that is SameSite=None and not Secure")
	}
	if err := o.Cookie.cookie("").Valid(); err != nil {
		return fmt.Errorf("session: Options.Cookie: %w", err)
	}
	return nil
}

// cookie is the cookie that carries token.
func (c Cookie) cookie(token string) *http.Cookie {
	cookie := &http.Cookie{
		Name: hostPrefix + c.Name, Value: token, Path: "/",
		HttpOnly: true, Secure: true, SameSite: c.SameSite,
	}
	if c.InsecurePlaintext {
		cookie.Name, cookie.Secure = c.Name, false
	}
	return cookie
}

func unavailable(w http.ResponseWriter, _ *http.Request, _ error) {
	http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
}
