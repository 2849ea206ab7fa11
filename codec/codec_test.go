package codec_test

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/codec/internal/vector"
	"github.com/securecache/securecache-go/keys"
)

var recordKinds = []codec.Kind{
	codec.KindValue, codec.KindHash, codec.KindSession, codec.KindDenylist, codec.KindOnce, codec.KindJob, codec.KindExpiry, 0x80, 0xff,
}

// TestRoundTrip seals with every option and looks at what came of it: through
// Open, and through a second implementation that sees the inside.
func TestRoundTrip(t *testing.T) {
	s := newSource(t, document(nil))
	lengths := []int{0, 1, 63, 64, 200, 2047, 2048, 5000}
	for _, suite := range allSuites() {
		for _, how := range []codec.Compression{codec.CompressionAuto, codec.CompressionNone, codec.CompressionSnappy, codec.CompressionZstd} {
			for _, pad := range []bool{false, true} {
				c := newCodec(t, s, codec.Options{Suite: suite, Compression: how, Pad: pad})
				for _, kind := range recordKinds {
					t.Run(fmt.Sprintf("%v/%v/padded=%v/%v", suite, how, pad, kind), func(t *testing.T) {
						for _, n := range lengths {
							roundTrip(t, c, kind, suite, how, pad, text(n))
						}
					})
				}
			}
		}
	}
}

func roundTrip(t *testing.T, c *codec.Codec, kind codec.Kind, suite codec.Suite, how codec.Compression, pad bool, content []byte) {
	t.Helper()
	b := binding(kind)
	b.FieldID = "BfHbenyY3Jx9qkZxmmjKgQ"
	record := seal(t, c, b, content)
	got, err := c.Open(nil, b, record)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("Open of %d bytes: %v, or other content", len(content), err)
	}
	h, err := codec.ParseHeader(record)
	if err != nil {
		t.Fatal(err)
	}
	want := codec.Header{
		Suite: suite, Compression: expected(kind, how, len(content)), Padded: pad || strings.ContainsRune("sdox", rune(kind)),
		Written: present.UTC(), Expires: present.Add(time.Hour).UTC(), KeyID: keyID(second), Size: len(record) - codec.Overhead,
	}
	if h != want {
		t.Errorf("header of %d bytes: %+v, want %+v", len(content), h, want)
	}
	inner, _, err := vector.Forgery{Key: second, Namespace: namespace, Kind: byte(kind), ID: b.ID, Field: b.FieldID}.Unseal(record)
	if err != nil {
		t.Fatalf("the second implementation: %v", err)
	}
	body := content
	switch want.Compression {
	case codec.CompressionSnappy:
		body = vector.Body(vector.Snappy, content)
	case codec.CompressionZstd:
		body = vector.Body(vector.Zstd, content)
	}
	if want.Padded {
		body = vector.Pad(body)
	}
	if !bytes.Equal(inner, body) {
		t.Errorf("the inside of %d bytes is not as FORMAT.md says", len(content))
	}
}

// expected is how n bytes of text are compressed. From some length on it saves
// a sixteenth.
func expected(kind codec.Kind, how codec.Compression, n int) codec.Compression {
	if !strings.ContainsRune("vhq", rune(kind)) || n < 32 {
		return codec.CompressionNone
	}
	switch {
	case how == codec.CompressionAuto && n < 2048:
		return codec.CompressionNone
	case how == codec.CompressionAuto:
		return codec.CompressionSnappy
	}
	return how
}

func keyID(key []byte) keys.ID { return keys.ID(vector.KeyID(key, namespace)) }

func TestCompressionOnlyWhereItPays(t *testing.T) {
	s := newSource(t, document(nil))
	noise := make([]byte, 4096)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for _, how := range []codec.Compression{codec.CompressionAuto, codec.CompressionSnappy, codec.CompressionZstd} {
		c := newCodec(t, s, codec.Options{Compression: how})
		seen := map[codec.Compression]bool{}
		for zeros := 0; zeros <= 1024; zeros += 16 {
			content := bytes.Clone(noise)
			clear(content[:zeros])
			record := seal(t, c, binding(codec.KindValue), content)
			h, err := codec.ParseHeader(record)
			if err != nil {
				t.Fatal(err)
			}
			seen[h.Compression] = true
			if h.Compression == codec.CompressionNone && h.Size != len(content) {
				t.Errorf("%v: %d bytes for %d", how, h.Size, len(content))
			}
			if saved := len(content) - h.Size; h.Compression != codec.CompressionNone && saved*16 < len(content) {
				t.Errorf("%v: kept although it saves %d of %d bytes", how, saved, len(content))
			}
			if got, err := c.Open(nil, binding(codec.KindValue), record); err != nil || !bytes.Equal(got, content) {
				t.Fatalf("%v: %v, or other content", how, err)
			}
		}
		if len(seen) != 2 {
			t.Errorf("%v: seen %v, want compressed records and others", how, seen)
		}
	}
}

