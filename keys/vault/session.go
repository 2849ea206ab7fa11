package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"
)

// maxBackoff is the longest wait between failed renewals, and how long a denial
// that a fresh token did not cure is believed.
const maxBackoff = time.Minute

// session is one token with what is known of its life. It is immutable.
type session struct {
	api       func() *api.Client
	obtained  time.Time
	lease     time.Duration // from obtained on, a second or more; 0 = does not expire
	longest   time.Duration // what a renewal gave at best
	renewable bool
}

// due is when to renew or to log in anew: after 60 to 70 % of the lease, so
// that a fleet started together does not come back together, and a third is
// left for a Vault that is away. Zero: never.
func (s *session) due() time.Time {
	if s.lease == 0 {
		return time.Time{}
	}
	return s.obtained.Add(time.Duration((0.6 + 0.1*rand.Float64()) * float64(s.lease)))
}

// extensible reports whether a renewal is worth the call. As the maximum TTL
// draws near, Vault grants what is left of it, less and less: then it is time to
// log in anew, while there is still time to try again.
func (s *session) extensible() bool {
	return s.renewable && s.lease > s.longest/2
}

// newSession makes a session of a login's answer.
func (c *Client) newSession(secret *api.Secret) (*session, error) {
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, fmt.Errorf("vault: the login by %s at %s brought no token; is that method enabled at this mount?", c.login, c.address)
	}
	base := c.base()
	clone := base.WithNamespace(base.Namespace())
	clone.SetToken(secret.Auth.ClientToken)
	lease := time.Duration(secret.Auth.LeaseDuration) * time.Second
	return &session{
		api:      func() *api.Client { return clone },
		obtained: time.Now(), lease: lease, longest: lease, renewable: secret.Auth.Renewable,
	}, nil
}

// replace logs in, unless somebody else has replaced old meanwhile, and
// returns the session to use. One login is under way at a time; others wait
// for it under their own context.
func (c *Client) replace(ctx context.Context, old *session) (*session, error) {
	select {
	case c.flight <- struct{}{}:
		defer func() { <-c.flight }()
	case <-ctx.Done():
		return nil, c.explainTransport(ctx, ctx.Err())
	}
	if now := c.session.Load(); now != old {
		return now, nil
	}
	return c.logIn(ctx)
}

// logIn is called by the holder of flight.
func (c *Client) logIn(ctx context.Context) (*session, error) {
	// A login by certificate must not travel on a connection that was made
	// with an earlier certificate.
	c.http().CloseIdleConnections()
	base := c.base()
	secret, sent, err := c.login.do(ctx, base.WithNamespace(base.Namespace()))
	if err != nil {
		return nil, c.explainLogin(ctx, err, sent)
	}
	s, err := c.newSession(secret)
	if err != nil {
		return nil, err
	}
	c.swap(c.session.Load(), s)
	return s, nil
}

// swap puts s in the place of old, unless that has been replaced already.
func (c *Client) swap(old, s *session) {
	if !c.session.CompareAndSwap(old, s) {
		return
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// cure replaces a session that was answered with 403, nil where that is not
// worth a try: shortly after a fresh token was refused as well, the policy is
// at fault and a login for each call would only litter Vault with tokens.
func (c *Client) cure(ctx context.Context, refused *session) (*session, error) {
	last := c.denied.Load()
	if last != nil && time.Since(*last) < maxBackoff && c.session.Load() == refused {
		return nil, nil
	}
	return c.replace(ctx, refused)
}

// uncured notes that a fresh token was refused too.
func (c *Client) uncured() {
	now := time.Now()
	c.denied.Store(&now)
}

// keep renews the token or logs in anew, ahead of its end, until Close.
func (c *Client) keep() {
	failures := 0
	for c.closed.Err() == nil {
		s := c.session.Load()
		at := s.due()
		if failures > 0 {
			at = time.Now().Add(backoff(failures))
		}
		if !c.wait(at) {
			failures = 0
			continue
		}
		if err := c.extend(s); err == nil {
			failures = 0
		} else if failures++; c.closed.Err() == nil && c.onError != nil {
			c.onError(err)
		}
	}
}

// wait reports that the given time has come, zero meaning never, rather than
// that the session was replaced or the client closed.
func (c *Client) wait(at time.Time) bool {
	var fire <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		fire = timer.C
	}
	select {
	case <-c.closed.Done():
		return false
	case <-c.changed:
		return false
	case <-fire:
		return true
	}
}

// backoff grows from a second to a minute, less up to a quarter.
func backoff(failures int) time.Duration {
	d := min(time.Second<<min(failures-1, 10), maxBackoff)
	return d - rand.N(d/4)
}

// extend renews s, and logs in where renewal is over or refused.
func (c *Client) extend(s *session) error {
	ctx, cancel := c.within(c.closed)
	defer cancel()
	if !s.extensible() {
		_, err := c.replace(ctx, s)
		return err
	}
	var out api.Secret
	err := send(ctx, s.api(), opUpdate, "auth/token/renew-self", struct{}{}, &out)
	var refused *api.ResponseError
	switch {
	case err == nil && out.Auth != nil:
		next := *s
		next.obtained, next.renewable = time.Now(), out.Auth.Renewable
		// What could be renewed has an end, and 0 is what is left of a second.
		next.lease = max(time.Duration(out.Auth.LeaseDuration)*time.Second, time.Second)
		next.longest = max(s.longest, next.lease)
		c.swap(s, &next)
		if next.extensible() {
			return nil
		}
		_, err := c.replace(ctx, &next)
		return err
	case err == nil:
		return errors.New("vault: the answer to a token's renewal holds no lease")
	case errors.As(err, &refused) && refused.StatusCode < http.StatusInternalServerError &&
		refused.StatusCode != http.StatusTooManyRequests && refused.StatusCode != http.StatusPreconditionFailed:
		// Expired, revoked, or past its maximum.
		_, err := c.replace(ctx, s)
		return err
	default:
		return c.explain(ctx, call{op: opUpdate, path: "auth/token/renew-self"}, err)
	}
}
