package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// needles finds any of many texts, in any of the forms that plaintext is likely
// to leak in, in one pass.
type needles struct {
	begins [1 << 16]bool // by the first two bytes
	byHead map[uint32][]needle
}

type needle struct{ of, form, text string }

// leastNeedle is how short a text may be, in any form, that does not occur by
// chance.
const leastNeedle = 7

// stringsIn matches the strings of a JSON text that need no unescaping.
var stringsIn = regexp.MustCompile(`"([^"\\]+)"`)

// newNeedles looks for texts, and for every string in those that are JSON.
func newNeedles(texts ...string) *needles {
	n := &needles{byHead: map[uint32][]needle{}}
	for _, text := range texts {
		n.add(text)
		if json.Valid([]byte(text)) {
			for _, m := range stringsIn.FindAllStringSubmatch(text, -1) {
				n.add(m[1])
			}
		}
	}
	return n
}

func (n *needles) add(text string) {
	if len(text) < leastNeedle {
		return
	}
	for form, shape := range forms(text) {
		if len(shape) < leastNeedle {
			continue
		}
		head := binary.BigEndian.Uint32([]byte(shape))
		n.begins[head>>16] = true
		n.byHead[head] = append(n.byHead[head], needle{text, form, shape})
	}
}

// forms are the ways in which a text may stand in a larger one. Base64 has
// three, by where in the larger text it begins; their ends mix with what stands
// beside it and are left out.
func forms(text string) map[string]string {
	quoted, _ := json.Marshal(text) // a string always marshals
	f := map[string]string{
		"plain":   text,
		"hex":     hex.EncodeToString([]byte(text)),
		"HEX":     strings.ToUpper(hex.EncodeToString([]byte(text))),
		"JSON":    strings.Trim(string(quoted), `"`),
		"query":   url.QueryEscape(text),
		"path":    url.PathEscape(text),
		"escaped": strings.Trim(strconv.Quote(text), `"`),
	}
	for skip := range 3 {
		before := strings.Repeat("\x00", skip)
		whole := (skip + len(text)) / 3 * 4
		first := (skip + 2) / 3 * 4
		at := "at " + strconv.Itoa(skip)
		f["base64 "+at] = base64.StdEncoding.EncodeToString([]byte(before + text))[first:whole]
		f["base64url "+at] = base64.URLEncoding.EncodeToString([]byte(before + text))[first:whole]
	}
	return f
}

// find returns what stands in data: texts by their forms.
func (n *needles) find(data []byte) map[string]bool {
	found := map[string]bool{}
	for i := 0; i+4 <= len(data); i++ {
		if !n.begins[int(data[i])<<8|int(data[i+1])] {
			continue
		}
		for _, needle := range n.byHead[binary.BigEndian.Uint32(data[i:])] {
			if bytes.HasPrefix(data[i:], []byte(needle.text)) {
				found[needle.form+": "+needle.of] = true
			}
		}
	}
	return found
}

// unescape undoes what MONITOR does to what is not printable.
func unescape(log []byte) []byte {
	control := map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'a': '\a', 'b': '\b'}
	out := make([]byte, 0, len(log))
	for i := 0; i < len(log); i++ {
		if log[i] != '\\' || i+1 == len(log) {
			out = append(out, log[i])
			continue
		}
		i++
		b := log[i]
		if c, ok := control[b]; ok {
			b = c
		} else if b == 'x' && i+2 < len(log) {
			_, _ = hex.Decode(out[len(out):len(out)+1], log[i+1:i+3]) // the server writes hex there
			b, i = out[:len(out)+1][len(out)], i+2
		}
		out = append(out, b)
	}
	return out
}

func TestNeedlesAreFoundInEveryForm(t *testing.T) {
	const text = `Ada "the countess" Lindqvist/42`
	n := newNeedles(text)
	for form, shape := range forms(text) {
		if found := n.find([]byte("\x00noise" + shape + "noise\xff")); len(found) == 0 {
			t.Errorf("%s is not found", form)
		}
	}
	for before := range 5 {
		whole := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + text + "tail"))
		if len(n.find([]byte(whole))) == 0 {
			t.Errorf("not found in base64 behind %d bytes", before)
		}
	}
	if found := n.find([]byte("nothing of the kind, Ada")); len(found) > 0 {
		t.Errorf("found %v in what has none", found)
	}
}

func TestNeedlesLookIntoJSON(t *testing.T) {
	n := newNeedles(`{"email":"ada@example.com","deep":[{"token":"demo-token"}]}`)
	for _, text := range []string{"ada@example.com", "demo-token"} {
		if len(n.find([]byte("x"+text+"x"))) == 0 {
			t.Errorf("%s is not looked for", text)
		}
	}
}

func TestUnescape(t *testing.T) {
	const log = `"set" "k" "{\"a\":1}\x00\xffB\\x41\n"`
	const want = "\"set\" \"k\" \"{\"a\":1}\x00\xffB\\x41\n\""
	if got := string(unescape([]byte(log))); got != want {
		t.Errorf("unescape = %q, want %q", got, want)
	}
}