func TestSealAppends(t *testing.T) {
	s := newSource(t, document(nil))
	for _, suite := range allSuites() {
		for _, o := range []codec.Options{{}, {Pad: true}, {Compression: codec.CompressionZstd}} {
			o.Suite = suite
			c := newCodec(t, s, o)
			for _, room := range []int{0, 10, 1000, 10000} {
				dst := append(make([]byte, 0, 6+room), "before"...)
				record, err := c.Seal(dst, binding(codec.KindValue), present.Add(time.Hour), text(500))
				if err != nil || !bytes.HasPrefix(record, dst) {
					t.Fatalf("Seal: %v, or it did not append", err)
				}
				dst = append(make([]byte, 0, 6+room), "before"...)
				content, err := c.Open(dst, binding(codec.KindValue), record[6:])
				if err != nil || string(content) != "before"+string(text(500)) {
					t.Fatalf("Open: %v, or it did not append", err)
				}
			}
		}
	}
}

// TestOverlap seals and opens in one buffer, with the input at every distance
// from where the output goes.
func TestOverlap(t *testing.T) {
	s := newSource(t, document(nil))
	content := text(300)
	for _, suite := range allSuites() {
		for _, o := range []codec.Options{{Compression: codec.CompressionNone}, {Pad: true}, {Compression: codec.CompressionSnappy}, {Compression: codec.CompressionZstd, Pad: true}} {
			o.Suite = suite
			c := newCodec(t, s, o)
			for at := range 700 {
				buffer := make([]byte, 1200)
				copy(buffer[at:], content)
				record, err := c.Seal(buffer[:200], binding(codec.KindValue), present.Add(time.Hour), buffer[at:at+len(content)])
				if err != nil {
					t.Fatal(err)
				}
				again := make([]byte, 1200)
				copy(again[at:], record[200:])
				n := len(record) - 200
				opened, err := c.Open(again[:200], binding(codec.KindValue), again[at:at+n])
				if err != nil || !bytes.Equal(opened[200:], content) {
					t.Fatalf("%+v, %d bytes in: %v, or other content", o, at, err)
				}
				clear(again)
				copy(again[at:], record[200:])
				resealed, err := c.Reseal(again[:200], binding(codec.KindValue), again[at:at+n])
				if err != nil {
					t.Fatal(err)
				}
				if opened, err = c.Open(nil, binding(codec.KindValue), resealed[200:]); err != nil || !bytes.Equal(opened, content) {
					t.Fatalf("%+v, resealed %d bytes in: %v, or other content", o, at, err)
				}
			}
		}
	}
}

