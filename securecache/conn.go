package securecache

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/scripts/lua"
)

// conn sends commands on a client, alone or in shared batches, and gives up
// when the caller's context ends either way.
type conn struct {
	rdb     redis.UniversalClient
	cluster *redis.ClusterClient // rdb, where it is one
	batch   *redis.AutoPipeliner // nil: each command alone
	// alone says that a command is nobody else's once it has been answered: a batch
	// may still look at what it has run, a cluster client notes a command's slot in
	// it, and a client-side cache has one command fetch for others.
	alone bool
}

// newConn checks that rdb is a client we know the manners of.
func newConn(rdb redis.UniversalClient, batch bool) (*conn, error) {
	var bounded bool
	link := &conn{rdb: rdb}
	switch c := rdb.(type) {
	case *redis.Client: // failover clients are of this type too
		o := c.Options()
		bounded = o.ContextTimeoutEnabled
		link.alone = !batch && o.ClientSideCache == nil && o.ClientSideCacheConfig == nil
	case *redis.ClusterClient:
		bounded = c.Options().ContextTimeoutEnabled
		link.cluster = c
	default:
		return nil, fmt.Errorf("securecache: a %T is not supported, give a *redis.Client or a *redis.ClusterClient", rdb)
	}
	if !bounded {
		return nil, errors.New("securecache: set ContextTimeoutEnabled in the client's options, or a caller's deadline is not kept")
	}
	if !batch {
		return link, nil
	}
	var err error
	if link.batch, err = rdb.AsyncAutoPipelineWithOptions(nil); err != nil {
		return nil, fmt.Errorf("securecache: batching: %w", err)
	}
	return link, nil
}

// process runs one command. After an error of ctx's own the command may still
// be under way, so its arguments must not be used again and its result not be
// read.
func (c *conn) process(ctx context.Context, cmd redis.Cmder) error {
	if c.batch == nil {
		return c.noticed(c.rdb.Process(ctx, cmd))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.noticed(c.batch.Submit(ctx, cmd).WaitContext(ctx))
}

// noticed has a cluster client look for the slots anew after a failure that was
// no reply. By itself it does so once a minute, and until then asks a dead
// master for its slots. The client joins such requests and spaces them. What a
// reply quotes of names and values is left out.
func (c *conn) noticed(err error) error {
	if err == nil || err == redis.Nil { // which is most of what comes here
		return err
	}
	if _, replied := errors.AsType[redis.Error](err); replied {
		return lua.Unquoted(err)
	}
	if c.cluster != nil && !errors.Is(err, context.Canceled) {
		c.cluster.ReloadState(context.Background())
	}
	return err
}

// processAll runs commands in one round trip a node, and returns each one's
// error.
func (c *conn) processAll(ctx context.Context, cmds []redis.Cmder) []error {
	if c.batch != nil {
		return c.submitAll(ctx, cmds)
	}
	errs := lua.Pipeline(ctx, c.rdb, cmds)
	for i, err := range errs {
		errs[i] = c.noticed(err)
	}
	return errs
}

func (c *conn) submitAll(ctx context.Context, cmds []redis.Cmder) []error {
	errs := make([]error, len(cmds))
	futures := make([]redis.AutoFuture, len(cmds))
	for i, cmd := range cmds {
		if errs[i] = ctx.Err(); errs[i] == nil {
			futures[i] = c.batch.Submit(ctx, cmd)
		}
	}
	for i, f := range futures {
		if errs[i] == nil {
			errs[i] = c.noticed(f.WaitContext(ctx))
		}
	}
	return errs
}

// close ends what newConn began; the client is its owner's.
func (c *conn) close() error {
	if c.batch == nil {
		return nil
	}
	return c.batch.Close()
}
