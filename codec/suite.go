package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/securecache/securecache-go/keys"
)

// Suite is the authenticated cipher of a record.
type Suite byte

const (
	// AES256GCM is AES-256-GCM (NIST SP 800-38D), the default.
	AES256GCM Suite = 1
	// ChaCha20Poly1305 is RFC 8439's, for machines without AES instructions.
	// It does not exist in FIPS 140-only mode.
	ChaCha20Poly1305 Suite = 2

	suites = 3 // one more than the last
)

// String returns the usual name of the suite.
func (s Suite) String() string {
	switch s {
	case AES256GCM:
		return "AES-256-GCM"
	case ChaCha20Poly1305:
		return "ChaCha20-Poly1305"
	}
	return "invalid"
}

// subkey is the cipher under one writer's sub-key. It takes no nonce: it works
// on nonce ‖ ciphertext ‖ tag, as cipher.NewGCMWithRandomNonce does. It is a
// function since fmt would print the round keys of a cipher.AEAD, even from an
// unexported field.
type subkey func() cipher.AEAD

// derive sets up the cipher of the writer that chose salt.
func derive(key *keys.Key, namespace string, s Suite, salt []byte) (subkey, error) {
	secret, err := key.Expand(keys.Size, "securecache v1 seal", []byte(namespace), []byte{byte(s)}, salt)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	var aead cipher.AEAD
	switch s {
	case AES256GCM:
		aead, err = newAES(secret)
	case ChaCha20Poly1305:
		aead, err = newChaCha(secret)
	default:
		err = errors.New("codec: unknown suite")
	}
	return func() cipher.AEAD { return aead }, err
}

func newAES(secret []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// chaCha is ChaCha20-Poly1305 with random nonces, in the form of
// cipher.NewGCMWithRandomNonce.
type chaCha struct{ aead cipher.AEAD }

func newChaCha(secret []byte) (cipher.AEAD, error) {
	aead, err := chacha20poly1305.New(secret)
	return chaCha{aead}, err
}

func (chaCha) NonceSize() int { return 0 }

func (chaCha) Overhead() int { return nonceSize + TagSize }

// Seal takes plaintext that begins where it writes, or does not overlap that.
func (c chaCha) Seal(dst, _, plaintext, associated []byte) []byte {
	dst = slices.Grow(dst, nonceSize+len(plaintext)+TagSize)
	out := dst[len(dst) : len(dst)+nonceSize+len(plaintext)]
	// The nonce goes where plaintext may stand, so that moves first.
	copy(out[nonceSize:], plaintext)
	_, _ = rand.Read(out[:nonceSize]) // never fails (crypto/rand)
	return c.aead.Seal(dst[:len(dst)+nonceSize], out[:nonceSize], out[nonceSize:], associated)
}

// Open takes what is at least a nonce and a tag, and begins where it writes or
// does not overlap that.
func (c chaCha) Open(dst, _, sealed, associated []byte) ([]byte, error) {
	nonce, text := sealed[:nonceSize], sealed[nonceSize:]
	if overlap(dst[len(dst):cap(dst)], sealed) {
		// The nonce stands where the content goes, and moves behind the rest.
		kept := [nonceSize]byte(nonce)
		text = sealed[:copy(sealed, text)]
		nonce = sealed[len(text):]
		copy(nonce, kept[:])
	}
	return c.aead.Open(dst, nonce, text, associated)
}
