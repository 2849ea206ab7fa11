package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/securecache/securecache-go/codec/internal/vector"
)

const (
	namespace = "demo"

	minute = int64(60_000)
	hour   = 60 * minute
	day    = 24 * hour
	life   = 90 * day // max_life of every keyring but those that say otherwise

	created = int64(1767225600000) // 2026-01-01T00:00:00Z
	rotated = created + 30*day     // the second key seals from here
	retired = rotated + hour       // the first one's
	present = rotated + 10*day     // now, where nothing else is said
)

// The keys are those of the worked example in FORMAT.md, and the like.
var (
	first  = sequence(0x00)
	names  = sequence(0x20)
	second = sequence(0x40)
	third  = sequence(0x60)
	alien  = sequence(0x80) // in no keyring
)

func sequence(from byte) []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = from + byte(i)
	}
	return key
}

func single() vector.Document {
	return vector.Document{
		Namespace: namespace, Revision: 1, Names: names, NamesCreated: created, MaxLife: life,
		Keys: []vector.Entry{{Key: first, Created: created, Activates: created}},
	}
}

func twoKeys() vector.Document {
	d := single()
	d.Revision = 2
	d.Keys[0].Retired = retired
	d.Keys = append(d.Keys, vector.Entry{Key: second, Created: rotated - 7*minute, Activates: rotated})
	return d
}

// with returns d, changed.
func with(d vector.Document, change func(*vector.Document)) vector.Document {
	d.Keys = slices.Clone(d.Keys)
	change(&d)
	return d
}

func keyrings() map[string]*vector.Keyring {
	all := goodKeyrings()
	for name, k := range refusedDocuments() {
		all[name] = k
	}
	for _, group := range []map[string]*vector.Keyring{refusedMembers(), rewrittenDocuments(), rewrittenEnvelopes(), precedenceOfKeyrings()} {
		for name, k := range group {
			all[name] = k
		}
	}
	for name, k := range all {
		k.Namespace, k.Scheme = namespace, "plain"
		if name == "refused-namespace-asked" {
			k.Namespace = "other"
		}
		if k.Now == 0 {
			k.Now = present
		}
	}
	return all
}

func good(comment string, now int64, primary []byte, d vector.Document) *vector.Keyring {
	return &vector.Keyring{
		Comment: comment, Expect: vector.OK, Now: now,
		Primary: hex.EncodeToString(vector.KeyID(primary, namespace)), Stored: d.Stored(),
	}
}

func goodKeyrings() map[string]*vector.Keyring {
	return map[string]*vector.Keyring{
		"ok-single":         good("as it is after creation", present, first, single()),
		"ok-rotated":        good("rotated once", present, second, twoKeys()),
		"ok-rotated-before": good("rotated, and the new key does not seal yet", rotated-1, first, twoKeys()),
		"ok-rotated-from":   good("the new key seals from the first millisecond of activates", rotated, second, twoKeys()),
		"ok-destroyed": good("the first key has been destroyed", present, second, with(twoKeys(), func(d *vector.Document) {
			d.Revision, d.Keys[0].Destroyed = 3, true
		})),
		"ok-revoked": good("everything revoked: one new key, never announced", present, third, with(twoKeys(), func(d *vector.Document) {
			d.Revision, d.Keys[0].Destroyed, d.Keys[1].Destroyed = 3, true, true
			d.Keys = append(d.Keys, vector.Entry{Key: third, Created: present, Activates: present})
		})),
		"ok-slow-clock": good("no key is active yet: the first that will be seals", created-1, first, twoKeys()),
		"ok-tie": good("two keys become active together: the greater id seals", present, greater(first, second), with(twoKeys(), func(d *vector.Document) {
			d.Keys[0].Retired, d.Keys[0].Activates = 0, rotated
		})),
		"ok-forever": good("max_life is 0: records need not expire", present, second, with(twoKeys(), func(d *vector.Document) { d.MaxLife = 0 })),
		"ok-plain":   good("plain names", present, first, with(single(), func(d *vector.Document) { d.NamesLayout = "plain" })),
		"ok-shards":  good("names over 16 shards, and another prefix", present, first, with(single(), func(d *vector.Document) { d.Shards, d.Prefix = 16, "app-1" })),
		"ok-layout":  good("a keyring that processes re-read every second", present, first, with(single(), func(d *vector.Document) { d.Refresh, d.MaxOffline = 1000, 1000 })),
		"ok-spacing": {
			Comment: "white space and another order of members, in envelope and document", Expect: vector.OK,
			Primary: hex.EncodeToString(vector.KeyID(first, namespace)), Stored: spaced(single()),
		},
	}
}

func greater(a, b []byte) []byte {
	if bytes.Compare(vector.KeyID(a, namespace), vector.KeyID(b, namespace)) > 0 {
		return a
	}
	return b
}

