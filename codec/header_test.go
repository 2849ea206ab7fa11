package codec_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
)

// drawn is a record as FORMAT.md draws it, field by field.
func drawn(form string) []byte {
	raw, err := hex.DecodeString("5343" + "01" + form + "019b7612a400" + "019b7612a401" + strings.Repeat("ab", 16) +
		strings.Repeat("cd", 16) + strings.Repeat("ef", 12) + "0011223344" + strings.Repeat("99", 16))
	if err != nil {
		panic(err)
	}
	return raw
}

func TestParseHeader(t *testing.T) {
	written := time.UnixMilli(0x019b7612a400).UTC()
	tests := map[string]codec.Header{
		"01": {Suite: codec.AES256GCM, Compression: codec.CompressionNone},
		"02": {Suite: codec.ChaCha20Poly1305, Compression: codec.CompressionNone},
		"11": {Suite: codec.AES256GCM, Compression: codec.CompressionSnappy},
		"22": {Suite: codec.ChaCha20Poly1305, Compression: codec.CompressionZstd},
		"41": {Suite: codec.AES256GCM, Compression: codec.CompressionNone, Padded: true},
		"62": {Suite: codec.ChaCha20Poly1305, Compression: codec.CompressionZstd, Padded: true},
	}
	for form, want := range tests {
		want.Written, want.Expires, want.KeyID, want.Size = written, written.Add(time.Millisecond), keys.ID(bytes.Repeat([]byte{0xab}, 16)), 5
		if got, err := codec.ParseHeader(drawn(form)); err != nil || got != want {
			t.Errorf("form %s: %+v, %v; want %+v", form, got, err, want)
		}
	}
	never := drawn("01")
	clear(never[10:16])
	if h, err := codec.ParseHeader(never); err != nil || !h.Expires.IsZero() {
		t.Errorf("without an expiry: %v, %v", h.Expires, err)
	}
	last := drawn("01")
	copy(last[4:16], bytes.Repeat([]byte{0xff}, 12))
	if h, err := codec.ParseHeader(last); err != nil || h.Written.UnixMilli() != 1<<48-1 || h.Expires.UnixMilli() != 1<<48-1 {
		t.Errorf("the last times: %v, %v, %v", h.Written, h.Expires, err)
	}
	if h, err := codec.ParseHeader(drawn("01")[:codec.Overhead]); err != nil || h.Size != 0 {
		t.Errorf("without content: size %d, %v", h.Size, err)
	}
}

// TestEveryForm reads every form byte: there are twelve.
func TestEveryForm(t *testing.T) {
	accepted := 0
	for form := range 256 {
		_, err := codec.ParseHeader(drawn(hex.EncodeToString([]byte{byte(form)})))
		if err == nil {
			accepted++
		} else if refusal(err) != "form" {
			t.Errorf("form %02x: %v", form, err)
		}
	}
	if accepted != 2*3*2 {
		t.Errorf("%d forms are accepted", accepted)
	}
}

func TestETagOf(t *testing.T) {
	record := drawn("01")
	for n := range record {
		tag, ok := codec.ETagOf(record[:n])
		if ok != (n >= codec.HeaderSize) || ok && !bytes.Equal(tag[:], record[:codec.HeaderSize]) || !ok && tag != (codec.ETag{}) {
			t.Errorf("of %d bytes: %v, %x", n, ok, tag)
		}
	}
}

func TestETagsDiffer(t *testing.T) {
	s := newSource(t, document(nil))
	for _, suite := range allSuites() {
		c, seen := newCodec(t, s, codec.Options{Suite: suite}), map[codec.ETag]bool{}
		for range 1000 {
			tag, ok := codec.ETagOf(seal(t, c, binding(codec.KindValue), nil))
			if !ok || seen[tag] {
				t.Fatalf("%v: two records of one content at one time share an entity tag", suite)
			}
			seen[tag] = true
		}
	}
}

func TestKinds(t *testing.T) {
	text := map[codec.Kind]string{
		codec.KindValue: "v", codec.KindHash: "h", codec.KindSession: "s", codec.KindDenylist: "d", codec.KindOnce: "o", codec.KindJob: "q",
		codec.KindExpiry: "x", codec.KindLock: "l", codec.KindLimit: "r", codec.KindSubject: "u", codec.KindSchedule: "e", 0x80: "x80", 0xab: "xab", 0xff: "xff",
	}
	for k := range 256 {
		kind := codec.Kind(k)
		got, err := codec.ParseKind(kind.String())
		known := k >= 0x80 || text[kind] != ""
		if known != (err == nil) || known && got != kind {
			t.Errorf("%q: %v, %v", kind.String(), got, err)
		}
		if want := text[kind]; want != "" && kind.String() != want {
			t.Errorf("%q, want %q", kind.String(), want)
		}
		if want := k >= 0x80 || strings.ContainsRune("vhsdoqx", rune(k)); kind.HoldsRecords() != want {
			t.Errorf("%v holds records: %v", kind, !want)
		}
	}
	for _, s := range []string{"", "V", "z", "x7f", "xAB", "x8", "x800", "y80", "vv", "invalid", "\x80", "é"} {
		if k, err := codec.ParseKind(s); err == nil {
			t.Errorf("%q is read as %v", s, k)
		}
	}
}

func TestNamesOfConstants(t *testing.T) {
	for got, want := range map[string]string{
		codec.AES256GCM.String(): "AES-256-GCM", codec.ChaCha20Poly1305.String(): "ChaCha20-Poly1305", codec.Suite(9).String(): "invalid",
		codec.CompressionAuto.String(): "auto", codec.CompressionZstd.String(): "zstd", codec.Compression(9).String(): "invalid",
		codec.ReasonAuthentication.String(): "authentication", codec.Reason(99).String(): "unknown",
	} {
		if got != want && got != "invalid" {
			t.Errorf("%q, want %q", got, want)
		}
	}
	seen := map[string]bool{}
	for r := codec.ReasonNotRecord; r <= codec.ReasonTooLarge; r++ {
		text := (&codec.RefusedError{Reason: r}).Error()
		if seen[text] || seen[r.String()] || r.String() == "" || text == "codec: record refused: " {
			t.Errorf("reason %d has no words of its own: %q, %q", r, r, text)
		}
		seen[text], seen[r.String()] = true, true
	}
	if got := (&codec.RefusedError{Reason: 99}).Error(); got != "codec: record refused" {
		t.Errorf("an unknown reason: %q", got)
	}
}
