package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/securecache/securecache-go/codec/internal/vector"
)

// The ids of the worked example in FORMAT.md: name user:42, tag tenant-7,
// field email.
const (
	blind    = "K4Y6p3KtcaWOW8u7ltKeMg"
	blindTag = "rwlzY2P00Pg"
	fieldID  = "BfHbenyY3Jx9qkZxmmjKgQ"
	untagged = "{" + blind + "}"
)

// vec is a record under way: what is forged, and what is said about it.
type vec struct {
	vector.Forgery
	comment, expect, keyring string
	kind                     string // where it is opened, if not where it was sealed
	id, field                *string
	now                      int64
	limit                    int // of the reader, if not the usual one
	content, digest          []byte
	spoil                    func(record []byte) []byte // after sealing
}

type option func(*vec)

func (v *vec) record() *vector.Record {
	raw := v.Seal()
	if v.spoil != nil {
		raw = v.spoil(raw)
	}
	r := &vector.Record{
		Comment: v.comment, Expect: v.expect, Keyring: "keyring/" + v.keyring + ".txt", Namespace: namespace, Now: v.now, Limit: v.limit,
		Kind: v.kind, ID: v.ID, Field: v.Field, Content: v.content, Digest: v.digest, Record: raw,
	}
	if r.Kind == "" {
		r.Kind = kindText(v.Kind)
	}
	if v.id != nil {
		r.ID = *v.id
	}
	if v.field != nil {
		r.Field = *v.field
	}
	return r
}

func kindText(k byte) string {
	if k >= 0x80 {
		return "x" + hex.EncodeToString([]byte{k})
	}
	return string(rune(k))
}

// a returns a record of kind v that opens, changed by the options.
func a(comment, expect string, options ...option) *vec {
	v := &vec{
		Forgery: vector.Forgery{
			Key: first, Namespace: namespace, Form: vector.AES, Kind: 'v', ID: untagged,
			Written: present - minute, Expires: present + hour,
		},
		comment: comment, expect: expect, keyring: "ok-single", now: present,
	}
	text("a value, in clear only here")(v)
	for _, o := range options {
		o(v)
	}
	return v
}

// holds sets the content; what was said of compression and padding before
// applies to it.
func holds(content []byte) option {
	return func(v *vec) {
		v.content, v.Inner = content, content
		if v.Form&(vector.Snappy|vector.Zstd) != 0 {
			v.Inner = vector.Body(v.Form, content)
		}
		if v.Form&vector.Padded != 0 {
			v.Inner = vector.Pad(v.Inner)
		}
	}
}

func text(s string) option { return holds([]byte(s)) }

// form replaces the form byte and lays the content out anew.
func form(f byte) option {
	return func(v *vec) {
		v.Form = f
		holds(v.content)(v)
	}
}

func inner(b []byte) option   { return func(v *vec) { v.Inner = b } }
func key(k []byte) option     { return func(v *vec) { v.Key = k } }
func ring(name string) option { return func(v *vec) { v.keyring = name } }
func at(now int64) option     { return func(v *vec) { v.now = now } }
func atMost(n int) option     { return func(v *vec) { v.limit = n } }
func times(w, e int64) option { return func(v *vec) { v.Written, v.Expires = w, e } }
func place(kind byte, id, field string) option {
	return func(v *vec) { v.Kind, v.ID, v.Field = kind, id, field }
}

// moved says where the record is opened, other than where it was sealed.
func moved(kind, id, field string) option {
	return func(v *vec) { v.kind, v.id, v.field = kind, &id, &field }
}

func spoilt(do func(record []byte) []byte) option { return func(v *vec) { v.spoil = do } }

// set overwrites one byte of the record, from its end where at is negative.
func set(at int, do func(byte) byte) option {
	return spoilt(func(r []byte) []byte {
		i := at
		if i < 0 {
			i += len(r)
		}
		r[i] = do(r[i])
		return r
	})
}

func flip(b byte) byte            { return b ^ 1 }
func to(b byte) func(byte) byte   { return func(byte) byte { return b } }
func cut(n int) option            { return spoilt(func(r []byte) []byte { return r[:n] }) }
func whole(b []byte) option       { return spoilt(func([]byte) []byte { return b }) }
func prose(n int) []byte          { return bytes.Repeat([]byte("All that is sealed may be told. "), n/32+1)[:n] }
func zeros(n int) []byte          { return make([]byte, n) }
func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func records() map[string]*vector.Record {
	all := map[string]*vector.Record{}
	for _, group := range []map[string]*vec{plain(), padded(), compressed(), places(), lives(), malformed(), unauthentic(), contents(), precedence()} {
		for name, v := range group {
			if _, twice := all[name]; twice {
				panic("two vectors are called " + name)
			}
			all[name] = v.record()
		}
	}
	return all
}

