package limit

import (
	"context"
	"errors"
	"fmt"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// asker asks the server, and knows what to say where it does not answer.
type asker struct {
	cache   *securecache.Cache
	options Options
	form    string // what names begin with
}

func (a *asker) ask(ctx context.Context, s *lua.Script, name string, args ...any) (lua.Reply, error) {
	if name == "" {
		return lua.Reply{}, errNoName
	}
	key, err := a.cache.Key(codec.KindLimit, a.form+name)
	if err != nil {
		return lua.Reply{}, err
	}
	ctx, cancel := a.options.bounded(ctx)
	defer cancel()
	return a.cache.Run(ctx, s, []securecache.Key{key}, args...)
}

var errNoName = fmt.Errorf("%w: it is empty", securecache.ErrName)

// withoutAnswer does what the options say, and says what that was.
func (a *asker) withoutAnswer(ctx context.Context, err error, here func() Result) (Result, WhenAway, error) {
	if errors.Is(err, securecache.ErrName) {
		return Result{}, FailClosed, err
	}
	policy, err := a.options.away(ctx, err)
	switch policy {
	case FailOpen:
		return Result{Allowed: true}, policy, err
	case Local:
		return here(), policy, err
	default:
		return Result{}, policy, err
	}
}
