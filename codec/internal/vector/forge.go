package vector

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/chacha20poly1305"
)

// What stands in a record's form byte.
const (
	AES    = 0x01
	ChaCha = 0x02
	Snappy = 0x10
	Zstd   = 0x20
	Padded = 0x40
)

// Forgery is a record with any field one likes.
type Forgery struct {
	Key              []byte // the data key
	Namespace        string
	KeyID            []byte // the key's own where nil
	Form             byte
	Written, Expires int64
	Salt             []byte // random where nil
	Kind             byte
	ID, Field        string
	Inner            []byte // the plaintext inside, as it is
}

// Seal returns the record, with a random nonce.
func (f Forgery) Seal() []byte {
	if f.KeyID == nil {
		f.KeyID = KeyID(f.Key, f.Namespace)
	}
	if f.Salt == nil {
		f.Salt = make([]byte, 16)
		_, _ = rand.Read(f.Salt)
	}
	head := []byte{'S', 'C', 1, f.Form}
	head = appendU48(head, f.Written)
	head = appendU48(head, f.Expires)
	head = append(append(head, f.KeyID...), f.Salt...)

	return append(head, encrypt(f.Form&suiteBits, f.subkey(head), f.Inner, f.associated(head))...)
}

const suiteBits = 0x0f

// associated is the associated data of a record that begins with head.
func (f Forgery) associated(head []byte) []byte {
	ad := append([]byte("securecache v1"), head[:48]...)
	ad = append(ad, f.Kind)
	for _, s := range []string{f.Namespace, f.ID, f.Field} {
		ad = append(ad, LP(s)...)
	}
	return ad
}

// subkey is the sub-key of a record that begins with head.
func (f Forgery) subkey(head []byte) []byte {
	return Expand(f.Key, 32, "securecache v1 seal", f.Namespace, string([]byte{head[3] & suiteBits}), string(head[32:48]))
}

// encrypt returns nonce ‖ ciphertext ‖ tag. GCM draws its own nonce, which is
// the only way that FIPS 140-only mode allows.
func encrypt(suite byte, key, plaintext, ad []byte) []byte {
	if suite == ChaCha {
		aead := must(chacha20poly1305.New(key))
		nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plaintext)+aead.Overhead())
		_, _ = rand.Read(nonce)
		return aead.Seal(nonce, nonce, plaintext, ad)
	}
	aead := must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(key))))
	return aead.Seal(nil, nil, plaintext, ad)
}

// Expand is expand of FORMAT.md, section 1.
func Expand(key []byte, length int, label string, parts ...string) []byte {
	info := LP(label)
	for _, p := range parts {
		info = append(info, LP(p)...)
	}
	return must(hkdf.Expand(sha256.New, key, string(info), length))
}

// KeyID is the id of a data key.
func KeyID(key []byte, namespace string) []byte {
	return Expand(key, 16, "securecache v1 key id", namespace)
}

// LP is s behind its length.
func LP(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// Pad is step 2 of the plaintext inside (FORMAT.md, section 5).
func Pad(b []byte) []byte {
	out := append(append([]byte(nil), b...), 0x80)
	return append(out, make([]byte, max(64, padme(len(out)))-len(out))...)
}

func padme(l int) int {
	if l < 2 {
		return l
	}
	e := bits.Len(uint(l)) - 1 // ⌊log₂ l⌋
	s := bits.Len(uint(e))     // ⌊log₂ e⌋ + 1
	b := 1
	if e > s {
		b = 1 << (e - s)
	}
	return (l + b - 1) / b * b
}

// Uvarint is n as step 1 of the plaintext inside wants it.
func Uvarint(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// Body is step 1 of the plaintext inside, for form Snappy or Zstd.
func Body(form byte, content []byte) []byte {
	if form&Snappy != 0 {
		return append(Uvarint(uint64(len(content))), s2.EncodeSnappy(nil, content)...)
	}
	return append(Uvarint(uint64(len(content))), Frame(content, false)...)
}

// Frame returns content as one zstd frame, with a checksum or without.
func Frame(content []byte, checksum bool) []byte {
	enc := must(zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(checksum), zstd.WithZeroFrames(true)))
	return enc.EncodeAll(content, nil)
}

func appendU48(dst []byte, n int64) []byte {
	return append(dst, binary.BigEndian.AppendUint64(nil, uint64(n))[2:]...)
}

// must is for what cannot fail with the arguments given here.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Unseal returns the plaintext inside a record that f's key sealed at f's
// place, and the record's form byte.
func (f Forgery) Unseal(record []byte) (inner []byte, form byte, err error) {
	form = record[3]
	key, ad := f.subkey(record), f.associated(record)
	if form&suiteBits == ChaCha {
		inner, err = must(chacha20poly1305.New(key)).Open(nil, record[48:60], record[60:], ad)
	} else {
		inner, err = must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(key)))).Open(nil, nil, record[48:], ad)
	}
	return inner, form, err
}
