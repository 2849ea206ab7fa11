package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// maxBody bounds an answer. A keyring of a thousand keys is under a megabyte.
const maxBody = 16 << 20

// op is a capability of Vault's policies.
type op string

const (
	opRead   op = "read"
	opCreate op = "create"
	opUpdate op = "update"
)

// call is one request.
type call struct {
	op   op
	path string
	in   any
	// sent are the secrets of the request: no answer that repeats one is shown.
	sent []string
	// fresh says that the token was obtained for this very call.
	fresh bool
}

// do makes the call under ctx and the client's deadline and decodes the answer
// into out. A 403 is answered with one new login and one repetition.
func (c *Client) do(ctx context.Context, rq call, out any) error {
	if err := c.ready(rq); err != nil {
		return err
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	s := c.session.Load()
	err := send(ctx, s.api(), rq.op, rq.path, rq.in, out)
	if status(err) == http.StatusForbidden {
		fresh, lerr := c.cure(ctx, s)
		if lerr != nil {
			return lerr
		}
		if fresh != nil {
			err = send(ctx, fresh.api(), rq.op, rq.path, rq.in, out)
			if rq.fresh = status(err) == http.StatusForbidden; rq.fresh {
				c.uncured()
			}
		}
	}
	if err != nil {
		return c.explain(ctx, rq, err)
	}
	return nil
}

// ready reports what keeps a call from being sent.
func (c *Client) ready(rq call) error {
	if c.closed.Err() != nil {
		return errors.New("vault: the client is closed")
	}
	return checkPath(rq.path)
}

// send makes one request through cl. Where Vault answers a read with 404 and a
// body all the same, as it does for a deleted secret, out is filled in too.
func send(ctx context.Context, cl *api.Client, o op, path string, in, out any) error {
	var resp *api.Response
	var err error
	if o == opRead {
		resp, err = cl.Logical().ReadRawWithContext(ctx, path)
	} else {
		var body []byte
		if body, err = json.Marshal(in); err != nil {
			return err
		}
		resp, err = cl.Logical().WriteRawWithContext(ctx, path, body)
	}
	if resp != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		if status(err) == http.StatusNotFound && out != nil {
			_ = json.NewDecoder(resp.Body).Decode(out)
		}
		return err
	}
	return decode(ctx, io.LimitReader(resp.Body, maxBody), out)
}

// decode reads an answer into out, or over it where out is nil.
func decode(ctx context.Context, body io.Reader, out any) error {
	if out == nil {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	if json.NewDecoder(body).Decode(out) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// The decoder's own message may quote the answer.
	return errAnswer
}

// errAnswer: what answered is no Vault, or a proxy stands in between.
var errAnswer = errors.New("the answer is not Vault's JSON")

// status returns the HTTP status in err, 0 where there is none.
func status(err error) int {
	var r *api.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// checkPath refuses what Vault's client would clean up into another path, or
// Vault would not route.
func checkPath(path string) error {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r == '?' || r == '#' || r == '%' || r == 0x7f }) {
			return fmt.Errorf("vault: %q is no path in Vault: it has an empty or odd part", path)
		}
	}
	return nil
}

// checkRetry decides on repeating a request: where Vault may be back shortly,
// and not where a certificate is refused, which no repetition mends. It returns
// no error of its own, so that the last answer is what the caller sees.
func checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		return !isTLS(err), nil
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusPreconditionFailed, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return resp.Header.Get("Retry-After") == "" || retrySoon(ctx, resp), nil
	}
	return false, nil
}

// retrySoon reports whether the wait that the server asks for ends before the
// caller's deadline.
func retrySoon(ctx context.Context, resp *http.Response) bool {
	deadline, ok := ctx.Deadline()
	wait, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s")
	return !ok || err == nil && time.Until(deadline) > wait
}
