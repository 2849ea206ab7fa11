package codec_test

import (
	"bytes"
	"crypto/fips140"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/codec/internal/vector"
)

// sample is a record, and what opens it.
type sample struct {
	name    string
	b       codec.Binding
	content []byte
	record  []byte
}

// samples are records of every suite, compression and padding.
func samples(t *testing.T, s *source) []sample {
	t.Helper()
	var all []sample
	for _, suite := range allSuites() {
		for _, how := range []codec.Compression{codec.CompressionNone, codec.CompressionSnappy, codec.CompressionZstd} {
			for _, pad := range []bool{false, true} {
				c := newCodec(t, s, codec.Options{Suite: suite, Compression: how, Pad: pad})
				b := binding(codec.KindHash)
				b.FieldID = "BfHbenyY3Jx9qkZxmmjKgQ"
				name := fmt.Sprintf("%v/%v/padded=%v", suite, how, pad)
				all = append(all, sample{name, b, text(150), seal(t, c, b, text(150))})
			}
		}
		c := newCodec(t, s, codec.Options{Suite: suite})
		b := binding(codec.KindSession)
		all = append(all, sample{fmt.Sprintf("%v/session", suite), b, text(40), seal(t, c, b, text(40))})
	}
	return all
}

// each runs f on every sample, with a codec that has seen nothing and with one
// that has the sample's sub-key cached.
func each(t *testing.T, f func(t *testing.T, c *codec.Codec, x sample)) {
	t.Helper()
	s := newSource(t, document(nil))
	for _, x := range samples(t, s) {
		t.Run(x.name, func(t *testing.T) {
			c := newCodec(t, s, codec.Options{})
			f(t, c, x)
			got, err := c.Open(nil, x.b, x.record)
			if err != nil || !bytes.Equal(got, x.content) {
				t.Fatalf("the record as it was: %v, or other content", err)
			}
			f(t, c, x)
		})
	}
}

// refuses checks that a record is refused for one reason, by Open and Reseal
// alike.
func refuses(t *testing.T, c *codec.Codec, b codec.Binding, record []byte, want codec.Reason, what string, args ...any) {
	t.Helper()
	got, err := c.Open(nil, b, record)
	if refusal(err) != want.String() || got != nil {
		t.Fatalf("Open: %v, want %v: %s", err, want, fmt.Sprintf(what, args...))
	}
	if _, err = c.Reseal(nil, b, record); refusal(err) != want.String() {
		t.Fatalf("Reseal: %v, want %v: %s", err, want, fmt.Sprintf(what, args...))
	}
}

func TestEveryBitFlip(t *testing.T) {
	each(t, func(t *testing.T, c *codec.Codec, x sample) {
		for i := range x.record {
			for bit := range 8 {
				flipped := bytes.Clone(x.record)
				flipped[i] ^= 1 << bit
				refuses(t, c, x.b, flipped, reasonOf(i, flipped[i]), "bit %d of byte %d", bit, i)
			}
		}
	})
}

// reasonOf is why a record is refused whose byte at i has been changed to b.
func reasonOf(i int, b byte) codec.Reason {
	suite := codec.Suite(b & 0x0f)
	switch {
	case i < 2:
		return codec.ReasonNotRecord
	case i == 2:
		return codec.ReasonVersion
	case i == 3 && (suite == 0 || suite > codec.ChaCha20Poly1305 || b&0x30 == 0x30 || b&0x80 != 0):
		return codec.ReasonForm
	case i == 3 && suite == codec.ChaCha20Poly1305 && fips140.Enforced():
		return codec.ReasonFIPS
	case i >= 16 && i < 32:
		return codec.ReasonUnknownKey
	}
	return codec.ReasonAuthentication
}

