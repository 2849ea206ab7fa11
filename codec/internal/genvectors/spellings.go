package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"github.com/securecache/securecache-go/codec/internal/vector"
)

// longest is how many bytes an envelope may have.
const longest = 1 << 20

func namesID() []byte { return vector.Expand(names, 16, "securecache v1 names key id", namespace) }

// swap returns text with its only old replaced.
func swap(text []byte, old, new string) []byte {
	if bytes.Count(text, []byte(old)) != 1 {
		panic("not once in the document: " + old)
	}
	return bytes.Replace(text, []byte(old), []byte(new), 1)
}

// rewrittenDocuments are documents in a spelling that a JSON encoder would not
// choose, under a right mac.
func rewrittenDocuments() map[string]*vector.Keyring {
	d := single()
	body := encode(d.Members())
	all := map[string]*vector.Keyring{}
	opens := func(name, comment, old, new string) {
		k := good(comment, present, first, d)
		k.Stored, all[name] = d.Envelope(swap(body, old, new)), k
	}
	refuse := func(name, comment, old, new string) {
		all[name] = refused(comment, "document", d.Envelope(swap(body, old, new)))
	}
	const revision, activates, shards = `"revision":1`, `"activates":1767225600000`, `"shards":0`
	opens("ok-escapes", "a member and a text written with escapes", `"namespace":"demo"`, `"\u006eamespace":"\u0064emo"`)
	opens("ok-created-later", "a key created after it becomes active: the two are not compared", activates+`,"created":1767225600000`, activates+`,"created":1767225600001`)
	opens("ok-retired-next", "a key retired a millisecond after it becomes active", activates, activates+`,"retired":1767225600001`)
	refuse("refused-member-twice", "a member given twice", revision, revision+","+revision)
	refuse("refused-member-twice-escaped", "a member given twice, once with an escape", revision, revision+`,"\u0072evision":1`)
	refuse("refused-key-member-twice", "a member of a key given twice", activates, activates+","+activates)
	refuse("refused-layout-member-twice", "a member of the layout given twice", shards, shards+","+shards)
	refuse("refused-member-letters", "a member in other letters", `"revision"`, `"Revision"`)
	refuse("refused-member-letters-beside", "a member, and beside it the same in other letters", shards, shards+`,"Shards":0`)
	refuse("refused-member-letters-folded", "a member with a letter that is k to those who fold case", `"keys"`, "\"\u212aeys\"")
	refuse("refused-retired-null", "a retired of null", activates, activates+`,"retired":null`)
	refuse("refused-wrapped-null", "a wrapped of null", `"`+vector.Plain(first)+`"`, "null")
	refuse("refused-revision-null", "a revision of null", revision, `"revision":null`)
	refuse("refused-number-minus-0", "a zero with a sign", shards, `"shards":-0`)
	refuse("refused-number-plus", "a number with a plus sign", revision, `"revision":+1`)
	refuse("refused-number-exponent", "a number with an exponent", revision, `"revision":1e0`)
	refuse("refused-number-fraction-0", "a number with a fraction of 0", revision, `"revision":1.0`)
	refuse("refused-number-leading-0", "a number with a leading zero", revision, `"revision":01`)
	refuse("refused-utf-8", "a byte that is not UTF-8, within a wrapped key", `"plain:AAEC`, "\"plain:AAEC\xff")
	refuse("refused-utf-8-surrogate", "half a surrogate pair in UTF-8's manner", `"plain:AAEC`, "\"plain:AAEC\xed\xa0\x80")
	refuse("refused-document-bom", "a byte order mark before the document", `{"format"`, "\ufeff{\"format\"")
	return all
}

// rewrittenEnvelopes are about the text around a good document.
func rewrittenEnvelopes() map[string]*vector.Keyring {
	d := single()
	stored := d.Stored()
	mac := member("mac", envelope(stored)["mac"])
	raw, err := base64.StdEncoding.DecodeString(envelope(stored)["mac"])
	check(err)
	spaces := func(n int) []byte { return append(bytes.Clone(stored), bytes.Repeat([]byte(" "), n-len(stored))...) }
	long := good("an envelope of 1,048,576 bytes", present, first, d)
	long.Stored = spaces(longest)
	return map[string]*vector.Keyring{
		"ok-envelope-long":              long,
		"refused-envelope-long":         refused("an envelope of 1,048,577 bytes", "document", spaces(longest+1)),
		"refused-envelope-member-twice": refused("the mac given twice", "document", swap(stored, mac, mac+","+mac)),
		"refused-envelope-letters":      refused("a member of the envelope in other letters", "document", swap(stored, `"mac"`, `"MAC"`)),
		"refused-envelope-null":         refused("a mac of null", "document", swap(stored, mac, `"mac":null`)),
		"refused-envelope-bom":          refused("a byte order mark before the envelope", "document", append([]byte("\ufeff"), stored...)),
		"refused-envelope-mac-short":    refused("a mac of 31 bytes", "document", swap(stored, mac, member("mac", base64.StdEncoding.EncodeToString(raw[:31])))),
	}
}

// precedenceOfKeyrings are refused for two reasons: the order of the checks
// says which counts.
func precedenceOfKeyrings() map[string]*vector.Keyring {
	d := single()
	body := encode(d.Members())
	const (
		foreign = "vault:v1:AAAA"
		broken  = "plain:*"
	)
	key, namesKey := vector.Plain(first), vector.Plain(names)
	badMAC := func(body []byte) []byte { return flipMember(d.Envelope(body), "mac") }
	return map[string]*vector.Keyring{
		"order-rules-scheme":     refused("a rule broken, and a wrapped text of another scheme", "document", d.Envelope(swap(swap(body, `"refresh":60000`, `"refresh":0`), key, foreign))),
		"order-namespace-scheme": refused("another namespace, and a wrapped text of another scheme", "document", d.Envelope(swap(swap(body, `"namespace":"demo"`, `"namespace":"other"`), key, foreign))),
		"order-scheme-unwrap":    refused("a data key of another scheme, and a names key that does not unwrap", "scheme", d.Envelope(swap(swap(body, key, foreign), namesKey, broken))),
		"order-scheme-mac":       refused("a data key of another scheme, and a wrong mac", "scheme", badMAC(swap(body, key, foreign))),
		"order-unwrap-mac":       refused("a names key that does not unwrap, and a wrong mac", "unwrap", badMAC(swap(body, namesKey, broken))),
		"order-mac-unwrap":       refused("a wrong mac, and a data key that does not unwrap", "document", badMAC(swap(body, key, broken))),
	}
}

// envelope reads what Document.Envelope has written.
func envelope(stored []byte) map[string]string {
	var e map[string]string
	check(json.Unmarshal(stored, &e))
	return e
}

// member writes one member of an envelope.
func member(name, value string) string { return `"` + name + `":"` + value + `"` }