// spaced returns d as another writer may lay it out.
func spaced(d vector.Document) []byte {
	m := d.Members()
	body := []byte("\n{ ")
	for i, name := range []string{"layout", "names", "keys", "revision", "namespace", "format"} {
		if i > 0 {
			body = append(body, " ,\t"...)
		}
		body = append(body, indent(name)...)
		body = append(body, " :\r\n"...)
		body = append(body, indent(m[name])...)
	}
	e := envelope(d.Envelope(append(body, "}\n"...)))
	return []byte("{\n  \"mac\": \"" + e["mac"] + "\",\n  \"document\": \"" + e["document"] + "\"\n}\n")
}

func indent(v any) []byte {
	text, err := json.MarshalIndent(v, "", "  ")
	check(err)
	return text
}

func check(err error) {
	if err != nil {
		panic(err) // a fault of this program
	}
}

func refused(comment, class string, stored []byte) *vector.Keyring {
	return &vector.Keyring{Comment: comment, Expect: class, Stored: stored}
}

// refusedDocuments are refused whatever the document says.
func refusedDocuments() map[string]*vector.Keyring {
	d := single()
	stored := d.Stored()
	other := with(d, func(d *vector.Document) { d.Names = second })
	return map[string]*vector.Keyring{
		"refused-mac":              refused("one bit of the mac differs", "document", flipMember(stored, "mac")),
		"refused-changed":          refused("max_life was changed and the mac was not", "document", graft(with(d, func(d *vector.Document) { d.MaxLife++ }), stored)),
		"refused-other-names-mac":  refused("the mac was made with another names key", "document", graft(d, other.Stored())),
		"refused-namespace-asked":  refused("the keyring of demo, where other's was asked for", "document", stored),
		"refused-not-json":         refused("not JSON", "document", []byte("securecache")),
		"refused-empty":            refused("an empty file", "document", nil),
		"refused-cut":              refused("the last byte is missing", "document", stored[:len(stored)-1]),
		"refused-envelope-trailer": refused("something follows the envelope", "document", append(slices.Clone(stored), "{}"...)),
		"refused-envelope-member":  refused("an unknown member in the envelope", "document", bytes.Replace(stored, []byte("{"), []byte(`{"note":"x",`), 1)),
		"refused-envelope-base64":  refused("the document's base64 has no padding", "document", unpadded(d)),
		"refused-document-trailer": refused("something follows the document, under a right mac", "document", d.Envelope(append(encode(d.Members()), '1'))),
		"refused-document-array":   refused("the document is an array", "document", d.Envelope([]byte("[]"))),
	}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	check(err)
	return b
}

// graft puts d's document under the mac of stored.
func graft(d vector.Document, stored []byte) []byte {
	to := envelope(d.Stored())
	to["mac"] = envelope(stored)["mac"]
	return encode(to)
}

func flipMember(stored []byte, name string) []byte {
	e := envelope(stored)
	raw, err := base64.StdEncoding.DecodeString(e[name])
	check(err)
	raw[0] ^= 1
	e[name] = base64.StdEncoding.EncodeToString(raw)
	return encode(e)
}

// unpadded returns d with base64 that lacks its padding; spaces make sure that
// there is some.
func unpadded(d vector.Document) []byte {
	body := encode(d.Members())
	for len(body)%3 == 0 {
		body = append(body, ' ')
	}
	e := envelope(d.Envelope(body))
	e["document"] = string(bytes.TrimRight([]byte(e["document"]), "="))
	return encode(e)
}