func TestEveryTruncation(t *testing.T) {
	each(t, func(t *testing.T, c *codec.Codec, x sample) {
		for n := range x.record {
			want := codec.ReasonAuthentication
			switch {
			case n < 2:
				want = codec.ReasonNotRecord
			case n < codec.Overhead:
				want = codec.ReasonLength
			}
			refuses(t, c, x.b, x.record[:n:n], want, "the first %d bytes", n)
		}
		for n := 1; n < 40; n++ {
			refuses(t, c, x.b, append(bytes.Clone(x.record), make([]byte, n)...), codec.ReasonAuthentication, "%d bytes more", n)
		}
		for i := range codec.Overhead {
			gap := slices.Delete(bytes.Clone(x.record), i, i+1)
			if _, err := c.Open(nil, x.b, gap); err == nil {
				t.Fatalf("opens without byte %d", i)
			}
		}
	})
}

func TestEveryMove(t *testing.T) {
	each(t, func(t *testing.T, c *codec.Codec, x sample) {
		for kind := range 256 {
			b := x.b
			if b.Kind = codec.Kind(kind); b.Kind == x.b.Kind || !b.Kind.HoldsRecords() {
				continue
			}
			refuses(t, c, b, x.record, codec.ReasonAuthentication, "under kind %v", b.Kind)
		}
		for _, id := range []string{"", "{}", x.b.ID[1:], x.b.ID + ":", x.b.ID + ":part", x.b.ID + "\x00", "{0b}" + x.b.ID[1:len(x.b.ID)-1]} {
			b := x.b
			b.ID = id
			refuses(t, c, b, x.record, codec.ReasonAuthentication, "under another id")
			b = x.b
			b.FieldID = id + "x"
			refuses(t, c, b, x.record, codec.ReasonAuthentication, "under another field")
		}
		for i := range len(x.b.FieldID) { // bytes moved across the border
			b := x.b
			b.ID, b.FieldID = x.b.ID+x.b.FieldID[:i+1], x.b.FieldID[i+1:]
			refuses(t, c, b, x.record, codec.ReasonAuthentication, "with %d bytes of the field in the id", i+1)
		}
	})
}

// TestMovedToAnotherNamespace gives two namespaces the same data key.
func TestMovedToAnotherNamespace(t *testing.T) {
	here := newSource(t, document(nil))
	there := newSource(t, document(func(d *vector.Document) { d.Namespace = "other" }))
	record := seal(t, newCodec(t, here, codec.Options{}), binding(codec.KindValue), text(10))
	b := binding(codec.KindValue)
	b.Namespace = "other"
	c := newCodec(t, there, codec.Options{})
	refuses(t, c, b, record, codec.ReasonUnknownKey, "as it is")
	copy(record[16:32], vector.KeyID(second, "other"))
	refuses(t, c, b, record, codec.ReasonAuthentication, "under the other namespace's id of the same key")
}

