package securecachetest

import (
	"path/filepath"
	"testing"

	"github.com/securecache/securecache-go/keys"
)

// newKeyring creates a keyring in a file and opens it.
func newKeyring(t testing.TB, s settings) *keys.Keyring {
	t.Helper()
	store, wrapper := keys.NewFile(filepath.Join(t.TempDir(), "keyring.json")), keys.InsecurePlain()
	need(t, keys.Create(t.Context(), s.server.Namespace, store, wrapper, s.layout))
	k, err := keys.Open(t.Context(), s.server.Namespace, store, wrapper, nil)
	need(t, err)
	closeAfter(t, k.Close)
	return k
}
