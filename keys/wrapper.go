package keys

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// Wrapper encrypts keys under a key-encryption key, which it holds or reaches.
// It must authenticate the associated data: [Create] refuses one that does not.
// Implementations are safe for concurrent use, keep no reference to the byte
// slices they are given, and put no key byte into an error.
type Wrapper interface {
	// Scheme is what stands before the first ':' of every text that Wrap
	// returns, such as "vault". A keyring whose entries carry another is refused.
	Scheme() string
	// Wrap returns key, 32 bytes, as text that opens under associated alone.
	Wrap(ctx context.Context, key, associated []byte) (wrapped string, err error)
	// Unwrap returns what was wrapped under the same associated data. The
	// caller may overwrite the returned slice. An error wraps [ErrUnwrap] where
	// the text was refused rather than the wrapper out of reach.
	Unwrap(ctx context.Context, wrapped string, associated []byte) (key []byte, err error)
}

// role is what a key is for. It goes into its id and its wrapping, so that a
// leaked data key cannot be put in the place of the names key.
type role byte

const (
	dataRole  role = 'd'
	namesRole role = 'n'
)

func (r role) idLabel() string {
	if r == namesRole {
		return "securecache v1 names key id"
	}
	return "securecache v1 key id"
}

// String is for error texts.
func (r role) String() string {
	if r == namesRole {
		return "names key"
	}
	return "data key"
}

const wrapLabel = "securecache v1 wrap"

// associated is the associated data of a wrapped key.
func associated(namespace string, r role, id ID) []byte {
	b := appendLP([]byte(wrapLabel), namespace)
	b = append(b, byte(r))
	return append(b, id[:]...)
}

// identify derives the id that a key has in its role.
func identify(derive deriver, namespace string, r role) (ID, error) {
	b, err := derive(len(ID{}), r.idLabel(), [][]byte{[]byte(namespace)})
	if err != nil {
		return ID{}, err
	}
	return ID(b), nil
}

// secret is a key with its bytes, on its way into a wrapper or out of one. It
// is short-lived: whoever makes one calls wipe.
type secret struct {
	id    ID
	role  role
	bytes []byte
}

func (s *secret) wipe() { clear(s.bytes) }

func (s *secret) deriver() deriver { return expander(s.bytes) }

// generate makes a new key.
func generate(namespace string, r role) (*secret, error) {
	s := &secret{role: r, bytes: make([]byte, Size)}
	_, _ = rand.Read(s.bytes) // never fails
	var err error
	s.id, err = identify(s.deriver(), namespace, r)
	return s, err
}

// unwrap returns the key that wrapped holds, checked against its id.
func unwrap(ctx context.Context, w Wrapper, namespace string, r role, id ID, wrapped string) (*secret, error) {
	if !hasScheme(wrapped, w) {
		return nil, ErrScheme
	}
	b, err := w.Unwrap(ctx, wrapped, associated(namespace, r, id))
	if err != nil {
		return nil, fmt.Errorf("unwrap the %s %s: %w", r, id, err)
	}
	s := &secret{id: id, role: r, bytes: b}
	if len(b) != Size {
		s.wipe()
		return nil, fmt.Errorf("%w: the %s %s has a wrong length", ErrDocument, r, id)
	}
	got, err := identify(s.deriver(), namespace, r)
	if err != nil || subtle.ConstantTimeCompare(got[:], id[:]) != 1 {
		s.wipe()
		return nil, fmt.Errorf("%w: the %s %s is not the key that its id names", ErrDocument, r, id)
	}
	return s, nil
}

// wrap wraps s and opens it again: a key that was saved and cannot be unwrapped
// would be lost, and would stop every process at its next refresh.
func wrap(ctx context.Context, w Wrapper, namespace string, s *secret) (string, error) {
	wrapped, err := w.Wrap(ctx, s.bytes, associated(namespace, s.role, s.id))
	if err != nil {
		return "", fmt.Errorf("wrap the %s: %w", s.role, err)
	}
	if !hasScheme(wrapped, w) {
		return "", fmt.Errorf("keys: the wrapper's text does not begin with its scheme %q; it is not usable", w.Scheme())
	}
	back, err := unwrap(ctx, w, namespace, s.role, s.id, wrapped)
	if err != nil {
		return "", fmt.Errorf("the key just wrapped does not unwrap: %w", err)
	}
	back.wipe()
	return wrapped, nil
}

// prove shows that w authenticates associated data, with a key made for the
// purpose: unwrapping under data that differs in one bit must fail. It asks for
// the failure first and for a success afterwards, so that an outage in between
// does not pass for the proof.
func prove(ctx context.Context, w Wrapper, namespace string) error {
	s, err := generate(namespace, dataRole)
	if err != nil {
		return err
	}
	defer s.wipe()
	right := associated(namespace, s.role, s.id)
	wrapped, err := w.Wrap(ctx, s.bytes, right)
	if err != nil {
		return fmt.Errorf("wrap a key to try the wrapper: %w", err)
	}
	wrong := append([]byte(nil), right...)
	wrong[len(wrong)-1] ^= 1
	if b, err := w.Unwrap(ctx, wrapped, wrong); err == nil {
		clear(b)
		return errors.New("keys: the wrapper ignores associated data, so one key could be put in another's place; use a key type that authenticates it (Vault transit: aes256-gcm96 or chacha20-poly1305)")
	}
	b, err := w.Unwrap(ctx, wrapped, right)
	if err != nil {
		return fmt.Errorf("unwrap the key that tries the wrapper: %w", err)
	}
	defer clear(b)
	if subtle.ConstantTimeCompare(b, s.bytes) != 1 {
		return errors.New("keys: the wrapper returns another key than it was given; it is not usable")
	}
	return nil
}

func hasScheme(wrapped string, w Wrapper) bool {
	scheme, _, found := strings.Cut(wrapped, ":")
	return found && scheme == w.Scheme()
}
