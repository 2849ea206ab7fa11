package codec_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/codec/internal/vector"
)

// FuzzHeader reads any bytes as a record: what is accepted must say what its
// bytes say.
func FuzzHeader(f *testing.F) {
	f.Fuzz(func(t *testing.T, record []byte) {
		h, err := codec.ParseHeader(record)
		if err != nil {
			switch refusal(err) {
			case "not-record", "length", "version", "form":
			default:
				t.Fatalf("ParseHeader: %v", err)
			}
			return
		}
		if h.Size != len(record)-codec.Overhead || h.Size < 0 || h.KeyID.String() == "" {
			t.Errorf("of %d bytes, %d are ciphertext", len(record), h.Size)
		}
		form := byte(h.Suite) | byte(h.Compression-codec.CompressionNone)<<4
		if h.Padded {
			form |= vector.Padded
		}
		if form != record[3] || !bytes.HasPrefix(record, []byte("SC\x01")) || !bytes.Equal(h.KeyID[:], record[16:32]) {
			t.Errorf("%+v is not what %x says", h, record[:codec.HeaderSize])
		}
		written := h.Written.UnixMilli()
		if written < 0 || written>>40 != int64(record[4]) || byte(written) != record[9] {
			t.Errorf("written at %d", written)
		}
	})
}

// FuzzOpen opens any bytes: what opens must be one of the golden records, since
// nothing else was ever sealed with the key.
func FuzzOpen(f *testing.F) {
	ring := vector.Document{
		Namespace: namespace, Revision: 1, Names: bytes.Repeat([]byte{9}, 32), NamesCreated: 1, MaxLife: maxLife.Milliseconds(),
		Keys: []vector.Entry{{Key: counting(), Created: epoch.UnixMilli(), Activates: epoch.UnixMilli()}},
	}
	s := newSource(f, ring)
	c := newCodec(f, s, codec.Options{})
	sealed := map[string]bool{}
	paths, err := vector.List(vectors)
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		r, err := vector.ReadRecord(path)
		if err != nil {
			f.Fatal(err)
		}
		switch r.Expect {
		case vector.OK, "expired", "retired-key", "expiry", "content", "too-large":
			sealed[string(r.Record)] = true
			f.Add(r.Record)
		}
		// The others are no seeds: many are records with a byte changed, which
		// the fuzzer changes back.
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		content, err := c.Open(nil, binding(codec.KindValue), record)
		if err == nil && !sealed[string(record)] {
			t.Fatalf("opens what was never sealed: %x", record)
		}
		if class := refusal(err); class != vector.OK && (len(class) > 20 || content != nil) {
			t.Fatalf("Open: %v, with %d bytes of content", err, len(content))
		}
		if _, again := c.Reseal(nil, binding(codec.KindValue), record); refusal(again) != refusal(err) {
			t.Fatalf("Open: %v; Reseal: %v", err, again)
		}
	})
}

// counting is the first data key of the golden vectors.
func counting() []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	return key
}

// FuzzInside seals any inside with the right key and opens it: it is content or
// refused as such, within the limit, and never more than there was room for.
func FuzzInside(f *testing.F) {
	const limit = 4096
	s := newSource(f, document(nil))
	c := newCodec(f, s, codec.Options{MaxValue: limit})
	f.Fuzz(func(t *testing.T, form byte, inner []byte) {
		form = vector.AES | form&(vector.Snappy|vector.Zstd|vector.Padded)
		if form&vector.Snappy != 0 {
			form &^= vector.Zstd
		}
		record := vector.Forgery{
			Key: second, Namespace: namespace, Form: form, Salt: make([]byte, 16), Kind: 'v', ID: someID,
			Written: present.UnixMilli(), Expires: present.Add(maxLife).UnixMilli(), Inner: inner,
		}.Seal()
		content, err := c.Open(make([]byte, 0, 16), binding(codec.KindValue), record)
		switch refusal(err) {
		case vector.OK, "content", "too-large":
		default:
			t.Fatalf("Open: %v", err)
		}
		if len(content) > limit {
			t.Fatalf("%d bytes of content", len(content))
		}
		again, resealing := c.Reseal(nil, binding(codec.KindValue), record)
		if refusal(resealing) != refusal(err) {
			t.Fatalf("Open: %v; Reseal: %v", err, resealing)
		}
		if err != nil {
			return
		}
		if twice, err := c.Open(nil, binding(codec.KindValue), again); err != nil || !bytes.Equal(twice, content) {
			t.Fatalf("after Reseal: %v, or other content", err)
		}
	})
}

// TestFuzzSeeds makes sure that the committed seeds are there: a fuzz target
// that has lost them still passes.
func TestFuzzSeeds(t *testing.T) {
	for target, least := range map[string]int{"FuzzHeader": 8, "FuzzOpen": 4, "FuzzInside": 12} {
		paths, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil || len(paths) < least {
			t.Errorf("%s has %d seeds, want %d or more, %v", target, len(paths), least, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil || !bytes.HasPrefix(text, []byte("go test fuzz v1\n")) {
				t.Errorf("%s is not a seed, %v", path, err)
			}
		}
	}
}
