package main

import (
	"slices"

	"github.com/securecache/securecache-go/codec/internal/vector"
)

// limit is a reader's limit of content unless it is set.
const limit = 16 << 20

// contents authenticate and hold what no writer makes.
func contents() map[string]*vec {
	all := map[string]*vec{}
	for _, group := range []map[string]*vec{paddings(), kinds(), lengths(), limits(), snappies(), frames(), windows()} {
		for name, v := range group {
			all[name] = v
		}
	}
	return all
}

func paddings() map[string]*vec {
	const refused = "content"
	p := form(vector.AES | vector.Padded)
	return map[string]*vec{
		"content-padding-none":   a("no byte at all, where padding must be", refused, p, inner(nil)),
		"content-padding-zeros":  a("nothing but zeros", refused, p, inner(zeros(64))),
		"content-padding-absent": a("a text, and no padding", refused, p, inner([]byte("a value, in clear only here"))),
		"content-padding-byte":   a("a byte other than 80 before the zeros", refused, p, inner(append([]byte("value\x81"), zeros(58)...))),
		"content-padding-chacha": a("nothing but zeros", refused, form(vector.ChaCha|vector.Padded), inner(zeros(64))),
	}
}

// kinds break the rules of their kind.
func kinds() map[string]*vec {
	const refused = "content"
	all := map[string]*vec{
		"content-kind-x80-snappy": a("a user's own kind, compressed", refused, place(0x80, untagged, ""), form(vector.AES|vector.Snappy)),
	}
	for _, k := range []byte("sdox") {
		name, field := "content-kind-"+string(rune(k)), ""
		if k == 'x' {
			field = untagged
		}
		here := place(k, untagged, field)
		all[name+"-bare"] = a("of a kind that is always padded, and is not", refused, here)
		all[name+"-snappy"] = a("of a kind that is never compressed, and is", refused, here, form(vector.AES|vector.Snappy|vector.Padded))
		all[name+"-zstd"] = a("of a kind that is never compressed, and is", refused, here, form(vector.AES|vector.Zstd|vector.Padded))
	}
	return all
}

// lengths are about the raw length before a compressed body.
func lengths() map[string]*vec {
	const refused = "content"
	all := map[string]*vec{}
	for name, c := range map[string]byte{"snappy": vector.Snappy, "zstd": vector.Zstd} {
		f, content := form(vector.AES|c), prose(300)
		bodyOf := func(content []byte) []byte {
			return vector.Body(c, content)[len(vector.Uvarint(uint64(len(content)))):]
		}
		body := bodyOf(content)
		says := func(length []byte) option { return inner(join(length, body)) }
		all["content-"+name+"-empty"] = a("compressed, and nothing there", refused, f, inner(nil))
		all["content-"+name+"-length-cut"] = a("a raw length that does not end", refused, f, inner([]byte{0x80}))
		all["content-"+name+"-length-alone"] = a("a raw length, and no body", refused, f, inner(vector.Uvarint(300)))
		all["content-"+name+"-length-long"] = a("a raw length that is not minimal", refused, f, says([]byte{0xac, 0x82, 0x00}))
		all["content-"+name+"-length-0"] = a("zero in two bytes", refused, f, inner(join([]byte{0x80, 0x00}, bodyOf(nil))))
		all["content-"+name+"-length-65-bits"] = a("a raw length beyond 64 bits", refused, f, says([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}))
		all["content-"+name+"-more"] = a("a body of one byte more than it was said to be", refused, f, says(vector.Uvarint(299)))
		all["content-"+name+"-less"] = a("a body of one byte less", refused, f, says(vector.Uvarint(301)))
		all["content-"+name+"-trailer"] = a("a byte behind the body", refused, f, inner(join(vector.Uvarint(300), body, []byte{0})))
		all["content-"+name+"-cut"] = a("a body whose last byte is missing", refused, f, inner(join(vector.Uvarint(300), body[:len(body)-1])))
		all["content-"+name+"-garbage"] = a("a body of zeros", refused, f, inner(join(vector.Uvarint(300), zeros(40))))
		all["too-large-"+name+"-declared"] = a("a raw length of a byte beyond the limit", "too-large", f, says(vector.Uvarint(limit+1)))
		all["too-large-"+name+"-64-bits"] = a("the longest raw length", "too-large", f, says(vector.Uvarint(1<<64-1)))
		all["content-"+name+"-padding"] = a("compressed and padded, and no padding there", refused, form(vector.AES|c|vector.Padded), says(vector.Uvarint(300)))
	}
	return all
}

