package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/securecache/securecache-go/codec/internal/vector"
)

// head is the magic number of a zstd frame.
var head = []byte{0x28, 0xb5, 0x2f, 0xfd}

// block is a zstd block (RFC 8878, 3.1.1.2): size is what its header says.
func block(last bool, kind, size int, body ...byte) []byte {
	h := uint32(size)<<3 | uint32(kind)<<1
	if last {
		h |= 1
	}
	return append(binary.LittleEndian.AppendUint32(nil, h)[:3], body...)
}

const rawBlock, runBlock, compressedBlock = 0, 1, 2

// frames are zstd frames whose form is not that of one frame, and some whose is.
func frames() map[string]*vec {
	const refused = "content"
	f := form(vector.AES | vector.Zstd)
	frame := vector.Frame(prose(300), false)
	checked := vector.Frame(prose(300), true)
	checked[len(checked)-1] ^= 1
	body := func(raw uint64, parts ...[]byte) option { return inner(append(vector.Uvarint(raw), join(parts...)...)) }
	raw := []byte{0x19, 0, 0, 'r', 'a', 'w'} // the last block
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}
	return map[string]*vec{
		"content-zstd-bomb":             a("a frame of 64 MiB of zeros, said to hold 300 bytes", refused, f, body(300, vector.Frame(zeros(64<<20), false))),
		"too-large-zstd-bomb":           a("a frame of 64 MiB of zeros, and says so", "too-large", f, body(64<<20, vector.Frame(zeros(64<<20), false))),
		"content-zstd-two-frames":       a("two frames that together have the length", refused, f, body(600, frame, frame)),
		"content-zstd-empty-frame":      a("an empty frame behind the frame", refused, f, body(300, frame, vector.Frame(nil, false))),
		"content-zstd-skippable-behind": a("a skippable frame behind the frame", refused, f, body(300, frame, skippable)),
		"content-zstd-skippable-before": a("a skippable frame before the frame", refused, f, body(300, skippable, frame)),
		"content-zstd-skippable":        a("a skippable frame alone", refused, f, body(0, skippable)),
		"content-zstd-skippable-block":  a("a skippable frame that holds what an empty frame's block looks like", refused, f, body(0, []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 0, 0})),
		"content-zstd-dictionary":       a("a frame that needs a dictionary", refused, f, body(3, head, []byte{0x21, 7, 3, 0x19, 0, 0, 'r', 'a', 'w'})),
		"content-zstd-checksum":         a("a frame with a wrong checksum", refused, f, body(300, checked)),
		"content-zstd-reserved-block":   a("a block of the reserved type", refused, f, body(3, head, []byte{0x20, 3, 0x1f, 0, 0, 'r', 'a', 'w'})),
		"content-zstd-reserved-bit":     a("a frame with the reserved bit", refused, f, body(3, head, []byte{0x28, 3, 0x19, 0, 0, 'r', 'a', 'w'})),
		"content-zstd-size-greatest":    a("a content size of 2^64 − 1, which is not its size", refused, f, body(3, head, []byte{0xc0, 0x58}, bytes.Repeat([]byte{0xff}, 8), raw)),
		"ok-zstd-dictionary-0":          a("a dictionary id that is there, and is 0: no dictionary", vector.OK, f, text("raw"), body(3, head, []byte{0x21, 0, 3}, raw)),
		"ok-zstd-unused-bit":            a("a frame with the unused bit, which means nothing", vector.OK, f, text("raw"), body(3, head, []byte{0x30, 3}, raw)),
		"content-zstd-no-last":          a("a frame without a last block", refused, f, body(3, head, []byte{0x20, 3, 0x18, 0, 0, 'r', 'a', 'w'})),
	}
}

