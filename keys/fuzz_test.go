package keys_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
)

// fuzzNames is the names key of the seeds.
func fuzzNames() []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	return key
}

// refusal reports whether err is one that a document may cause.
func refusal(err error) bool {
	return errors.Is(err, keys.ErrDocument) || errors.Is(err, keys.ErrScheme) || errors.Is(err, keys.ErrUnwrap)
}

// tryDocument opens a keyring on text: it is refused in a typed way, or makes a
// ring that seals and opens, and can be changed and read again.
func tryDocument(t *testing.T, text []byte) {
	s := &memory{text: text}
	k, err := keys.Open(t.Context(), namespace, s, keys.InsecurePlain(), nil)
	if err != nil {
		if !refusal(err) {
			t.Fatalf("refused as %v", err)
		}
		return
	}
	defer k.Close()
	r, err := k.Ring()
	if errors.Is(err, keys.ErrStale) {
		return // an offline time of a millisecond or so
	}
	must(t, err, nil)
	for _, at := range []time.Time{{}, time.Now(), time.UnixMilli(1 << 48)} {
		if p := r.Primary(at); p == nil || r.Key(p.ID()) != p || r.Destroyed(p.ID()) {
			t.Fatal("a primary that does not open")
		}
	}
	for _, info := range r.Keys() {
		if info.Destroyed == (r.Key(info.ID) != nil) {
			t.Fatalf("the ring contradicts itself about %s", info.ID)
		}
	}
	if _, err := k.Rotate(t.Context()); err != nil {
		return // times or revision at their end
	}
	again, err := keys.Open(t.Context(), namespace, s, keys.InsecurePlain(), nil)
	if err != nil {
		t.Fatalf("the document after a rotation: %v", err)
	}
	defer again.Close()
	got, err := again.Ring()
	if errors.Is(err, keys.ErrStale) {
		return
	}
	must(t, err, nil)
	if got.Revision() != r.Revision()+1 || got.Layout() != r.Layout() || len(got.Keys()) != len(r.Keys())+1 {
		t.Fatal("the document after a rotation is another")
	}
}

// FuzzDocument gives documents that authenticate, to reach what lies behind.
func FuzzDocument(f *testing.F) {
	f.Fuzz(func(t *testing.T, body []byte) { tryDocument(t, resealBytes(t, fuzzNames(), body)) })
}

// FuzzEnvelope gives texts as whoever writes the store could.
func FuzzEnvelope(f *testing.F) {
	f.Fuzz(tryDocument)
}

func TestFuzzSeedsAreThere(t *testing.T) {
	for target, n := range map[string]int{"FuzzDocument": 8, "FuzzEnvelope": 5} {
		seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", target))
		if err != nil || len(seeds) < n {
			t.Errorf("%s has %d seeds, want %d at least (%v)", target, len(seeds), n, err)
		}
	}
}

// At least one seed of each target must get through, or it fuzzes the doorstep.
func TestFrozenDocumentIsAFuzzSeed(t *testing.T) {
	frozen, err := os.ReadFile("testdata/frozen.json")
	must(t, err, nil)
	for _, text := range [][]byte{frozen, reseal(t, fuzzNames(), unseal(t, frozen))} {
		open(t, &memory{text: text}, keys.InsecurePlain(), nil)
	}
}
