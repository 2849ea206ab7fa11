package lua

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// quoting begins what Redis adds to its answer to a command that it does not
// know, as one that was renamed: the arguments, keys and values among them.
const quoting = ", with args beginning with"

// Unquoted returns err without the arguments that the server quotes in it; an
// error that quotes none is returned as it is.
func Unquoted(err error) error {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return err
	}
	text, _, found := strings.Cut(reply.Error(), quoting)
	if !found {
		return err
	}
	return unquoted(text)
}

// unquoted is a server's error, cut short.
type unquoted string

func (e unquoted) Error() string { return string(e) }

// RedisError says that it is a reply.
func (unquoted) RedisError() {}
