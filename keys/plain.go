package keys

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

const plainScheme = "plain"

// plain leaves keys as they are.
type plain struct{}

// InsecurePlain returns a Wrapper that does not wrap: whoever reads the keyring
// document holds its keys. For development and tests only.
func InsecurePlain() Wrapper { return plain{} }

func (plain) Scheme() string { return plainScheme }

func (plain) Wrap(_ context.Context, key, _ []byte) (string, error) {
	return plainScheme + ":" + base64.StdEncoding.EncodeToString(key), nil
}

// Unwrap honours the associated data although the text holds the key alone:
// the data ends in the key's id, which commits to namespace, role and key.
func (plain) Unwrap(_ context.Context, wrapped string, associated []byte) ([]byte, error) {
	rest, found := strings.CutPrefix(wrapped, plainScheme+":")
	if !found {
		return nil, ErrScheme
	}
	key, err := decode64(rest)
	if err != nil || len(key) != Size || !commits(key, associated) {
		clear(key)
		return nil, fmt.Errorf("%w: the plain text is not this key", ErrUnwrap)
	}
	return key, nil
}

// commits reports whether key has the id that data, made by associated, ends in.
func commits(key, data []byte) bool {
	rest, found := bytes.CutPrefix(data, []byte(wrapLabel))
	if !found || len(rest) < 4 {
		return false
	}
	n := int64(binary.BigEndian.Uint32(rest))
	if rest = rest[4:]; int64(len(rest)) != n+1+int64(len(ID{})) {
		return false
	}
	id, err := identify(expander(key), string(rest[:n]), role(rest[n]))
	return err == nil && subtle.ConstantTimeCompare(id[:], rest[n+1:]) == 1
}

// decode64 reads standard base64 as strictly as it is written: the library's
// decoder skips line breaks.
func decode64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}
