package token

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// ErrUsed says that a code is out already, or has been consumed.
var ErrUsed = errors.New("token: the code is in use or used up")

// Operation is one attempt at a consumption. Asking again with the same one has
// the same answer; never derive it from a request, or a link could be used
// twice. The zero Operation is invalid.
type Operation [16]byte

// NewOperation returns a random operation.
func NewOperation() (o Operation) {
	_, _ = rand.Read(o[:]) // never fails
	return o
}

// Once issues codes that can be consumed once. It is safe for concurrent use.
type Once struct{ cache *securecache.Cache }

// NewOnce returns what issues and consumes in the cache's namespace.
func NewOnce(c *securecache.Cache) (*Once, error) {
	if c == nil {
		return nil, errors.New("token: a cache is needed")
	}
	return &Once{c}, nil
}

// Code is where a code belongs: codes of another purpose or subject are others.
type Code struct {
	// Purpose is the program's own word, as "reset-password".
	Purpose string
	// Subject is whom the code is for, "" where anybody may bring it.
	Subject string
	// Text is the code. [Once.Issue] makes one where it is empty. A short one, as
	// people type, can be guessed: limit the attempts.
	Text string
}

// name tells every two codes apart.
func (c Code) name() string {
	b := make([]byte, 0, 12+len(c.Purpose)+len(c.Subject)+len(c.Text))
	for _, part := range []string{c.Purpose, c.Subject, c.Text} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return string(b)
}

// Issue makes a code valid for ttl, with a value that whoever consumes it is
// given, and returns its text. [ErrUsed] where the code is out already or was
// consumed within its time: so that the first to issue an idempotency key goes
// on and all others know. A ttl beyond the namespace's is [codec.ErrLifetime].
func (o *Once) Issue(ctx context.Context, code Code, value []byte, ttl time.Duration) (string, error) {
	if code.Text == "" {
		var random [32]byte
		_, _ = rand.Read(random[:]) // never fails
		code.Text = base64.RawURLEncoding.EncodeToString(random[:])
	}
	if ttl < time.Millisecond {
		return "", securecache.ErrNoTTL
	}
	keys, err := o.keys(code)
	if err != nil {
		return "", err
	}
	record, err := o.cache.Seal(keys[0], o.cache.Now().Add(ttl), value)
	if err != nil {
		return "", err
	}
	reply, err := o.cache.Run(ctx, lua.Issue, keys, record, ttl.Milliseconds())
	if err != nil {
		return "", err
	}
	if n, err := reply.Int(); err != nil {
		return "", err
	} else if n != 1 && reply.Resent {
		return "", securecache.ErrOutcomeUnknown
	} else if n != 1 {
		return "", ErrUsed
	}
	return code.Text, nil
}

// Consume takes the code and returns its value: [securecache.ErrMiss] where it
// is not out, has ended, or has been consumed. A reply that is lost is asked for
// again; where that fails too, the error matches [securecache.ErrOutcomeUnknown]
// and the code may be gone. See [Once.ConsumeAs] for who needs to know.
func (o *Once) Consume(ctx context.Context, code Code) ([]byte, error) {
	return o.ConsumeAs(ctx, NewOperation(), code)
}

// ConsumeAs is [Once.Consume] as an operation of the caller's, who may repeat
// it until it is answered.
func (o *Once) ConsumeAs(ctx context.Context, op Operation, code Code) ([]byte, error) {
	if op == (Operation{}) {
		return nil, errors.New("token: an operation is made by NewOperation")
	}
	keys, err := o.keys(code)
	if err != nil {
		return nil, err
	}
	reply, err := o.cache.Run(ctx, lua.Consume, keys, op[:])
	if err != nil {
		return nil, err
	}
	record, found := reply.Value.(string)
	if !found {
		return nil, securecache.ErrMiss
	}
	return o.cache.Open(ctx, keys[0], []byte(record))
}

// Revoke makes a code that is out invalid, and reports whether there was one.
func (o *Once) Revoke(ctx context.Context, code Code) (bool, error) {
	_, err := o.Consume(ctx, code)
	if errors.Is(err, securecache.ErrMiss) {
		return false, nil
	}
	return err == nil, err
}

func (o *Once) keys(code Code) ([]securecache.Key, error) {
	key, err := o.cache.Key(codec.KindOnce, code.name())
	if err != nil {
		return nil, err
	}
	return []securecache.Key{key, key.Part("used")}, nil
}
