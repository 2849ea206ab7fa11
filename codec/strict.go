package codec

import (
	"encoding/binary"

	"github.com/klauspost/compress/zstd"
)

// The decoders take more than the format allows. What other languages' readers
// would refuse is refused here too.

// isSnappy reports whether a block, which has been decoded without an error,
// keeps to Snappy's format. The decoder also takes S2's repeated offsets,
// written as one-byte offsets of zero.
func isSnappy(b []byte) bool {
	_, n := binary.Uvarint(b)
	for at := n; at < len(b); {
		switch tag := b[at]; tag & 3 {
		case 0:
			at += literalSize(tag, b[at+1:])
		case 1:
			if tag>>5 == 0 && at+1 < len(b) && b[at+1] == 0 {
				return false
			}
			at += 2
		case 2:
			at += 3
		case 3:
			at += 5
		}
	}
	return true
}

// literalSize returns the length of a literal element, tag included. Lengths
// from 61 on follow the tag in one to four little-endian bytes.
func literalSize(tag byte, rest []byte) int {
	length := int(tag >> 2)
	if length < 60 {
		return 1 + length + 1
	}
	extra := min(length-59, len(rest))
	length = 0
	for i := range extra {
		length |= int(rest[i]) << (8 * i)
	}
	return 1 + extra + length + 1
}

// singleFrame reports whether b is exactly one zstd frame (RFC 8878, 3.1.1)
// without a dictionary, of a window that the format allows, and of no other
// content size than raw. The decoder would read on into further frames, and
// takes the greatest size for an unknown one.
func singleFrame(b []byte, raw int) bool {
	var h zstd.Header
	if h.Decode(b) != nil || h.Skippable || h.DictionaryID != 0 {
		return false
	}
	// Where the content is the window, the header has no WindowSize.
	if h.WindowSize > maxWindow || h.HasFCS && h.FrameContentSize != uint64(raw) {
		return false
	}
	const blockHeader, rle = 3, 1
	at := h.HeaderSize
	for last := false; !last; {
		if len(b)-at < blockHeader {
			return false
		}
		block := int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16
		last = block&1 != 0
		size := block >> 3
		if block>>1&3 == rle {
			size = 1
		}
		at += blockHeader + size
	}
	if h.HasCheckSum {
		at += 4
	}
	return at == len(b)
}
