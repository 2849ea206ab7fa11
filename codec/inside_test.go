package codec_test

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/codec/internal/vector"
)

func TestPaddedSize(t *testing.T) {
	for n, want := range map[int]int{0: 64, 1: 64, 62: 64, 63: 64, 64: 72, 71: 72, 72: 80, 99: 104, 999: 1024, 1023: 1024, 1024: 1088, 16384: 17408} {
		if got := codec.PaddedSize(n); got != want {
			t.Errorf("%d bytes are padded to %d, want %d", n, got, want)
		}
	}
	sizes := map[int]bool{}
	for n := range 1 << 20 {
		size := codec.PaddedSize(n)
		sizes[size] = true
		if size < n+1 || size < 64 {
			t.Fatalf("%d bytes are padded to %d, which is too short", n, size)
		}
		if n >= 64 && (size-n-1)*100 > 12*(n+1) {
			t.Fatalf("%d bytes are padded to %d, which is too long", n, size)
		}
		if n%9973 == 0 && size != len(vector.Pad(make([]byte, n))) {
			t.Fatalf("%d bytes are padded to %d, elsewhere to %d", n, size, len(vector.Pad(make([]byte, n))))
		}
	}
	if len(sizes) > 300 {
		t.Errorf("a million lengths become %d sizes", len(sizes))
	}
}

func TestPaddingHidesLengths(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	for n := range 64 {
		if got := len(seal(t, c, binding(codec.KindSession), text(n))); got != codec.Overhead+64 {
			t.Errorf("a session of %d bytes is a record of %d", n, got)
		}
	}
}

// TestBombs opens records that are small and would be large, and looks at the
// memory that takes.
func TestBombs(t *testing.T) {
	const limit, most = 64 << 10, 1 << 20
	zeros := make([]byte, 16<<20)
	frame, block := vector.Frame(zeros, false), s2.EncodeSnappy(nil, zeros)
	c := newCodec(t, newSource(t, document(nil)), codec.Options{MaxValue: limit})
	tests := []struct {
		name string
		form byte
		raw  uint64
		body []byte
		want string
	}{
		{"zstd, declared", vector.Zstd, 16 << 20, frame, "too-large"},
		{"zstd, declared as the limit", vector.Zstd, limit, frame, "content"},
		{"zstd, declared as nothing", vector.Zstd, 0, frame, "content"},
		{"zstd, without a declared size", vector.Zstd, limit, undeclared(500), "content"},
		{"zstd, twice the limit", vector.Zstd, limit, vector.Frame(zeros[:2*limit], false), "content"},
		{"zstd, a byte beyond the limit", vector.Zstd, limit + 1, vector.Frame(zeros[:limit+1], false), "too-large"},
		{"zstd, the limit", vector.Zstd, limit, vector.Frame(zeros[:limit], false), "ok"},
		{"snappy, declared", vector.Snappy, 16 << 20, block, "too-large"},
		{"snappy, declared as the limit", vector.Snappy, limit, block, "content"},
		{"snappy, a byte beyond the limit", vector.Snappy, limit + 1, s2.EncodeSnappy(nil, zeros[:limit+1]), "too-large"},
		{"snappy, the limit", vector.Snappy, limit, s2.EncodeSnappy(nil, zeros[:limit]), "ok"},
		{"snappy, whose block says more", vector.Snappy, limit, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0}, "content"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			record := vector.Forgery{
				Key: second, Namespace: namespace, Form: vector.AES | tt.form, Kind: 'v', ID: someID,
				Written: present.UnixMilli(), Expires: present.Add(time.Hour).UnixMilli(),
				Inner: append(vector.Uvarint(tt.raw), tt.body...),
			}.Seal()
			dst := make([]byte, 0, len(record)+limit)
			if _, err := c.Open(dst, binding(codec.KindValue), record); refusal(err) != tt.want {
				t.Fatalf("Open: %v, want %s", err, tt.want)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.Open(nil, binding(codec.KindValue), record)
			runtime.ReadMemStats(&after)
			if refusal(err) != tt.want {
				t.Fatalf("Open: %v, want %s", err, tt.want)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > most+4*uint64(len(record)) {
				t.Errorf("Open took %d bytes of memory for a record of %d", took, len(record))
			}
		})
	}
}

// undeclared is a zstd frame of so many runs of 128 KiB, of which its header
// says nothing.
func undeclared(runs int) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}
	for i := range runs {
		header := uint32(128<<10)<<3 | 1<<1
		if i == runs-1 {
			header |= 1
		}
		frame = append(frame, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return frame
}

// TestZstdWindows looks at the frames that are written: no reader of the format
// need take a window above 8 MiB.
func TestZstdWindows(t *testing.T) {
	const most = 8 << 20
	c := newCodec(t, newSource(t, document(nil)), codec.Options{Compression: codec.CompressionZstd})
	for _, n := range []int{3000, most, most + 1, 12 << 20} {
		content := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
		inner, _, err := vector.Forgery{Key: second, Namespace: namespace, Kind: 'v', ID: someID}.Unseal(seal(t, c, binding(codec.KindValue), content))
		if err != nil {
			t.Fatal(err)
		}
		var h zstd.Header
		if err := h.Decode(inner[len(vector.Uvarint(uint64(n))):]); err != nil {
			t.Fatal(err)
		}
		if h.WindowSize > most || h.SingleSegment && n > most {
			t.Errorf("%d bytes: a window of %d, single segment: %t", n, h.WindowSize, h.SingleSegment)
		}
	}
}

func TestLargeValues(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: seals some hundred MiB")
	}
	s := newSource(t, document(nil))
	for _, o := range []codec.Options{{Compression: codec.CompressionNone}, {Compression: codec.CompressionNone, Pad: true}, {}, {Compression: codec.CompressionZstd, Pad: true}} {
		c := newCodec(t, s, o)
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
		record := seal(t, c, binding(codec.KindValue), content)
		got, err := c.Open(nil, binding(codec.KindValue), record)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%+v: %v, or other content", o, err)
		}
		again, err := c.Reseal(nil, binding(codec.KindValue), record)
		if err != nil || len(again) != len(record) {
			t.Errorf("%+v: Reseal: %v", o, err)
		}
		if _, err = c.Seal(nil, binding(codec.KindValue), present.Add(time.Hour), append(content, 0)); err != codec.ErrTooLarge {
			t.Errorf("%+v: a byte more: %v", o, err)
		}
	}
}