// TestQuickBindings seals and opens under random bindings: a record opens under
// the very same alone.
func TestQuickBindings(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	property := func(k1, k2 uint8, id1, id2, field1, field2 string, content []byte) bool {
		one := codec.Binding{Namespace: namespace, Kind: recordKinds[int(k1)%len(recordKinds)], ID: id1, FieldID: field1}
		two := codec.Binding{Namespace: namespace, Kind: recordKinds[int(k2)%len(recordKinds)], ID: id2, FieldID: field2}
		record := seal(t, c, one, content)
		got, err := c.Open(nil, one, record)
		if err != nil || !bytes.Equal(got, content) {
			return false
		}
		for _, b := range []codec.Binding{two, {Namespace: namespace, Kind: one.Kind, ID: id2, FieldID: field1}, {Namespace: namespace, Kind: one.Kind, ID: id1, FieldID: field2}} {
			if _, err = c.Open(nil, b, record); b != one && refusal(err) != "authentication" {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 500}); err != nil {
		t.Error(err)
	}
}

// TestEverySplice joins the beginning of one record and the end of another, at
// every byte. Both were sealed at one place, by one writer, at one time.
func TestEverySplice(t *testing.T) {
	s := newSource(t, document(nil))
	for _, suite := range allSuites() {
		for _, o := range []codec.Options{{Compression: codec.CompressionNone}, {Pad: true}, {Compression: codec.CompressionZstd}} {
			o.Suite = suite
			c := newCodec(t, s, o)
			one := seal(t, c, binding(codec.KindValue), text(200))
			two := seal(t, c, binding(codec.KindValue), bytes.ToUpper(text(200)))
			for i := range one {
				spliced := append(bytes.Clone(one[:i]), two[min(i, len(two)):]...)
				if bytes.Equal(spliced, one) || bytes.Equal(spliced, two) {
					continue
				}
				refuses(t, c, binding(codec.KindValue), spliced, codec.ReasonAuthentication, "%d bytes of one, the rest of another", i)
			}
		}
	}
}

// TestEverySwap opens every sample's header before every other's body.
func TestEverySwap(t *testing.T) {
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	all := samples(t, s)
	for _, x := range all {
		for _, y := range all {
			if x.name == y.name {
				continue
			}
			swapped := append(bytes.Clone(x.record[:codec.HeaderSize]), y.record[codec.HeaderSize:]...)
			refuses(t, c, x.b, swapped, codec.ReasonAuthentication, "%s before %s", x.name, y.name)
			refuses(t, c, y.b, swapped, codec.ReasonAuthentication, "%s before %s", x.name, y.name)
		}
	}
}

func TestInjectedPlaintext(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	for _, injected := range []string{"", "S", "{\"admin\":true}", string(text(500)), "sc\x01\x01"} {
		refuses(t, c, binding(codec.KindValue), []byte(injected), codec.ReasonNotRecord, "%d bytes", len(injected))
	}
	refuses(t, c, binding(codec.KindValue), []byte("SC"), codec.ReasonLength, "the magic alone")
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 { // with a header that somebody may copy from a record
		random := make([]byte, codec.Overhead+r.IntN(100))
		for i := range random {
			random[i] = byte(r.Uint32())
		}
		copy(random, "SC\x01\x01")
		refuses(t, c, binding(codec.KindValue), random, codec.ReasonUnknownKey, "random bytes")
		id := keyID(second)
		copy(random[16:], id[:])
		refuses(t, c, binding(codec.KindValue), random, codec.ReasonAuthentication, "random bytes under a known key")
	}
}

// TestLeakedRetiredKey has an attacker who holds the retired key and forges
// what they like.
func TestLeakedRetiredKey(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name             string
		written, expires time.Time
		want             string
	}{
		{"within its bounds", rotated, present.Add(time.Hour), "ok"},
		{"written at the end of the allowance", retired.Add(5 * time.Minute), present.Add(time.Hour), "ok"},
		{"written later", retired.Add(5*time.Minute + ms), present.Add(time.Hour), "retired-key"},
		{"written now", present, present.Add(time.Hour), "retired-key"},
		{"expires with its last record", rotated, retired.Add(maxLife), "ok"},
		{"expires later", rotated, retired.Add(maxLife + ms), "retired-key"},
		{"never expires", rotated, time.UnixMilli(0), "retired-key"},
		{"later, and expired", present.Add(-time.Hour), present.Add(-time.Minute), "retired-key"},
		{"expired", rotated, present.Add(-time.Minute), "expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCodec(t, newSource(t, document(nil)), codec.Options{})
			forged := vector.Forgery{
				Key: first, Namespace: namespace, Form: vector.AES, Kind: 'v', ID: someID, Inner: text(10),
				Written: tt.written.UnixMilli(), Expires: tt.expires.UnixMilli(),
			}.Seal()
			for range 2 { // the second time with the sub-key cached
				if _, err := c.Open(nil, binding(codec.KindValue), forged); refusal(err) != tt.want {
					t.Errorf("Open: %v, want %s", err, tt.want)
				}
				if _, err := c.Reseal(nil, binding(codec.KindValue), forged); refusal(err) != tt.want {
					t.Errorf("Reseal: %v, want %s", err, tt.want)
				}
			}
		})
	}
}