// TestInPlace opens records where they stand, in memory that ends with them.
func TestInPlace(t *testing.T) {
	s := newSource(t, document(nil))
	for _, suite := range allSuites() {
		for _, o := range []codec.Options{{Compression: codec.CompressionNone}, {Pad: true, Compression: codec.CompressionNone}, {Compression: codec.CompressionSnappy}} {
			o.Suite = suite
			c := newCodec(t, s, o)
			for _, content := range [][]byte{{}, text(1), text(3000)} {
				sealed := seal(t, c, binding(codec.KindValue), content)
				record := append(bytes.Clone(sealed), make([]byte, 5000)...)[:len(sealed)]
				opened, err := c.Open(codec.InPlace(record), binding(codec.KindValue), record)
				if !bytes.Equal(record[len(sealed):len(sealed)+5000], make([]byte, 5000)) {
					t.Errorf("%+v, %d bytes: what stands behind the record was written to", o, len(content))
				}
				if err != nil || !bytes.Equal(opened, content) {
					t.Fatalf("%+v, %d bytes: %v, or other content", o, len(content), err)
				}
				if len(content) > 0 && o.Compression != codec.CompressionSnappy && &opened[0] != &record[48] {
					t.Errorf("%+v, %d bytes were opened elsewhere", o, len(content))
				}
				if header, err := codec.ParseHeader(record); err != nil || !header.Expires.Equal(present.Add(time.Hour)) {
					t.Errorf("%+v: the header says %+v, %v", o, header, err)
				}
				last := slices.Clip(bytes.Clone(sealed))
				last[len(last)-1] ^= 1
				if _, err := c.Open(codec.InPlace(last), binding(codec.KindValue), last); refusal(err) != codec.ReasonAuthentication.String() {
					t.Errorf("%+v: a flipped bit: %v", o, err)
				}
			}
		}
	}
	for n := range codec.HeaderSize {
		short := make([]byte, n)
		if _, err := newCodec(t, s, codec.Options{}).Open(codec.InPlace(short), binding(codec.KindValue), short); refusal(err) != codec.ReasonNotRecord.String() {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestOpenedContentIsTheCallersOwn(t *testing.T) {
	s := newSource(t, document(nil))
	for _, o := range []codec.Options{{Compression: codec.CompressionNone}, {Compression: codec.CompressionSnappy}, {Compression: codec.CompressionZstd}} {
		c := newCodec(t, s, o)
		record := seal(t, c, binding(codec.KindValue), text(3000))
		one, err := c.Open(nil, binding(codec.KindValue), record)
		if err != nil {
			t.Fatal(err)
		}
		clear(record)
		for range 10 {
			seal(t, c, binding(codec.KindSession), bytes.Repeat([]byte{0xee}, 3000))
		}
		if !bytes.Equal(one, text(3000)) {
			t.Errorf("%v: content shares memory with something else", o.Compression)
		}
	}
}

func TestSealErrors(t *testing.T) {
	in := func(d time.Duration) time.Time { return present.Add(d) }
	other := binding(codec.KindValue)
	other.Namespace = "other"
	forever := document(func(d *vector.Document) { d.MaxLife = 0 })
	orphan := document(func(d *vector.Document) { d.Keys = d.Keys[:1] })
	tests := []struct {
		name    string
		doc     vector.Document
		b       codec.Binding
		expires time.Time
		length  int
		want    error
	}{
		{"in a millisecond", document(nil), binding(codec.KindValue), in(time.Millisecond), 0, nil},
		{"max_life ahead", document(nil), binding(codec.KindValue), in(maxLife), 0, nil},
		{"a fraction more", document(nil), binding(codec.KindValue), in(maxLife + 999*time.Microsecond), 0, nil},
		{"further ahead", document(nil), binding(codec.KindValue), in(maxLife + time.Millisecond), 0, codec.ErrLifetime},
		{"now", document(nil), binding(codec.KindValue), present, 0, codec.ErrLifetime},
		{"so long ago that milliseconds overflow", document(nil), binding(codec.KindValue), time.Unix(present.Unix()+1800-1<<61/125, 0), 0, codec.ErrLifetime},
		{"less than a millisecond", document(nil), binding(codec.KindValue), in(999 * time.Microsecond), 0, codec.ErrLifetime},
		{"past", document(nil), binding(codec.KindValue), in(-time.Hour), 0, codec.ErrLifetime},
		{"1970", document(nil), binding(codec.KindValue), time.UnixMilli(0), 0, codec.ErrLifetime},
		{"before 1970", forever, binding(codec.KindValue), time.UnixMilli(-5), 0, codec.ErrLifetime},
		{"none where one is needed", document(nil), binding(codec.KindValue), time.Time{}, 0, codec.ErrLifetime},
		{"none where none is needed", forever, binding(codec.KindValue), time.Time{}, 0, nil},
		{"far ahead where it may be", forever, binding(codec.KindValue), time.UnixMilli(1<<48 - 1), 0, nil},
		{"beyond what a record holds", forever, binding(codec.KindValue), time.UnixMilli(1 << 48), 0, codec.ErrLifetime},
		{"beyond what milliseconds hold", forever, binding(codec.KindValue), time.Unix(1<<60, 0), 0, codec.ErrLifetime},
		{"another namespace", document(nil), other, in(time.Hour), 0, codec.ErrNamespace},
		{"no kind", document(nil), binding(0), in(time.Hour), 0, codec.ErrKind},
		{"a lock", document(nil), binding(codec.KindLock), in(time.Hour), 0, codec.ErrKind},
		{"as large as allowed", document(nil), binding(codec.KindValue), in(time.Hour), 1000, nil},
		{"larger", document(nil), binding(codec.KindValue), in(time.Hour), 1001, codec.ErrTooLarge},
		{"retired without a successor", orphan, binding(codec.KindValue), in(time.Hour), 0, errSome},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCodec(t, newSource(t, tt.doc), codec.Options{MaxValue: 1000})
			record, err := c.Seal(nil, tt.b, tt.expires, text(tt.length))
			if tt.want == errSome && err != nil {
				return
			}
			if !errors.Is(err, tt.want) || (err == nil) != (record != nil) {
				t.Fatalf("Seal: %v, want %v", err, tt.want)
			}
			if err != nil {
				return
			}
			if _, err := c.Open(nil, tt.b, record); err != nil {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

var errSome = errors.New("any error")

func TestOpenErrors(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	record := seal(t, c, binding(codec.KindValue), nil)
	other := binding(codec.KindValue)
	other.Namespace = "other"
	for b, want := range map[codec.Binding]error{other: codec.ErrNamespace, binding(codec.KindLimit): codec.ErrKind, binding('?'): codec.ErrKind} {
		if _, err := c.Open(nil, b, record); !errors.Is(err, want) {
			t.Errorf("Open: %v, want %v", err, want)
		}
		if _, err := c.Reseal(nil, b, record); !errors.Is(err, want) {
			t.Errorf("Reseal: %v, want %v", err, want)
		}
	}
}

func TestClockOutOfRange(t *testing.T) {
	s := newSource(t, document(func(d *vector.Document) { d.MaxLife = 0 }))
	c := newCodec(t, s, codec.Options{})
	for _, now := range []time.Time{time.UnixMilli(-1), time.UnixMilli(1 << 48)} {
		s.at(now)
		if _, err := c.Seal(nil, binding(codec.KindValue), time.Time{}, nil); err == nil {
			t.Errorf("Seal at %v: no error", now)
		}
	}
}

// broken is a source without keys.
type broken struct{ err error }

func (b broken) Ring() (*keys.Ring, error) { return nil, b.err }

func TestSourceFails(t *testing.T) {
	c, err := codec.New(broken{keys.ErrStale}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Seal(nil, binding(codec.KindValue), time.Now().Add(time.Hour), nil); err != keys.ErrStale {
		t.Errorf("Seal: %v", err)
	}
	if _, err := c.Open(nil, binding(codec.KindValue), nil); err != keys.ErrStale {
		t.Errorf("Open: %v", err)
	}
	if _, err := c.Reseal(nil, binding(codec.KindValue), nil); err != keys.ErrStale {
		t.Errorf("Reseal: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	s := newSource(t, document(nil))
	for name, o := range map[string]codec.Options{
		"a suite":             {Suite: 3},
		"a compression":       {Compression: 4},
		"a negative MaxValue": {MaxValue: -1},
		"a huge MaxValue":     {MaxValue: 1 << 30},
	} {
		if _, err := codec.New(s, &o); err == nil {
			t.Errorf("New accepts %s", name)
		}
	}
	if _, err := codec.New(nil, nil); err == nil {
		t.Error("New accepts no source")
	}
}

func TestChaChaUnderFIPS(t *testing.T) {
	if !fips140.Enforced() {
		t.Skip("needs GODEBUG=fips140=only: tests what does not exist there")
	}
	s := newSource(t, document(nil))
	if _, err := codec.New(s, &codec.Options{Suite: codec.ChaCha20Poly1305}); err == nil || !strings.Contains(err.Error(), "FIPS") {
		t.Errorf("New: %v, want an error that names FIPS", err)
	}
	record := seal(t, newCodec(t, s, codec.Options{}), binding(codec.KindValue), nil)
	record[3] = byte(codec.ChaCha20Poly1305)
	_, err := newCodec(t, s, codec.Options{}).Open(nil, binding(codec.KindValue), record)
	if refusal(err) != codec.ReasonFIPS.String() {
		t.Errorf("Open: %v, want %v", err, codec.ReasonFIPS)
	}
}

// TestReadersLimit opens what a writer with a larger limit has sealed.
func TestReadersLimit(t *testing.T) {
	s := newSource(t, document(nil))
	for _, o := range []codec.Options{{Compression: codec.CompressionNone}, {Compression: codec.CompressionNone, Pad: true}, {Compression: codec.CompressionSnappy}, {Compression: codec.CompressionZstd}} {
		large := newCodec(t, s, o)
		o.MaxValue = 3000
		small := newCodec(t, s, o)
		for n, want := range map[int]string{3000: vector.OK, 3001: "too-large"} {
			record := seal(t, large, binding(codec.KindValue), text(n))
			if _, err := small.Open(nil, binding(codec.KindValue), record); refusal(err) != want {
				t.Errorf("%+v: Open of %d bytes: %v, want %s", o, n, err, want)
			}
			if _, err := small.Reseal(nil, binding(codec.KindValue), record); refusal(err) != want {
				t.Errorf("%+v: Reseal of %d bytes: %v, want %s", o, n, err, want)
			}
		}
	}
}
