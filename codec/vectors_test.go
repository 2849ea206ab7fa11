package codec_test

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/codec/internal/vector"
	"github.com/securecache/securecache-go/keys"
)

const vectors = "../testdata/vectors"

// TestVectors opens every golden record in every way: by a codec that has seen
// nothing, by one that has every sub-key cached, into a buffer of the caller's,
// on top of the record itself, and re-sealed.
func TestVectors(t *testing.T) {
	paths, err := vector.List(vectors)
	if err != nil {
		t.Fatal(err)
	}
	warm := map[setting]*shared{}
	classes := map[string]int{}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			r, err := vector.ReadRecord(path)
			if err != nil {
				t.Fatal(err)
			}
			classes[r.Expect]++
			by := setting{r.Keyring, r.Limit}
			if warm[by] == nil {
				warm[by] = newShared(t, by)
			}
			check(t, newShared(t, by), r)
			check(t, warm[by], r) // the first time it may fill the cache
			check(t, warm[by], r)
		})
	}
	for _, class := range []string{
		vector.OK, "expired", "not-record", "length", "version", "form", "unknown-key", "destroyed-key",
		"authentication", "retired-key", "expiry", "content", "too-large",
	} {
		if classes[class] < 2 {
			t.Errorf("%d vectors of class %q, want more", classes[class], class)
		}
	}
}

// setting is what a codec for a vector depends on.
type setting struct {
	keyring string
	limit   int
}

// shared is a codec for a keyring vector.
type shared struct {
	source *source
	codec  *codec.Codec
}

func newShared(t *testing.T, by setting) *shared {
	t.Helper()
	k, err := vector.ReadKeyring(filepath.Join(vectors, by.keyring))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := open(k.Namespace, k.Stored)
	if err != nil {
		t.Fatal(err)
	}
	s := new(source)
	s.ring.Store(ring)
	s.at(present)
	return &shared{s, newCodec(t, s, codec.Options{MaxValue: by.limit})}
}

// check opens one vector by one codec.
func check(t *testing.T, s *shared, r *vector.Record) {
	t.Helper()
	want := r.Expect
	if fips140.Enforced() && len(r.Record) >= codec.Overhead && r.Record[3]&0x0f == vector.ChaCha && early(want) {
		want = codec.ReasonFIPS.String()
	}
	kind, err := codec.ParseKind(r.Kind)
	if err != nil {
		t.Fatal(err)
	}
	s.source.at(time.UnixMilli(r.Now))
	b := codec.Binding{Namespace: r.Namespace, Kind: kind, ID: r.ID, FieldID: r.Field}

	content, err := s.codec.Open(nil, b, r.Record)
	verdict(t, "Open", want, err, r, "", content)

	const before = "before"
	room := append(make([]byte, 0, len(before)+len(r.Record)+len(r.Content)), before...)
	content, err = s.codec.Open(room, b, r.Record)
	verdict(t, "Open into a buffer", want, err, r, before, content)

	record := bytes.Clone(r.Record)
	content, err = s.codec.Open(record[:0], b, record)
	verdict(t, "Open in place", want, err, r, "", content)

	again, err := s.codec.Reseal(nil, b, r.Record)
	if got := refusal(err); got != want {
		t.Errorf("Reseal: %s, want %s", got, want)
	}
	if err == nil {
		resealed(t, s.codec, b, r, again)
	}
}

// early reports whether a failure class comes before the suite is looked at.
func early(class string) bool {
	return class != "not-record" && class != "version" && class != "form" && class != "length"
}

// verdict compares an outcome with what must become of r, behind what stood in
// the buffer before.
func verdict(t *testing.T, how, want string, err error, r *vector.Record, before string, got []byte) {
	t.Helper()
	if class := refusal(err); class != want {
		t.Fatalf("%s: %s, want %s", how, class, want)
	}
	if rest, found := bytes.CutPrefix(got, []byte(before)); err == nil && !(found && r.Holds(rest)) {
		t.Errorf("%s: other content than the vector's", how)
	}
	if err != nil && got != nil {
		t.Errorf("%s: content beside an error", how)
	}
}

// resealed checks that nothing but key, salt, nonce and ciphertext have changed.
func resealed(t *testing.T, c *codec.Codec, b codec.Binding, r *vector.Record, again []byte) {
	t.Helper()
	content, err := c.Open(nil, b, again)
	verdict(t, "Open after Reseal", vector.OK, err, r, "", content)
	if !bytes.Equal(again[:16], r.Record[:16]) || len(again) != len(r.Record) {
		t.Error("Reseal: changed the form, the times or the length")
	}
	if bytes.Equal(again[32:48], r.Record[32:48]) || bytes.Equal(again[48:60], r.Record[48:60]) {
		t.Error("Reseal: kept the salt or the nonce")
	}
}

func TestKeyringVectors(t *testing.T) {
	paths, err := vector.List(filepath.Join(vectors, "keyring"))
	if err != nil {
		t.Fatal(err)
	}
	classes := map[string]error{"document": keys.ErrDocument, "scheme": keys.ErrScheme, "unwrap": keys.ErrUnwrap}
	seen := map[string]bool{}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			k, err := vector.ReadKeyring(path)
			if err != nil {
				t.Fatal(err)
			}
			seen[k.Expect] = true
			if k.Scheme != keys.InsecurePlain().Scheme() {
				t.Fatalf("a wrapper of scheme %q is not at hand", k.Scheme)
			}
			ring, err := open(k.Namespace, k.Stored)
			if k.Expect != vector.OK {
				if want := classes[k.Expect]; want == nil || !errors.Is(err, want) {
					t.Errorf("Open: %v, want class %s", err, k.Expect)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := ring.Primary(time.UnixMilli(k.Now)).ID().String(); got != k.Primary {
				t.Errorf("the primary is %s, want %s", got, k.Primary)
			}
		})
	}
	if len(seen) != 1+len(classes) {
		t.Errorf("classes in the vectors: %v", seen)
	}
}
