package codec_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
)

// TestAllocations seals and opens into buffers with room.
func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("-race: sync.Pool forgets at random there")
	}
	s := newSource(t, document(nil))
	for _, suite := range allSuites() {
		for _, o := range []codec.Options{{}, {Pad: true}, {Compression: codec.CompressionSnappy}, {Compression: codec.CompressionZstd}} {
			for _, n := range []int{84, 1024, 16384} {
				o.Suite = suite
				c := newCodec(t, s, o)
				t.Run(fmt.Sprintf("%v/%v/padded=%v/%d", suite, o.Compression, o.Pad, n), func(t *testing.T) { allocations(t, c, text(n)) })
			}
		}
	}
}

func allocations(t *testing.T, c *codec.Codec, content []byte) {
	t.Helper()
	b, expires := binding(codec.KindValue), present.Add(time.Hour)
	dst, into, again := make([]byte, 0, 32<<10), make([]byte, 0, 32<<10), make([]byte, 0, 32<<10)
	record, err := c.Seal(dst, b, expires, content)
	if err != nil {
		t.Fatal(err)
	}
	stands := make([]byte, len(record))
	header, err := codec.ParseHeader(record)
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func() error{
		"Open in place": func() error {
			if header.Compression != codec.CompressionNone {
				return nil // it takes more room than it has
			}
			_, err := c.Open(codec.InPlace(stands[:copy(stands, record)]), b, stands)
			return err
		},
		"Seal":   func() error { _, err := c.Seal(dst, b, expires, content); return err },
		"Open":   func() error { _, err := c.Open(into, b, record); return err },
		"Reseal": func() error { _, err := c.Reseal(again, b, record); return err },
	} {
		got := testing.AllocsPerRun(200, func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
		if got != 0 {
			t.Errorf("%s allocates %v times", what, got)
		}
	}
}

// keyring is a live one, as programs use it.
func keyring(b *testing.B) *keys.Keyring {
	b.Helper()
	file := keys.NewFile(b.TempDir() + "/keyring")
	if err := keys.Create(context.Background(), namespace, file, keys.InsecurePlain(), keys.Layout{}); err != nil {
		b.Fatal(err)
	}
	k, err := keys.Open(context.Background(), namespace, file, keys.InsecurePlain(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = k.Close() })
	return k
}

// bare is AES-256-GCM with a random nonce and nothing else.
func bare(b *testing.B) cipher.AEAD {
	b.Helper()
	block, err := aes.NewCipher(first)
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		b.Fatal(err)
	}
	return aead
}

var sizes = []int{84, 1024, 16384}

// BenchmarkSeal times Seal and, in turns with it, bare AES-256-GCM of the same
// bytes. The metric "x-gcm" is the ratio; its target at 1 KiB is 1.4.
func BenchmarkSeal(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, aead := liveCodec(b, codec.Options{Compression: codec.CompressionNone}), bare(b)
			content, dst, expires := text(n), make([]byte, 0, n+codec.Overhead), time.Now().Add(time.Hour)
			at := binding(codec.KindValue)
			beside(b, func() error {
				_, err := c.Seal(dst, at, expires, content)
				return err
			}, func() error {
				aead.Seal(dst, nil, content, nil)
				return nil
			})
		})
	}
}

// BenchmarkOpen is BenchmarkSeal's other half.
func BenchmarkOpen(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, aead := liveCodec(b, codec.Options{Compression: codec.CompressionNone}), bare(b)
			at := binding(codec.KindValue)
			record, err := c.Seal(nil, at, time.Now().Add(time.Hour), text(n))
			if err != nil {
				b.Fatal(err)
			}
			sealed, dst := aead.Seal(nil, nil, text(n), nil), make([]byte, 0, n)
			beside(b, func() error {
				_, err := c.Open(dst, at, record)
				return err
			}, func() error {
				_, err := aead.Open(dst, nil, sealed, nil)
				return err
			})
		})
	}
}

func liveCodec(b *testing.B, o codec.Options) *codec.Codec {
	b.Helper()
	c, err := codec.New(keyring(b), &o)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// beside runs ours and theirs in short turns and reports the ratio of their
// median turns: what else the machine does falls on both, and on few turns.
func beside(b *testing.B, ours, theirs func() error) {
	b.Helper()
	const turn = 200
	b.ReportAllocs()
	run := func(f func() error) time.Duration {
		start := time.Now()
		for range turn {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
	var our, their []time.Duration
	for b.Loop() {
		our, their = append(our, run(ours)), append(their, run(theirs))
	}
	slices.Sort(our)
	slices.Sort(their)
	median, other := our[len(our)/2], their[len(their)/2]
	b.ReportMetric(float64(median.Nanoseconds())/turn, "our-ns")
	b.ReportMetric(float64(other.Nanoseconds())/turn, "gcm-ns")
	b.ReportMetric(float64(median)/float64(other), "x-gcm")
	b.ReportMetric(0, "ns/op") // of a turn of both, which means nothing
}

// BenchmarkParallel seals and opens 1 KiB on every core at once.
func BenchmarkParallel(b *testing.B) {
	c := liveCodec(b, codec.Options{Compression: codec.CompressionNone})
	expires := time.Now().Add(time.Hour)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		dst, into, content := make([]byte, 0, 2048), make([]byte, 0, 2048), text(1024)
		for pb.Next() {
			record, err := c.Seal(dst, binding(codec.KindValue), expires, content)
			if err == nil {
				_, err = c.Open(into, binding(codec.KindValue), record)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkForms seals and opens 16 KiB in every form.
func BenchmarkForms(b *testing.B) {
	content := bytes.Join([][]byte{text(8 << 10), bytes.Repeat([]byte("0123456789abcdef"), 512)}, nil)
	for _, suite := range allSuites() {
		for _, o := range []codec.Options{{Compression: codec.CompressionNone}, {Compression: codec.CompressionNone, Pad: true}, {Compression: codec.CompressionSnappy}, {Compression: codec.CompressionZstd}} {
			o.Suite = suite
			c := liveCodec(b, o)
			expires, dst, into := time.Now().Add(time.Hour), make([]byte, 0, 32<<10), make([]byte, 0, 32<<10)
			name := fmt.Sprintf("%v/%v/padded=%v", suite, o.Compression, o.Pad)
			record, err := c.Seal(nil, binding(codec.KindValue), expires, content)
			if err != nil {
				b.Fatal(err)
			}
			b.Run("Seal/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(content)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Seal(dst, binding(codec.KindValue), expires, content); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("Open/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(content)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Open(into, binding(codec.KindValue), record); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOpenUncached opens records of ever new writers: the worst that
// reading old records can cost.
func BenchmarkOpenUncached(b *testing.B) {
	s := newSource(b, document(nil))
	records := make([][]byte, 3*codec.MostReaders)
	c := newCodec(b, s, codec.Options{})
	for i := range records {
		records[i] = seal(b, c, binding(codec.KindValue), text(1024))
		c.Exhaust(codec.AES256GCM, 0)
	}
	dst, i := make([]byte, 0, 2048), 0
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Open(dst, binding(codec.KindValue), records[i%len(records)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