var suites = map[string]byte{"aes": vector.AES, "chacha": vector.ChaCha}

// plain are records that are neither compressed nor padded.
func plain() map[string]*vec {
	all := map[string]*vec{
		"ok-example": a("the worked example of FORMAT.md", vector.OK, func(v *vec) { v.Salt = sequence(0xa0)[:16] }),
	}
	for name, s := range suites {
		for _, n := range []int{0, 1, 15, 16, 17, 64, 1024} {
			all[fmt.Sprintf("ok-%s-%d", name, n)] = a(fmt.Sprintf("%d bytes", n), vector.OK, form(s), holds(prose(n)))
		}
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		all["ok-"+name+"-bytes"] = a("content is any bytes", vector.OK, form(s), holds(every))
	}
	return all
}

func padded() map[string]*vec {
	all := map[string]*vec{}
	for name, s := range suites {
		for _, n := range []int{0, 1, 62, 63, 64, 65, 71, 72, 1023, 1024, 2000} {
			all[fmt.Sprintf("ok-%s-padded-%d", name, n)] = a(fmt.Sprintf("%d bytes, padded", n), vector.OK, form(s|vector.Padded), holds(prose(n)))
		}
	}
	p := form(vector.AES | vector.Padded)
	all["ok-padded-zeros"] = a("content ends in zeros", vector.OK, p, holds(join([]byte("x"), zeros(9))))
	all["ok-padded-80"] = a("content ends in the padding's own byte", vector.OK, p, holds([]byte{1, 0x80, 0x80}))
	all["ok-padded-short"] = a("a reader does not check how far the padding goes: none at all", vector.OK, p, inner([]byte("a value, in clear only here\x80")))
	all["ok-padded-long"] = a("nor whether it goes too far", vector.OK, p, inner(join([]byte("a value, in clear only here\x80"), zeros(200))))
	return all
}

func compressed() map[string]*vec {
	all := map[string]*vec{}
	for name, s := range suites {
		for how, c := range map[string]byte{"snappy": vector.Snappy, "zstd": vector.Zstd} {
			for _, n := range []int{1, 127, 128, 2048, 16384} {
				f := s | c
				all[fmt.Sprintf("ok-%s-%s-%d", name, how, n)] = a(fmt.Sprintf("%d bytes, compressed", n), vector.OK, form(f), holds(prose(n)))
				all[fmt.Sprintf("ok-%s-%s-padded-%d", name, how, n)] = a(fmt.Sprintf("%d bytes, compressed and padded", n), vector.OK, form(f|vector.Padded), holds(prose(n)))
			}
		}
	}
	sn, zs := form(vector.AES|vector.Snappy), form(vector.AES|vector.Zstd)
	all["ok-snappy-empty"] = a("nothing, as a snappy block", vector.OK, sn, text(""))
	all["ok-snappy-literal"] = a("a snappy block of one literal, larger than what it holds", vector.OK, sn, holds(prose(20)))
	all["ok-zstd-empty"] = a("nothing, as a zstd frame", vector.OK, zs, text(""))
	all["ok-zstd-checksum"] = a("a zstd frame with its checksum", vector.OK, zs, holds(prose(3000)),
		inner(join(vector.Uvarint(3000), vector.Frame(prose(3000), true))))
	all["ok-zstd-no-size"] = a("a zstd frame of two blocks, one raw and one run, that does not say its size", vector.OK, zs, text("rawzzzzzzzzzz"),
		inner(join(vector.Uvarint(13), []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x18, 0x00, 0x00, 'r', 'a', 'w', 0x53, 0x00, 0x00, 'z'})))
	return all
}

