package session_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/securecache/securecache-go/securecache/session"
)

// FuzzToken takes any text for a token: what is one has that spelling alone.
func FuzzToken(f *testing.F) {
	f.Fuzz(func(t *testing.T, token string) {
		raw, isOne := session.ReadToken(token)
		if isOne && (len(raw) != 32 || base64.RawURLEncoding.EncodeToString(raw) != token) {
			t.Errorf("%q was read as %x", token, raw)
		}
	})
}

// FuzzContent takes any bytes for the content of a record: what is one says all
// that is in it.
func FuzzContent(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		c, isOne := session.ReadContent(b)
		if isOne && !bytes.Equal(c.Encode(), b) {
			t.Errorf("%x was read as %x", b, c.Encode())
		}
	})
}

// TestFuzzSeeds makes sure that the committed seeds are there.
func TestFuzzSeeds(t *testing.T) {
	for target, least := range map[string]int{"FuzzToken": 6, "FuzzContent": 6} {
		seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", target))
		if err != nil || len(seeds) < least {
			t.Errorf("%s has %d seeds, want %d or more, %v", target, len(seeds), least, err)
		}
	}
}
