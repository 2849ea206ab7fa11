package limit

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// HTTPOptions tune [Limiter.Middleware]; nil and the zero value mean the
// defaults.
type HTTPOptions struct {
	// Policy names the limit in the response's headers, "default" unless set: a
	// word of letters, digits, dots, dashes and underscores.
	Policy string

	// Separate adds the fields RateLimit-Limit, RateLimit-Remaining and
	// RateLimit-Reset of the draft's versions up to 06, for clients that know only
	// those.
	Separate bool

	// OnRefused answers a request that is refused, whose headers have been set:
	// with 429 Too Many Requests where it is nil.
	OnRefused func(w http.ResponseWriter, r *http.Request, res Result)

	// OnError answers where the server gave no answer and the policy is not to let
	// through: with 503 Service Unavailable where it is nil.
	OnError func(w http.ResponseWriter, r *http.Request, next http.Handler, err error)
}

func (o *HTTPOptions) orDefault() HTTPOptions {
	var set HTTPOptions
	if o != nil {
		set = *o
	}
	if set.Policy == "" {
		set.Policy = "default"
	}
	if set.OnRefused == nil {
		set.OnRefused = tooMany
	}
	if set.OnError == nil {
		set.OnError = unavailable
	}
	return set
}

func (o HTTPOptions) validate() error {
	for _, c := range []byte(o.Policy) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return errors.New("limit: a policy is named by letters, digits, dots, dashes and underscores")
		}
	}
	return nil
}

func tooMany(w http.ResponseWriter, _ *http.Request, _ Result) {
	http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
}

func unavailable(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
}

// Middleware returns middleware that takes one for each request. Name says under
// which name, from what has been authenticated; a header that anybody can set,
// as X-Forwarded-For, lets everybody have limits at will. A request of the empty
// name is served without a limit.
//
// Responses carry RateLimit-Policy and RateLimit as
// draft-ietf-httpapi-ratelimit-headers-10 has them: q is the most that
// can be taken at once and w the whole seconds in which all of it comes back; r
// is what is left and t the seconds until nothing is missing, or, where the
// request is refused, until it is worth another try, which is what Retry-After
// says. Responses that the server's absence lets through carry neither.
func (l *Limiter) Middleware(name func(*http.Request) string, o *HTTPOptions) (func(http.Handler) http.Handler, error) {
	set := o.orDefault()
	if err := set.validate(); err != nil {
		return nil, err
	}
	if name == nil {
		return nil, errors.New("limit: whose request it is must be said")
	}
	h := headers{HTTPOptions: set}
	h.policy = fmt.Sprintf("%q;q=%d;w=%d", set.Policy, l.method.size(), seconds(l.method.span()))
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			whose := name(r)
			if whose == "" {
				next.ServeHTTP(w, r)
				return
			}
			res, err := l.Allow(r.Context(), whose)
			if err == nil {
				h.write(w.Header(), res)
			}
			switch {
			case res.Allowed:
				next.ServeHTTP(w, r)
			case err != nil && res.Limit == 0:
				set.OnError(w, r, next, err)
			default:
				w.Header().Set("Retry-After", strconv.FormatInt(seconds(res.RetryAfter), 10))
				set.OnRefused(w, r, res)
			}
		})
	}, nil
}

// headers writes the RateLimit fields.
type headers struct {
	HTTPOptions
	policy string
}

func (h headers) write(to http.Header, res Result) {
	reset := res.ResetAfter
	if !res.Allowed {
		// Not later than Retry-After, section 6 of the draft has it.
		reset = res.RetryAfter
	}
	t := int64(0)
	if reset > 0 {
		t = seconds(reset)
	}
	to.Add("RateLimit-Policy", h.policy)
	to.Add("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", h.Policy, res.Remaining, t))
	if h.Separate {
		to.Set("RateLimit-Limit", strconv.Itoa(res.Limit))
		to.Set("RateLimit-Remaining", strconv.Itoa(res.Remaining))
		to.Set("RateLimit-Reset", strconv.FormatInt(t, 10))
	}
}

// seconds rounds up, to one at least.
func seconds(d time.Duration) int64 { return max(int64(math.Ceil(d.Seconds())), 1) }