// limits are about readers with a limit of their own.
func limits() map[string]*vec {
	all := map[string]*vec{}
	for name, f := range map[string]byte{"plain": 0, "padded": vector.Padded, "snappy": vector.Snappy, "zstd": vector.Zstd, "zstd-padded": vector.Zstd | vector.Padded} {
		v := []option{form(vector.AES | f), holds(prose(300))}
		all["ok-limit-"+name] = a("content as long as the reader allows", vector.OK, append(v, atMost(300))...)
		all["too-large-limit-"+name] = a("a byte more than the reader allows", "too-large", append(v, atMost(299))...)
	}
	return all
}

func snappies() map[string]*vec {
	f := form(vector.AES | vector.Snappy)
	block := func(raw uint64, b ...byte) option { return inner(append(vector.Uvarint(raw), b...)) }
	return map[string]*vec{
		"content-snappy-bomb":               a("a block of 4 GiB, said to hold 300 bytes", "content", f, block(300, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xfe, 1, 0)),
		"content-snappy-offset":             a("a copy from before the beginning", "content", f, block(5, 5, 0x00, 'a', 0x01, 2)),
		"content-snappy-offset-0":           a("a copy from nowhere", "content", f, block(5, 5, 0x00, 'a', 0x0e, 0, 0)),
		"content-snappy-own-length-6-bytes": a("the block's own length in six bytes", "content", f, block(5, 0x85, 0x80, 0x80, 0x80, 0x80, 0, 0x10, 's', 'h', 'o', 'r', 't')),
		"ok-snappy-own-length-5-bytes":      a("the block's own length in five bytes, where one would do", vector.OK, f, text("short"), block(5, 0x85, 0x80, 0x80, 0x80, 0, 0x10, 's', 'h', 'o', 'r', 't')),
		"content-snappy-s2":                 a("a repeated offset, which S2 has and Snappy has not", "content", f, block(10, 10, 0x04, 'a', 'b', 0x01, 2, 0x01, 0)),
	}
}

// precedence has vectors that fail in two ways: the order of the checks says
// which counts.
func precedence() map[string]*vec {
	bad := form(vector.AES | vector.Padded)
	old := times(present-2*hour, present-hour)
	return map[string]*vec{
		"order-not-record-length":            a("no magic, and too short", "not-record", spoilt(func(r []byte) []byte { r[0] = 0; return r[:3] })),
		"order-version-form":                 a("a version unknown, which may have other forms", "version", spoilt(func(r []byte) []byte { r[2], r[3] = 2, 0xff; return r })),
		"order-version-length":               a("a version unknown, which may be shorter", "version", spoilt(func(r []byte) []byte { r[2] = 2; return r[:4] })),
		"order-form-length":                  a("a form unknown, and too short", "form", spoilt(func(r []byte) []byte { r[3] = 0; return r[:4] })),
		"order-unknown-key-authentication":   a("a key unknown, and a bit of the tag differs", "unknown-key", key(alien), set(-1, flip)),
		"order-destroyed-key-authentication": a("a key destroyed, and a bit of the tag differs", "destroyed-key", ring("ok-destroyed"), set(-1, flip)),
		"order-authentication-expired":       a("expired, and a bit of the tag differs", "authentication", old, set(-1, flip)),
		"order-authentication-retired-key":   a("beyond its retired key, and a bit of the tag differs", "authentication", ring("ok-rotated"), set(-1, flip)),
		"order-retired-key-expired":          a("beyond its retired key, and expired", "retired-key", ring("ok-rotated"), times(present-2*hour, present-hour)),
		"order-expiry-content":               a("never expires, and malformed inside", "expiry", times(present, 0), bad, inner(zeros(64))),
		"order-expired-content":              a("expired, and malformed inside", "expired", old, bad, inner(zeros(64))),
		"order-expired-kind":                 a("expired, and of a kind that is always padded", "expired", old, place('s', untagged, "")),
		"order-content-too-large":            a("of a kind that is never compressed, and too large", "content", place('s', untagged, ""), form(vector.AES|vector.Snappy|vector.Padded), inner(vector.Pad(slices.Concat(vector.Uvarint(limit+1), []byte{0})))),
		"order-padding-too-large":            a("malformed padding around a length beyond the limit", "content", form(vector.AES|vector.Zstd|vector.Padded), inner(vector.Uvarint(limit+1))),
	}
}
