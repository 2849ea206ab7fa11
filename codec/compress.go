package codec

import (
	"encoding/binary"
	"errors"
	"runtime"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression is how a record's content is compressed.
type Compression byte

const (
	// CompressionAuto compresses from 2 KiB on, with snappy. In Options only.
	CompressionAuto Compression = iota
	// CompressionNone leaves content as it is.
	CompressionNone
	// CompressionSnappy is one snappy block, fast.
	CompressionSnappy
	// CompressionZstd is one zstd frame (RFC 8878), smaller.
	CompressionZstd
)

const (
	autoFrom = 2 << 10
	// Saving less is not worth a reader's time.
	worthwhile = 16
	// RFC 8878 recommends that decoders support windows up to 8 MB. Where a
	// frame has its content for a window, MaxValue is the limit.
	maxWindow = 8 << 20
)

// String returns the compression's name.
func (c Compression) String() string {
	if int(c) >= len(compressions) {
		return "invalid"
	}
	return compressions[c]
}

var compressions = [...]string{"auto", "none", "snappy", "zstd"}

// zstdCodec hides its state, which may hold plaintext, from fmt.
type zstdCodec struct {
	most   func(n int) int                    // how long n bytes are at most, compressed
	append func(dst, src []byte) []byte       // compresses
	decode func(dst, src []byte) (int, error) // expands into dst, at most as long as it is
}

func newZstd(maxValue int) (zstdCodec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(maxWindow))
	if err != nil {
		return zstdCodec{}, err
	}
	// These bound the decoder's own memory; what it writes is bounded by the
	// capacity that decode gives it.
	limit := uint64(max(maxValue, maxWindow))
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(limit), zstd.WithDecoderMaxWindow(limit))
	if err != nil {
		return zstdCodec{}, err
	}
	return zstdCodec{
		most:   enc.MaxEncodedSize,
		append: func(dst, src []byte) []byte { return enc.EncodeAll(src, dst) },
		decode: func(dst, src []byte) (int, error) {
			if !singleFrame(src, len(dst)) {
				return 0, errors.New("not one zstd frame of this format")
			}
			out, err := dec.DecodeAll(src, dst[:0:len(dst)])
			return len(out), err
		},
	}, nil
}

// compress returns what of a record's content goes into it and how that is
// compressed: [uvarint of the raw length, body], or the content as it is.
func (c *Codec) compress(s *scratch, k Kind, content []byte) ([]byte, Compression) {
	how := c.options.Compression
	if how == CompressionAuto && len(content) >= autoFrom {
		how = CompressionSnappy
	}
	var most int
	switch {
	case !k.compressible() || how <= CompressionNone:
		return content, CompressionNone
	case how == CompressionSnappy:
		most = s2.MaxEncodedLen(len(content))
	default:
		most = c.zstd.most(len(content))
	}
	s.inner = room(s.inner, binary.MaxVarintLen64+most)
	body := binary.AppendUvarint(s.inner[:0], uint64(len(content)))
	if how == CompressionSnappy {
		body = body[:len(body)+len(s2.EncodeSnappy(body[len(body):], content))]
	} else {
		body = c.zstd.append(body, content)
	}
	if (len(content)-len(body))*worthwhile < len(content) {
		return content, CompressionNone
	}
	return body, how
}

// expand appends the content of an authenticated record's body to dst. It
// never writes beyond the length that the body declares.
func (c *Codec) expand(dst, record, body []byte) ([]byte, error) {
	how := compressionOf(record[formAt])
	if how == CompressionNone {
		return append(dst, body...), nil
	}
	raw, n := binary.Uvarint(body)
	if n <= 0 || n > 1 && body[n-1] == 0 { // cut short, beyond 64 bits, or not minimal
		return nil, refuse(record, ReasonContent)
	}
	if raw > uint64(c.options.MaxValue) {
		return nil, refuse(record, ReasonTooLarge)
	}
	body = body[n:]
	if how == CompressionSnappy {
		if size, err := s2.DecodedLen(body); err != nil || uint64(size) != raw {
			return nil, refuse(record, ReasonContent)
		}
	}
	dst = slices.Grow(dst, int(raw))
	content := dst[len(dst) : len(dst)+int(raw) : len(dst)+int(raw)]
	if !c.decode(how, content, body) {
		clear(content)
		return nil, refuse(record, ReasonContent)
	}
	return dst[:len(dst)+len(content)], nil
}

// decode fills content from body and reports whether that came out exactly.
func (c *Codec) decode(how Compression, content, body []byte) bool {
	if how == CompressionSnappy {
		out, err := s2.Decode(content, body)
		return err == nil && len(out) == len(content) && isSnappy(body)
	}
	n, err := c.zstd.decode(content, body)
	return err == nil && n == len(content)
}
