package keys

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"
)

const (
	passphraseScheme = "argon2id"
	saltSize         = 16
	// A wrapped key is a GCM nonce, the key and a tag.
	wrappedSize = 12 + Size + 16

	maxMemory  = 1 << 20 // KiB
	maxTime    = 16
	maxThreads = 16

	// derivedKept bounds the derived keys in memory. A keyring needs one for
	// each process that has wrapped a key in it.
	derivedKept = 64
)

// Argon2 are the costs of deriving a key-encryption key from a passphrase with
// argon2id. Zero fields take the second recommendation of RFC 9106, section 4:
// 64 MiB, 3 passes, 4 lanes.
type Argon2 struct {
	Memory  uint32 // KiB, up to 1 GiB and at least 8 a lane
	Time    uint32 // passes, up to 16
	Threads uint8  // lanes, up to 16
}

// filled returns p with its defaults; p may be nil.
func (p *Argon2) filled() Argon2 {
	f := Argon2{Memory: 64 << 10, Time: 3, Threads: 4}
	if p == nil {
		return f
	}
	if p.Memory != 0 {
		f.Memory = p.Memory
	}
	if p.Time != 0 {
		f.Time = p.Time
	}
	if p.Threads != 0 {
		f.Threads = p.Threads
	}
	return f
}

func (p Argon2) check() error {
	if p.Time < 1 || p.Time > maxTime || p.Threads < 1 || p.Threads > maxThreads ||
		p.Memory > maxMemory || p.Memory < 8*uint32(p.Threads) {
		return errors.New("keys: the argon2id costs are out of range: up to 1 GiB of memory, 16 passes, 16 lanes, and at least 8 KiB a lane")
	}
	return nil
}

// derivation is what a derived key depends on beside the passphrase.
type derivation struct {
	costs Argon2
	salt  [saltSize]byte
}

// prefix is what stands before the wrapped key.
func (d derivation) prefix() string {
	return fmt.Sprintf("%s:v=%d,m=%d,t=%d,p=%d:%s:", passphraseScheme, argon2.Version,
		d.costs.Memory, d.costs.Time, d.costs.Threads, base64.StdEncoding.EncodeToString(d.salt[:]))
}

// passphrase wraps with AES-256-GCM under keys derived from a passphrase. What
// must not be printed lives in closures, for the reason given in Key.
type passphrase struct {
	costs  Argon2
	derive func(derivation) (cipher.AEAD, error)

	mu      sync.Mutex
	derived map[derivation]func() cipher.AEAD
	own     *derivation // which Wrap uses
}

// NewPassphrase returns a Wrapper that derives its key from a passphrase, of
// which it keeps a copy. A nil p is all defaults; costs out of range, or an
// empty passphrase, show at the first use. A derived key is kept in memory, so
// that only the first use of a salt costs time. argon2id is not approved: where
// crypto/fips140.Enforced holds, every use is an error.
func NewPassphrase(secret []byte, p *Argon2) Wrapper {
	own := append([]byte(nil), secret...)
	return &passphrase{
		costs:   p.filled(),
		derived: map[derivation]func() cipher.AEAD{},
		derive: func(d derivation) (cipher.AEAD, error) {
			if len(own) == 0 {
				return nil, errors.New("keys: the passphrase is empty")
			}
			key := argon2.IDKey(own, d.salt[:], d.costs.Time, d.costs.Memory, d.costs.Threads, 32)
			defer clear(key)
			block, err := aes.NewCipher(key)
			if err != nil {
				return nil, err
			}
			return cipher.NewGCMWithRandomNonce(block)
		},
	}
}

// Scheme returns "argon2id".
func (p *passphrase) Scheme() string { return passphraseScheme }

// Wrap returns argon2id:v=19,m=<KiB>,t=<n>,p=<n>:<salt>:<nonce ‖ ciphertext ‖ tag>,
// the last two in base64.
func (p *passphrase) Wrap(ctx context.Context, key, associated []byte) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.own == nil {
		p.own = &derivation{costs: p.costs}
		_, _ = rand.Read(p.own.salt[:]) // never fails
	}
	aead, err := p.aead(ctx, *p.own)
	if err != nil {
		return "", err
	}
	p.keep(*p.own, aead)
	sealed := aead.Seal(nil, nil, key, associated)
	return p.own.prefix() + base64.StdEncoding.EncodeToString(sealed), nil
}

// Unwrap reads what Wrap returns, whatever its costs within the limits.
func (p *passphrase) Unwrap(ctx context.Context, wrapped string, associated []byte) ([]byte, error) {
	d, sealed, err := parsePassphrase(wrapped)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	aead, err := p.aead(ctx, d)
	if err != nil {
		return nil, err
	}
	key, err := aead.Open(nil, nil, sealed, associated)
	if err != nil {
		return nil, ErrUnwrap
	}
	// Kept, and used for wrapping, only now that the passphrase has been shown
	// to be behind it: whoever writes the document could choose a salt.
	p.keep(d, aead)
	if p.own == nil && d.costs == p.costs {
		p.own = &d
	}
	return key, nil
}

// aead returns the cipher of a derivation. The caller holds mu, so that one
// derivation at a time takes its memory.
func (p *passphrase) aead(ctx context.Context, d derivation) (cipher.AEAD, error) {
	if fips140.Enforced() {
		return nil, errors.New("keys: a passphrase cannot be used in FIPS 140-only mode, which has no argon2id; wrap with Vault")
	}
	if kept, ok := p.derived[d]; ok {
		return kept(), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.costs.check(); err != nil {
		return nil, err
	}
	return p.derive(d)
}

func (p *passphrase) keep(d derivation, aead cipher.AEAD) {
	if _, ok := p.derived[d]; !ok && len(p.derived) >= derivedKept {
		clear(p.derived)
	}
	p.derived[d] = func() cipher.AEAD { return aead }
}

// parsePassphrase reads a wrapped text. It takes the one form that Wrap
// writes, so that a text has no second spelling.
func parsePassphrase(wrapped string) (derivation, []byte, error) {
	malformed := fmt.Errorf("%w: the text is not argon2id's", ErrUnwrap)
	var d derivation
	var version int
	parts := strings.Split(wrapped, ":")
	if len(parts) != 4 {
		return d, nil, malformed
	}
	if _, err := fmt.Sscanf(parts[1], "v=%d,m=%d,t=%d,p=%d", &version, &d.costs.Memory, &d.costs.Time, &d.costs.Threads); err != nil {
		return d, nil, malformed
	}
	salt, err1 := decode64(parts[2])
	sealed, err2 := decode64(parts[3])
	if err1 != nil || err2 != nil || len(salt) != saltSize || len(sealed) != wrappedSize {
		return d, nil, malformed
	}
	d.salt = [saltSize]byte(salt)
	if wrapped != d.prefix()+parts[3] {
		return d, nil, malformed
	}
	if err := d.costs.check(); err != nil {
		return d, nil, fmt.Errorf("%w: %w", ErrUnwrap, err)
	}
	return d, sealed, nil
}

// Format prints the scheme under every verb.
func (p *passphrase) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, passphraseScheme) }

// LogValue logs the scheme.
func (p *passphrase) LogValue() slog.Value { return slog.StringValue(passphraseScheme) }
