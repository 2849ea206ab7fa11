package keys_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
)

const namespace = "shop"

var errAway = errors.New("test: away")

// memory is a Store that can be away, hang, and be written behind a keyring's back.
type memory struct {
	mu     sync.Mutex
	text   []byte
	loads  atomic.Int64
	away   atomic.Bool
	hang   atomic.Bool
	before func() // each Save, where set
	after  func() error
}

func (m *memory) Load(ctx context.Context) ([]byte, error) {
	m.loads.Add(1)
	if m.hang.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if m.away.Load() {
		return nil, errAway
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.text == nil {
		return nil, keys.ErrNotFound
	}
	return bytes.Clone(m.text), nil
}

func (m *memory) Save(_ context.Context, doc, old []byte) error {
	if m.away.Load() {
		return errAway
	}
	if m.before != nil {
		m.before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case old == nil && m.text != nil:
		return keys.ErrExists
	case !bytes.Equal(m.text, old):
		return keys.ErrConflict
	}
	m.text = bytes.Clone(doc)
	if m.after != nil {
		return m.after()
	}
	return nil
}

func (m *memory) get() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.text)
}

func (m *memory) set(text []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text = bytes.Clone(text)
}

// locker is a Wrapper under a random AES key, which counts its calls, can be
// away, and remembers what it wrapped.
type locker struct {
	scheme  string
	aead    cipher.AEAD
	away    atomic.Bool
	deaf    bool // to associated data
	unwraps atomic.Int64
	mu      sync.Mutex
	wrapped map[byte][][]byte // by role, oldest first
}

func newLocker(scheme string) *locker {
	kek := make([]byte, 32)
	rand.Read(kek)
	block, err := aes.NewCipher(kek)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return &locker{scheme: scheme, aead: aead, wrapped: map[byte][][]byte{}}
}

func (l *locker) Scheme() string { return l.scheme }

func (l *locker) data(associated []byte) []byte {
	if l.deaf {
		return nil
	}
	return associated
}

func (l *locker) Wrap(_ context.Context, key, associated []byte) (string, error) {
	if l.away.Load() {
		return "", errAway
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	role := associated[len(associated)-17]
	l.wrapped[role] = append(l.wrapped[role], bytes.Clone(key))
	return l.scheme + ":" + base64.StdEncoding.EncodeToString(l.aead.Seal(nil, nil, key, l.data(associated))), nil
}

func (l *locker) Unwrap(_ context.Context, wrapped string, associated []byte) ([]byte, error) {
	l.unwraps.Add(1)
	if l.away.Load() {
		return nil, errAway
	}
	_, text, _ := strings.Cut(wrapped, ":")
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, keys.ErrUnwrap
	}
	key, err := l.aead.Open(nil, nil, sealed, l.data(associated))
	if err != nil {
		return nil, keys.ErrUnwrap
	}
	return key, nil
}

// last returns the key of a role that was wrapped last.
func (l *locker) last(role byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.wrapped[role]
	return all[len(all)-1]
}

// setup makes a keyring's store and wrapper.
func setup(t testing.TB, l keys.Layout) (*memory, *locker) {
	t.Helper()
	s, w := &memory{}, newLocker("test")
	if err := keys.Create(t.Context(), namespace, s, w, l); err != nil {
		t.Fatal(err)
	}
	return s, w
}

// open opens a keyring, which is closed with the test.
func open(t testing.TB, s keys.Store, w keys.Wrapper, o *keys.Options) *keys.Keyring {
	t.Helper()
	k, err := keys.Open(t.Context(), namespace, s, w, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func ring(t testing.TB, k *keys.Keyring) *keys.Ring {
	t.Helper()
	r, err := k.Ring()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// must fails the test unless err is want, nil included.
func must(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// clock is a wall clock that a test sets.
type clock struct{ at atomic.Int64 }

func newClock(t time.Time) *clock {
	c := &clock{}
	c.at.Store(t.UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(d.Milliseconds()) }

// What follows is FORMAT.md once more, from its text and without the package,
// so that one mistake is not made on both sides.

func lp(x string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(x)))) + x
}

// expand is HKDF-Expand-SHA256 for up to 32 bytes: one block.
func expand(key []byte, length int, parts ...string) []byte {
	var info string
	for _, p := range parts {
		info += lp(p)
	}
	return hmacSHA256(key, info+"\x01")[:length]
}

func hmacSHA256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// unseal returns the document that a store's text holds.
func unseal(t testing.TB, text []byte) map[string]any {
	t.Helper()
	var envelope struct{ Document, MAC []byte }
	var doc map[string]any
	if err := json.Unmarshal(text, &envelope); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(envelope.Document, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// reseal returns the text of a document under a names key.
func reseal(t testing.TB, names []byte, doc map[string]any) []byte {
	t.Helper()
	body, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return resealBytes(t, names, body)
}

func resealBytes(t testing.TB, names, body []byte) []byte {
	t.Helper()
	mac := hmacSHA256(expand(names, 32, "securecache v1 keyring", namespace), string(body))
	text, err := json.Marshal(map[string][]byte{"document": body, "mac": mac})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// entry returns data key i of a document.
func entry(doc map[string]any, i int) map[string]any { return doc["keys"].([]any)[i].(map[string]any) }

func member(doc map[string]any, name string) map[string]any { return doc[name].(map[string]any) }
