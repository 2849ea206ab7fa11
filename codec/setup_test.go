package codec_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/codec/internal/vector"
	"github.com/securecache/securecache-go/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	namespace = "demo"
	someID    = "{K4Y6p3KtcaWOW8u7ltKeMg}"
	maxLife   = 90 * 24 * time.Hour
)

var (
	epoch   = time.UnixMilli(1767225600000) // when the first key was made
	rotated = epoch.Add(30 * 24 * time.Hour)
	retired = rotated.Add(time.Hour)
	present = rotated.Add(10 * 24 * time.Hour)

	first  = bytes.Repeat([]byte{1}, keys.Size)
	second = bytes.Repeat([]byte{2}, keys.Size)
	third  = bytes.Repeat([]byte{3}, keys.Size)
)

// document is a keyring that has been rotated once, changed as told.
func document(change func(*vector.Document)) vector.Document {
	d := vector.Document{
		Namespace: namespace, Revision: 2, Names: bytes.Repeat([]byte{9}, keys.Size), NamesCreated: epoch.UnixMilli(),
		MaxLife: maxLife.Milliseconds(),
		Keys: []vector.Entry{
			{Key: first, Created: epoch.UnixMilli(), Activates: epoch.UnixMilli(), Retired: retired.UnixMilli()},
			{Key: second, Created: epoch.UnixMilli(), Activates: rotated.UnixMilli()},
		},
	}
	if change != nil {
		change(&d)
	}
	return d
}

// store is a keys.Store that holds one text.
type store []byte

func (s store) Load(context.Context) ([]byte, error) { return s, nil }

func (store) Save(context.Context, []byte, []byte) error {
	return errors.New("a store of tests is read-only")
}

// open reads a stored keyring as a process would.
func open(namespace string, stored []byte) (*keys.Ring, error) {
	k, err := keys.Open(context.Background(), namespace, store(stored), keys.InsecurePlain(), nil)
	if err != nil {
		return nil, err
	}
	ring, err := k.Ring()
	return ring, errors.Join(err, k.Close())
}

// source is a codec.Source whose ring and clock a test sets.
type source struct {
	ring atomic.Pointer[keys.Ring]
	now  atomic.Pointer[time.Time]
}

func newSource(tb testing.TB, d vector.Document) *source {
	tb.Helper()
	s := new(source)
	s.use(tb, d)
	s.at(present)
	return s
}

func (s *source) use(tb testing.TB, d vector.Document) {
	tb.Helper()
	ring, err := open(d.Namespace, d.Stored())
	if err != nil {
		tb.Fatal(err)
	}
	s.ring.Store(ring)
}

func (s *source) Ring() (*keys.Ring, error) { return s.ring.Load(), nil }
func (s *source) at(now time.Time)          { s.now.Store(&now) }
func (s *source) clock() time.Time          { return *s.now.Load() }

func newCodec(tb testing.TB, s *source, o codec.Options) *codec.Codec {
	tb.Helper()
	o.Now = s.clock
	c, err := codec.New(s, &o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func binding(kind codec.Kind) codec.Binding {
	return codec.Binding{Namespace: namespace, Kind: kind, ID: someID}
}

func seal(tb testing.TB, c *codec.Codec, b codec.Binding, content []byte) []byte {
	tb.Helper()
	record, err := c.Seal(nil, b, present.Add(time.Hour), content)
	if err != nil {
		tb.Fatal(err)
	}
	return record
}

// refusal returns the class of an error of Open, as the vectors name it.
func refusal(err error) string {
	if err == nil {
		return vector.OK
	}
	if errors.Is(err, codec.ErrExpired) {
		return "expired"
	}
	if refused, ok := errors.AsType[*codec.RefusedError](err); ok {
		return refused.Reason.String()
	}
	return "error: " + err.Error()
}

// allSuites are the suites that exist in this mode.
func allSuites() []codec.Suite {
	if fips140.Enforced() {
		return []codec.Suite{codec.AES256GCM}
	}
	return []codec.Suite{codec.AES256GCM, codec.ChaCha20Poly1305}
}

// text compresses well.
func text(n int) []byte {
	return bytes.Repeat([]byte("All that is sealed may be told. "), n/32+1)[:n]
}