// windows are about a zstd frame's window and what must stay within it.
func windows() map[string]*vec {
	const refused = "content"
	f := form(vector.AES | vector.Zstd)
	body := func(n int, parts ...[]byte) option {
		return inner(append(vector.Uvarint(uint64(n)), join(parts...)...))
	}
	raw := block(true, rawBlock, 3, []byte("raw")...)
	kib := []byte{0, 0x00} // no content size, a window of 1 KiB
	return map[string]*vec{
		"ok-zstd-window":             a("a window of 8 MiB", vector.OK, f, text("raw"), body(3, head, []byte{0, 0x68}, raw)),
		"content-zstd-window":        a("the least window above 8 MiB", refused, f, body(3, head, []byte{0, 0x69}, raw)),
		"content-zstd-window-16-mib": a("a window of 16 MiB, the limit of content", refused, f, body(3, head, []byte{0, 0x70}, raw)),

		"ok-zstd-single-segment":        a("the content is the window: its size alone is the limit, and this is beyond 8 MiB", vector.OK, f, digest(zeros(8<<20+1)), body(8<<20+1, segment(8<<20+1))),
		"too-large-zstd-single-segment": a("the content is the window, and a byte beyond the limit", "too-large", f, body(limit+1, segment(limit+1))),
		"content-zstd-single-segment":   a("the content is the window, and not as large as was said", refused, f, body(300, segment(limit+1))),

		"ok-zstd-block-over-window":   a("a compressed block of 5 bytes for 3: a window counts as 1 KiB at least", vector.OK, f, text("raw"), body(3, head, []byte{0x20, 3}, block(true, compressedBlock, 5, 3<<3, 'r', 'a', 'w', 0))),
		"ok-zstd-block-window":        a("a block as large as the window", vector.OK, f, holds(zeros(1024)), body(1024, head, kib, block(true, runBlock, 1024, 0))),
		"content-zstd-block-run":      a("a run larger than the window", refused, f, body(1025, head, kib, block(true, runBlock, 1025, 0))),
		"content-zstd-block-raw":      a("a raw block larger than the window", refused, f, body(1025, head, kib, block(true, rawBlock, 1025, zeros(1025)...))),
		"content-zstd-block-literals": a("more literals in a block than the window has bytes", refused, f, body(1025, head, kib, block(true, compressedBlock, 4, 0x15, 0x40, 'x', 0))),

		"ok-zstd-offset":      a("a copy from the window's first byte", vector.OK, f, holds(join(bytes.Repeat([]byte("a"), 1024), bytes.Repeat([]byte("b"), 1024), []byte("bbb"))), body(2051, head, kib, far(1024))),
		"content-zstd-offset": a("a copy from before the window", refused, f, body(2051, head, kib, far(1025))),
	}
}

// segment is a frame of n zeros, in runs, of which its content is the window.
func segment(n int) []byte {
	const run = 128 << 10
	frame := binary.LittleEndian.AppendUint32(join(head, []byte{0xa0}), uint32(n))
	for ; n > run; n -= run {
		frame = append(frame, block(false, runBlock, run, 0)...)
	}
	return append(frame, block(true, runBlock, n, 0)...)
}

// far are blocks of 1024 times a, 1024 times b, and three bytes copied from an
// offset of 1021 to 2044.
func far(offset int) []byte {
	const (
		codes  = 10      // an offset's: 2^10 and ten bits
		single = 0x54    // each of the three codes is the same throughout
		end    = 1 << 10 // of the bit stream
	)
	bits := binary.LittleEndian.AppendUint16(nil, uint16(offset+3-1<<10|end))
	sequence := append([]byte{0, 1, single, 0, codes, 0}, bits...) // no literal, one sequence, a match of 3
	return join(block(false, runBlock, 1024, 'a'), block(false, runBlock, 1024, 'b'), block(true, compressedBlock, len(sequence), sequence...))
}

// digest says what must come out by its digest alone.
func digest(content []byte) option {
	return func(v *vec) {
		sum := sha256.Sum256(content)
		v.digest, v.content = sum[:], nil
	}
}