// TestLeakedKeyIsRetiredLater has the reader know the writer before its key is
// retired: what it has cached must not outlive what the keyring says.
func TestLeakedKeyIsRetiredLater(t *testing.T) {
	s := newSource(t, document(func(d *vector.Document) { d.Revision, d.Keys, d.Keys[0].Retired = 1, d.Keys[:1], 0 }))
	c := newCodec(t, s, codec.Options{})
	forged := vector.Forgery{
		Key: first, Namespace: namespace, Form: vector.AES, Kind: 'v', ID: someID, Inner: text(10),
		Written: present.UnixMilli(), Expires: present.Add(time.Hour).UnixMilli(),
	}.Seal()
	for range 2 {
		if _, err := c.Open(nil, binding(codec.KindValue), forged); err != nil {
			t.Fatal(err)
		}
	}
	s.use(t, document(nil))
	for range 2 {
		refuses(t, c, binding(codec.KindValue), forged, codec.ReasonRetiredKey, "after the key has been retired")
	}
}

// TestServerKeepsRecord is what PERSIST, RESTORE or a frozen clock come to.
func TestServerKeepsRecord(t *testing.T) {
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	record := seal(t, c, binding(codec.KindValue), text(10))
	for after, want := range map[time.Duration]string{0: "ok", time.Hour - 1: "ok", time.Hour: "expired", 24 * time.Hour: "expired"} {
		s.at(present.Add(after))
		dst := make([]byte, 0, 100)
		if _, err := c.Open(dst, binding(codec.KindValue), record); refusal(err) != want {
			t.Errorf("Open after %v: %v, want %s", after, err, want)
		}
		if want == "expired" && bytes.Contains(dst[:cap(dst)], text(10)) {
			t.Error("Open leaves an expired record's content behind")
		}
	}
}

// TestNothingLeftBehind opens what authenticates and is refused afterwards.
func TestNothingLeftBehind(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	forged := vector.Forgery{
		Key: second, Namespace: namespace, Form: vector.AES | vector.Padded, Kind: 'v', ID: someID,
		Written: present.UnixMilli(), Expires: present.Add(time.Hour).UnixMilli(),
		Inner: append(text(100), 0x81),
	}
	leavesNothing := func() {
		t.Helper()
		dst := make([]byte, 0, 1000)
		if _, err := c.Open(dst, binding(codec.KindValue), forged.Seal()); refusal(err) != "content" {
			t.Fatalf("Open: %v", err)
		}
		if !bytes.Equal(dst[:cap(dst)], make([]byte, cap(dst))) {
			t.Error("Open leaves plaintext of a refused record in dst")
		}
	}
	leavesNothing()
	forged.Form |= vector.Snappy
	forged.Inner = vector.Pad(append(vector.Uvarint(300), vector.Body(vector.Snappy, text(299))[2:]...))
	leavesNothing()
	// Blocks that decode to the declared length and are refused all the same.
	forged.Inner = vector.Pad(append(vector.Uvarint(10), 10, 0x04, 'a', 'b', 0x01, 2, 0x01, 0))
	leavesNothing()
	forged.Form = vector.AES | vector.Zstd
	forged.Inner = append(vector.Uvarint(300), vector.Frame(text(299), false)...)
	leavesNothing()
	for _, o := range []codec.Options{{Compression: codec.CompressionSnappy, Pad: true}, {Compression: codec.CompressionZstd}} {
		c := newCodec(t, newSource(t, document(nil)), o)
		record := seal(t, c, binding(codec.KindValue), text(900))
		if _, err := c.Open(nil, binding(codec.KindValue), record); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Reseal(nil, binding(codec.KindValue), record); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if left := codec.Scratch(); !bytes.Equal(left, make([]byte, len(left))) {
				t.Fatal("a pooled buffer holds plaintext")
			}
		}
	}
}