// places are the kinds and the shapes of ids.
func places() map[string]*vec {
	all := map[string]*vec{
		"ok-id-tagged":       a("tagged", vector.OK, place('v', "{"+blindTag+"}"+blind, "")),
		"ok-id-part":         a("a companion of the name", vector.OK, place('v', untagged+":part", "")),
		"ok-id-parts":        a("a companion of a companion", vector.OK, place('v', untagged+":a:b", "")),
		"ok-id-shard":        a("sharded", vector.OK, ring("ok-shards"), place('v', "{0b}"+blind, "")),
		"ok-id-shard-tagged": a("sharded and tagged", vector.OK, ring("ok-shards"), place('v', "{0f}"+blindTag+blind, "")),
		"ok-id-plain":        a("a plain name", vector.OK, ring("ok-plain"), place('v', "{user%3A42}", "")),
		"ok-kind-h":          a("a field of a hash: content begins with lp(field)", vector.OK, place('h', untagged, fieldID), holds(join(vector.LP("email"), []byte("ada@example.org")))),
		"ok-kind-h-empty":    a("an empty value in a field of a hash", vector.OK, place('h', untagged, fieldID), holds(vector.LP("email"))),
		"ok-kind-h-zstd":     a("a large field of a hash, compressed", vector.OK, place('h', untagged, fieldID), form(vector.AES|vector.Zstd), holds(join(vector.LP("email"), prose(4096)))),
		"ok-kind-q":          a("the payload of a job, compressed", vector.OK, place('q', untagged, ""), form(vector.AES|vector.Snappy), holds(prose(4096))),
		"ok-kind-x":          a("the payload of an expiry event", vector.OK, place('x', untagged, untagged), form(vector.AES|vector.Padded)),
		"ok-kind-x80":        a("the first kind of a user's own", vector.OK, place(0x80, untagged, "")),
		"ok-kind-xff":        a("the last kind of a user's own, padded", vector.OK, place(0xff, untagged, ""), form(vector.AES|vector.Padded)),
	}
	for _, k := range []byte("sdo") {
		all["ok-kind-"+string(rune(k))] = a("kind "+string(rune(k))+", always padded", vector.OK, place(k, untagged, ""), form(vector.AES|vector.Padded))
	}
	return all
}

// lives are about expiry, retired and destroyed keys.
func lives() map[string]*vec {
	const farthest = 1<<48 - 1
	two, forever := ring("ok-rotated"), ring("ok-forever")
	return map[string]*vec{
		"ok-expiry-last":          a("the last millisecond", vector.OK, at(present+hour-1)),
		"expired-first":           a("the first millisecond after", "expired", at(present+hour)),
		"expired-kept":            a("kept by the server far beyond its end", "expired", at(present+life)),
		"expired-forever":         a("expired where records need not expire", "expired", forever, key(second), at(present+hour)),
		"ok-expiry-none":          a("no expiry, where none is needed", vector.OK, forever, key(second), times(present-minute, 0)),
		"ok-expiry-farthest":      a("the last expiry that a record can hold", vector.OK, forever, key(second), times(present-minute, farthest)),
		"ok-written-ahead":        a("written by a fast clock", vector.OK, times(present+minute, present+hour)),
		"expiry-none":             a("no expiry, where one is needed", "expiry", times(present-minute, 0)),
		"ok-retired":              a("sealed before its key was retired", vector.OK, two, times(rotated-day, present+hour)),
		"ok-retired-written-last": a("written at the end of the retired key's allowance", vector.OK, two, times(retired+5*minute, present+hour)),
		"retired-key-written":     a("written a millisecond beyond the retired key's allowance", "retired-key", two, times(retired+5*minute+1, present+hour)),
		"ok-retired-expires-last": a("expires when the retired key's last record may", vector.OK, two, times(rotated, retired+life)),
		"retired-key-expires":     a("expires a millisecond later", "retired-key", two, times(rotated, retired+life+1)),
		"retired-key-no-expiry":   a("forged with a retired key to live for ever", "retired-key", two, times(rotated, 0)),
		"ok-primary":              a("sealed by the second key", vector.OK, two, key(second)),
		"ok-retired-forever":      a("sealed by a retired key where records need not expire", vector.OK, forever, times(rotated, 0)),
		"ok-retired-forever-far":  a("the same, with an expiry beyond anything", vector.OK, forever, times(rotated, farthest)),
		"retired-key-forever":     a("forged with a retired key where records need not expire", "retired-key", forever, times(retired+5*minute+1, 0)),
		"destroyed-key":           a("its key has been destroyed", "destroyed-key", ring("ok-destroyed"), times(rotated-day, present+hour)),
		"destroyed-key-revoked":   a("sealed before everything was revoked", "destroyed-key", ring("ok-revoked"), key(second)),
		"ok-revoked":              a("sealed after everything was revoked", vector.OK, ring("ok-revoked"), key(third)),
		"unknown-key":             a("sealed with a key that is in no keyring", "unknown-key", key(alien)),
		"unknown-key-not-yet":     a("sealed with a key that the keyring lists later", "unknown-key", key(second)),
	}
}

