package vector_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/securecache/securecache-go/codec/internal/vector"
)

func TestRecordFiles(t *testing.T) {
	for name, want := range map[string]vector.Record{
		"ok":      {Comment: "a: b", Expect: vector.OK, Keyring: "k.txt", Namespace: "n", Now: 7, Kind: "h", ID: "{x}:part", Field: "f", Content: []byte{0, 1}, Record: make([]byte, 200)},
		"long":    {Expect: vector.OK, Limit: 26, Kind: "v", Digest: bytes.Repeat([]byte{0xab}, 32), Record: []byte("SC")},
		"empty":   {Expect: vector.OK, Kind: "v", Content: []byte{}, Record: []byte{}},
		"refused": {Comment: "c", Expect: "length", Kind: "v", Record: []byte("SC")},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, want.Format(), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := vector.ReadRecord(path)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestHolds(t *testing.T) {
	content := []byte("content")
	digest := sha256.Sum256(content)
	for name, r := range map[string]vector.Record{"content": {Content: content}, "digest": {Digest: digest[:]}} {
		if !r.Holds(content) || r.Holds(nil) || r.Holds([]byte("Content")) {
			t.Errorf("%s: other content is taken for it, or it is not", name)
		}
	}
}

func TestKeyringFiles(t *testing.T) {
	for name, want := range map[string]vector.Keyring{
		"ok":      {Comment: "c", Expect: vector.OK, Namespace: "n", Scheme: "plain", Now: 7, Primary: "00", Stored: []byte("{}")},
		"refused": {Comment: "c", Expect: "document", Namespace: "n", Scheme: "plain", Stored: []byte{}},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, want.Format(), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := vector.ReadKeyring(path)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestMalformedFiles(t *testing.T) {
	good := string((&vector.Record{Expect: "length", Kind: "v", Record: []byte("SC")}).Format())
	for name, text := range map[string]string{
		"empty":            "",
		"no colon":         "what\n" + good,
		"a line twice":     "kind: v\n" + good,
		"an unknown line":  "more: v\n" + good,
		"no base64":        good + "*",
		"a line is absent": good[len("comment:\n"):],
	} {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := vector.ReadRecord(path); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := vector.List(t.TempDir()); err == nil {
		t.Error("no vectors, and no error")
	}
}

// TestWorkedExample has the derivations of FORMAT.md, section 12.
func TestWorkedExample(t *testing.T) {
	key, salt := make([]byte, 32), make([]byte, 16)
	for i := range key {
		key[i] = byte(i)
	}
	for i := range salt {
		salt[i] = 0xa0 + byte(i)
	}
	for want, got := range map[string][]byte{
		"a873740bd85f6a0f055a85ca611cbaf9":                                 vector.KeyID(key, "demo"),
		"73c2c99be0d3ecf259a106fc518c0182906b85631be66d51e18df58ccae69f7c": vector.Expand(key, 32, "securecache v1 seal", "demo", "\x01", string(salt)),
		"e5c12f7d4fb2b6b0df17013a9af59d7b671e20505e58b4aef3909324857ae4af": vector.Expand(key, 32, "securecache v1 seal", "demo", "\x02", string(salt)),
	} {
		if text := hex.EncodeToString(got); text != want {
			t.Errorf("%s, want %s", text, want)
		}
	}
	for n, want := range map[int]int{64: 72, 99: 104, 999: 1000 + 24, 1024: 1088, 16384: 17408} {
		if got := len(vector.Pad(make([]byte, n))); got != want {
			t.Errorf("%d bytes are padded to %d, want %d", n, got, want)
		}
	}
}
