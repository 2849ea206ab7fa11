package lock

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// HTTPOptions tune [Locker.Middleware]; nil and the zero value mean the defaults.
type HTTPOptions struct {
	// TTL is how long a lock outlives a process that dies while it serves, 30 s
	// unless set. It is extended for as long as the handler runs.
	TTL time.Duration

	// Status is the answer to a request that comes while another is served:
	// http.StatusConflict, unless it is http.StatusTooManyRequests, which has a
	// Retry-After.
	Status int

	// OnError answers where it could not be found out whether another is served:
	// with 503 Service Unavailable where it is nil. One that calls next serves
	// without a lock.
	OnError func(w http.ResponseWriter, r *http.Request, next http.Handler, err error)
}

func (o *HTTPOptions) orDefault() HTTPOptions {
	var set HTTPOptions
	if o != nil {
		set = *o
	}
	if set.TTL == 0 {
		set.TTL = 30 * time.Second
	}
	if set.Status == 0 {
		set.Status = http.StatusConflict
	}
	if set.OnError == nil {
		set.OnError = unavailable
	}
	return set
}

func (o HTTPOptions) validate() error {
	if o.Status != http.StatusConflict && o.Status != http.StatusTooManyRequests {
		return fmt.Errorf("lock: a request is turned away with 409 or 429, not %d", o.Status)
	}
	return validTTL(o.TTL)
}

func unavailable(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
}

// Middleware returns middleware that serves one request of a name at a time, on all
// servers together, and turns away what comes meanwhile. Name says whose request
// it is, from what has been authenticated; a request of the empty name is served
// without a lock. Names should have a prefix of their own ("request of "),
// since all locks of a namespace share one room.
//
// The request's context ends when the lock is lost, and [FromContext] finds the
// lock in it. The lock is released when the handler has returned.
func (l *Locker) Middleware(name func(*http.Request) string, o *HTTPOptions) (func(http.Handler) http.Handler, error) {
	set := o.orDefault()
	if err := set.validate(); err != nil {
		return nil, err
	}
	if name == nil {
		return nil, errors.New("lock: whose request it is must be said")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			whose := name(r)
			if whose == "" {
				next.ServeHTTP(w, r)
				return
			}
			held, err := l.Try(r.Context(), whose, set.TTL)
			switch {
			case errors.Is(err, ErrNotObtained):
				set.turnAway(w)
			case err != nil:
				set.OnError(w, r, next, err)
			default:
				held.serve(w, r, next)
			}
		})
	}, nil
}

func (o HTTPOptions) turnAway(w http.ResponseWriter) {
	if o.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, "another request of yours is being served", o.Status)
}

func (l *Lock) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	ctx, cancel := l.join(r.Context())
	defer func() {
		cancel()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		_ = l.Release(last) // the answer has gone out: what is not released ends with its TTL
	}()
	next.ServeHTTP(w, r.WithContext(ctx))
}