// malformed are refused before any key is looked for.
func malformed() map[string]*vec {
	all := map[string]*vec{
		"not-record-empty":   a("nothing", "not-record", whole(nil)),
		"not-record-cut":     a("one byte", "not-record", cut(1)),
		"not-record-text":    a("plaintext that somebody has put there", "not-record", whole([]byte(strings.Repeat("{\"admin\":true}", 10)))),
		"not-record-magic-0": a("a bit of the magic differs", "not-record", set(0, flip)),
		"not-record-magic-1": a("a bit of the magic differs", "not-record", set(1, flip)),
		"version-0":          a("version 0", "version", set(2, to(0))),
		"version-2":          a("version 2", "version", set(2, to(2))),
		"form-0":             a("suite 0", "form", set(3, to(0))),
		"form-suite-3":       a("suite 3", "form", set(3, to(3))),
		"form-suite-15":      a("suite 15", "form", set(3, to(15))),
		"form-compression-3": a("compression 3", "form", set(3, to(0x31))),
		"form-bit-7":         a("bit 7", "form", set(3, to(0x81))),
	}
	for _, n := range []int{2, 3, 4, 16, 59, 60, 75} {
		all[fmt.Sprintf("length-%d", n)] = a(fmt.Sprintf("cut to %d bytes", n), "length", cut(n))
	}
	return all
}

// unauthentic have the form of a record and do not authenticate.
func unauthentic() map[string]*vec {
	const refused = "authentication"
	pad := form(vector.AES | vector.Padded)
	all := map[string]*vec{
		"authentication-tag":             a("the last bit differs", refused, set(-1, flip)),
		"authentication-ciphertext":      a("a bit of the ciphertext differs", refused, set(60, flip)),
		"authentication-nonce":           a("a bit of the nonce differs", refused, set(48, flip)),
		"authentication-salt":            a("a bit of the salt differs", refused, set(32, flip)),
		"authentication-written":         a("a bit of written-at differs", refused, set(9, flip)),
		"authentication-expires":         a("a bit of expires-at differs: a refusal, not a miss", refused, set(12, flip)),
		"authentication-padded-bit":      a("the padded bit was set", refused, set(3, to(vector.AES|vector.Padded))),
		"authentication-compression-bit": a("a compression was claimed", refused, set(3, to(vector.AES|vector.Zstd))),
		"authentication-suite-bit":       a("the other suite was claimed", refused, set(3, to(vector.ChaCha))),
		"authentication-cut":             a("the last byte is missing", refused, spoilt(func(r []byte) []byte { return r[:len(r)-1] })),
		"authentication-longer":          a("a byte was added", refused, spoilt(func(r []byte) []byte { return append(r, 0) })),
		"authentication-76":              a("76 bytes that were never sealed", refused, spoilt(func(r []byte) []byte { return append(r[:60], zeros(16)...) })),
		"authentication-chacha":          a("the last bit differs", refused, form(vector.ChaCha), set(-1, flip)),
		"authentication-key-id":          a("the id of another key of the ring", refused, ring("ok-rotated"), func(v *vec) { v.KeyID = vector.KeyID(second, namespace) }),
		"authentication-id":              a("moved to another name", refused, moved("v", "{"+blindTag+"}"+blind, "")),
		"authentication-id-part":         a("moved to a companion of its name", refused, moved("v", untagged+":part", "")),
		"authentication-id-braces":       a("moved to its id without the braces", refused, moved("v", blind, "")),
		"authentication-kind":            a("a value, moved to the place of a user's own kind", refused, moved("x80", untagged, "")),
		"authentication-kind-session":    a("a padded value, moved to the place of a session", refused, pad, moved("s", untagged, "")),
		"authentication-field":           a("moved to another field", refused, place('h', untagged, fieldID), moved("h", untagged, blind)),
		"authentication-field-none":      a("a field, moved to where a value stands", refused, place('h', untagged, fieldID), moved("h", untagged, "")),
		"authentication-field-cut":       a("a byte moved from the field id to the id", refused, place('h', untagged, fieldID), moved("h", untagged+fieldID[:1], fieldID[1:])),
		"authentication-namespace": a("sealed for another namespace with the same key, under this one's id", refused, func(v *vec) {
			v.KeyID, v.Namespace = vector.KeyID(first, namespace), "other"
		}),
	}
	all["authentication-swapped"] = a("the header of one record before the body of another", refused, spoilt(func(r []byte) []byte {
		return append(r[:60], a("", "").Seal()[60:]...)
	}))
	all["authentication-swapped-nonce"] = a("all but the nonce of one record, with another's nonce and body", refused, spoilt(func(r []byte) []byte {
		return append(r[:48], a("", "").Seal()[48:]...)
	}))
	return all
}