// spoiltMembers are members that are not as they must be: what the vector is
// called and says, the class of its refusal, the object that the member is in,
// and its value; nil for none.
var spoiltMembers = []struct {
	name, comment, class, where, member string
	value                               any
}{
	{"unknown-member", "an unknown member in the document", "document", "document", "note", "x"},
	{"unknown-key-member", "an unknown member in a key", "document", "key", "note", "x"},
	{"unknown-names-member", "an unknown member in names", "document", "names", "note", "x"},
	{"unknown-layout-member", "an unknown member in the layout", "document", "layout", "note", "x"},
	{"format", "a later format", "document", "document", "format", "securecache/keyring/2"},
	{"namespace", "the document of another namespace", "document", "document", "namespace", "other"},
	{"no-namespace", "no namespace", "document", "document", "namespace", nil},
	{"revision-0", "revision 0", "document", "document", "revision", 0},
	{"revision-text", "a revision that is text", "document", "document", "revision", "1"},
	{"revision-fraction", "a revision that is no integer", "document", "document", "revision", 1.5},
	{"revision-large", "a revision beyond 2^53 − 1", "document", "document", "revision", int64(1) << 53},
	{"no-keys", "no data key", "document", "document", "keys", []any{}},
	{"keys-absent", "no list of data keys", "document", "document", "keys", nil},
	{"all-destroyed", "every data key has been destroyed", "document", "key", "wrapped", nil},
	{"no-names", "no names key", "document", "document", "names", nil},
	{"names-destroyed", "the names key is not wrapped", "document", "names", "wrapped", nil},
	{"no-activates", "a key without activates", "document", "key", "activates", nil},
	{"activates-large", "a time beyond 48 bits", "document", "key", "activates", int64(1) << 48},
	{"activates-negative", "a time before 1970", "document", "key", "activates", -1},
	{"id-upper-case", "an id in upper case", "document", "key", "id", upper(vector.KeyID(first, namespace))},
	{"id-short", "an id of 15 bytes", "document", "key", "id", hex.EncodeToString(vector.KeyID(first, namespace)[1:])},
	{"id-of-another-key", "a data key under an id that is not its own", "unwrap", "key", "id", hex.EncodeToString(vector.KeyID(second, namespace))},
	{"key-swapped", "another data key under the id", "unwrap", "key", "wrapped", vector.Plain(second)},
	{"key-short", "a data key of 31 bytes", "unwrap", "key", "wrapped", vector.Plain(first[1:])},
	{"key-base64", "a wrapped key that is not base64", "unwrap", "key", "wrapped", "plain:*"},
	{"names-swapped", "a data key in the place of the names key", "unwrap", "names", "wrapped", vector.Plain(first)},
	{"scheme-key", "a data key wrapped by another scheme", "scheme", "key", "wrapped", "vault:v1:AAAA"},
	{"scheme-names", "the names key wrapped by another scheme", "scheme", "names", "wrapped", "vault:v1:AAAA"},
	{"scheme-none", "a wrapped text without a scheme", "scheme", "key", "wrapped", "AAAA"},
	{"no-layout", "no layout", "document", "document", "layout", nil},
	{"no-max-life", "no max_life", "document", "layout", "max_life", nil},
	{"max-life-negative", "a negative max_life", "document", "layout", "max_life", -1},
	{"max-life-long", "a max_life beyond 100 years", "document", "layout", "max_life", 36_500*day + 1},
	{"no-refresh", "no refresh", "document", "layout", "refresh", nil},
	{"refresh-0", "a refresh interval of 0", "document", "layout", "refresh", 0},
	{"max-offline-short", "a max_offline shorter than refresh", "document", "layout", "max_offline", minute - 1},
	{"no-shards", "no shards", "document", "layout", "shards", nil},
	{"shards-3", "a number of shards that is no power of two", "document", "layout", "shards", 3},
	{"shards-512", "more than 256 shards", "document", "layout", "shards", 512},
	{"names-layout", "names neither blind nor plain", "document", "layout", "names", "hashed"},
	{"prefix", "a prefix with a colon", "document", "layout", "prefix", "s:c"},
	{"prefix-empty", "an empty prefix", "document", "layout", "prefix", ""},
	{"prefix-long", "a prefix of 33 characters", "document", "layout", "prefix", "sssssssssssssssssssssssssssssssss"},
	{"id-zero", "an id of zeros", "document", "key", "id", strings.Repeat("0", 32)},
	{"names-id-zero", "a names key with an id of zeros", "document", "names", "id", strings.Repeat("0", 32)},
	{"id-of-names-key", "a data key under the id of the names key", "document", "key", "id", hex.EncodeToString(namesID())},
	{"retired-equal", "a key retired when it becomes active", "document", "key", "retired", created},
	{"retired-before", "a key retired before it becomes active", "document", "key", "retired", created - 1},
	{"wrapped-empty", "a wrapped key that is an empty text", "document", "key", "wrapped", ""},
	{"key-empty", "a scheme, and nothing behind it", "unwrap", "key", "wrapped", "plain:"},
	{"names-empty", "a scheme, and nothing behind it, for the names key", "unwrap", "names", "wrapped", "plain:"},
	{"scheme-alone", "a scheme without its colon", "scheme", "key", "wrapped", "plain"},
}

// refusedMembers have one member that is not as it must be, under a right mac.
func refusedMembers() map[string]*vector.Keyring {
	all := map[string]*vector.Keyring{}
	for _, s := range spoiltMembers {
		all["refused-"+s.name] = refusedMember(s.comment, s.class, func(in map[string]map[string]any) {
			if in[s.where][s.member] = s.value; s.value == nil {
				delete(in[s.where], s.member)
			}
		})
	}
	all["refused-id-twice"] = refusedMember("one id listed twice", "document", func(in map[string]map[string]any) {
		in["document"]["keys"] = []any{in["key"], in["key"]}
	})
	return all
}

// refusedMember spoils the document of one key, by the names of its objects.
func refusedMember(comment, class string, spoil func(in map[string]map[string]any)) *vector.Keyring {
	d := single()
	m := d.Members()
	spoil(map[string]map[string]any{
		"document": m, "key": m["keys"].([]any)[0].(map[string]any),
		"names": m["names"].(map[string]any), "layout": m["layout"].(map[string]any),
	})
	return refused(comment, class, d.Envelope(encode(m)))
}

func upper(b []byte) string { return string(bytes.ToUpper([]byte(hex.EncodeToString(b)))) }
