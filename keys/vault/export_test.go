package vault

import (
	"context"
	"net/http"
)

// NewOver is New with another transport, for tests under a synthetic clock,
// which a socket would stop.
func NewOver(ctx context.Context, cfg Config, transport http.RoundTripper) (*Client, error) {
	return newClient(ctx, cfg, transport)
}
