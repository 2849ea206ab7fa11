package lua

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// A call is an EVALSHA, which go-redis sends a single time, with its words: they
// point to the keys, since a pointer needs no box.
type call struct {
	*redis.Cmd
	words []any
	keys  []string
}

// NoRetry turns go-redis' retries off.
func (*call) NoRetry() bool { return true }

// mostWords is of how many words calls are kept.
const mostWords = 16

// calls are those that have been answered, by how many words they have: go-redis
// keeps to the arguments that it was given first.
var calls [mostWords + 1]sync.Pool

// newCall makes the EVALSHA of a script. With again, for a client that is no
// cluster's, it is made of one that has been answered, where there is one.
func newCall(s *Script, keys []string, args []any, again bool) *call {
	c := callOf(3+len(keys)+len(args), again)
	c.keys = append(c.keys[:0], keys...)
	words := append(c.words[:0], "evalsha", s.word, len(keys))
	for i := range c.keys {
		words = append(words, &c.keys[i])
	}
	copy(c.words[len(words):], args)
	if len(keys) > 0 {
		c.SetFirstKeyPos(3) // what routes it to the keys' node
	}
	return c
}

func callOf(words int, again bool) *call {
	if again && words <= mostWords {
		if c, ok := calls[words].Get().(*call); ok {
			return c
		}
	}
	c := &call{words: make([]any, words)}
	c.Cmd = redis.NewCmd(context.Background(), c.words...)
	return c
}

// done keeps c, whose reply has been taken, for the next call.
func (c *call) done() {
	if len(c.words) > mostWords {
		return
	}
	clear(c.words)
	clear(c.keys)
	c.SetVal(nil)
	c.SetErr(nil)
	calls[len(c.words)].Put(c)
}
