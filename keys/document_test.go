package keys_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
)

// scene is a keyring of two data keys and what a forger could get hold of.
type scene struct {
	store   *memory
	wrapper *locker
	ring    *keys.Keyring
	names   []byte // the names key
	older   []byte // the document's text before the last change
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{}
	s.store, s.wrapper = setup(t, keys.Layout{})
	s.names = s.wrapper.last('n')
	s.ring = open(t, s.store, s.wrapper, nil)
	s.older = s.store.get()
	if _, err := s.ring.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// edited returns the document with one change and a revision further, under
// the MAC of its true names key.
func (s *scene) edited(t testing.TB, edit func(doc map[string]any)) []byte {
	doc := unseal(t, s.store.get())
	doc["revision"] = 3
	edit(doc)
	return reseal(t, s.names, doc)
}

// rewritten is edited for changes that a JSON encoder would not write.
func (s *scene) rewritten(t testing.TB, old, new string) []byte {
	var e struct{ Document []byte }
	if err := json.Unmarshal(s.store.get(), &e); err != nil {
		t.Fatal(err)
	}
	body := strings.Replace(string(e.Document), `"revision":2`, `"revision":3`, 1)
	if !strings.Contains(body, old) {
		t.Fatalf("the document has no %s", old)
	}
	return resealBytes(t, s.names, []byte(strings.Replace(body, old, new, 1)))
}

// wrapAs returns a wrapped text that the wrapper accepts under role and id.
func (s *scene) wrapAs(t testing.TB, ns, role string, id, key []byte) string {
	wrapped, err := s.wrapper.Wrap(t.Context(), key, []byte("securecache v1 wrap"+lp(ns)+role+string(id)))
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

// refusals are documents that must be refused, by whoever opens the keyring
// and by whoever has it open, and the sentinel for each.
var refusals = []struct {
	name string
	want error
	text func(t *testing.T, s *scene) []byte
}{
	{"empty", keys.ErrDocument, func(*testing.T, *scene) []byte { return []byte{} }},
	{"not JSON", keys.ErrDocument, func(*testing.T, *scene) []byte { return []byte("keyring") }},
	{"null", keys.ErrDocument, func(*testing.T, *scene) []byte { return []byte("null") }},
	{"a list", keys.ErrDocument, func(*testing.T, *scene) []byte { return []byte("[]") }},
	{"too large", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return append(s.store.get(), bytes.Repeat([]byte(" "), keys.MaxDocument)...)
	}},
	{"envelope with an unknown member", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return bytes.Replace(s.store.get(), []byte(`{`), []byte(`{"note":1,`), 1)
	}},
	{"envelope with a member twice", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return bytes.Replace(s.store.get(), []byte(`{`), []byte(`{"mac":"AAAA",`), 1)
	}},
	{"envelope in capitals", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return bytes.Replace(s.store.get(), []byte(`"mac"`), []byte(`"MAC"`), 1)
	}},
	{"envelope without a MAC", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		text, _, _ := bytes.Cut(s.store.get(), []byte(`,"mac"`))
		return append(text, '}')
	}},
	{"trailing data", keys.ErrDocument, func(t *testing.T, s *scene) []byte { return append(s.store.get(), "{}"...) }},
	{"a line break in the base64", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return bytes.Replace(s.store.get(), []byte(`"document":"`), []byte(`"document":"\n`), 1)
	}},
	{"not UTF-8", keys.ErrDocument, func(t *testing.T, s *scene) []byte { return s.rewritten(t, `"prefix":"sc"`, "\"prefix\":\"sc\xff\"") }},
	{"truncated", keys.ErrDocument, func(t *testing.T, s *scene) []byte { return s.store.get()[:200] }},

	{"MAC of another key", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return reseal(t, make([]byte, 32), unseal(t, s.store.get()))
	}},
	{"MAC of a data key", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return reseal(t, s.wrapper.last('d'), unseal(t, s.store.get()))
	}},
	{"MAC cut short", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		var e struct {
			Document []byte `json:"document"`
			MAC      []byte `json:"mac"`
		}
		if err := json.Unmarshal(s.store.get(), &e); err != nil {
			t.Fatal(err)
		}
		e.MAC = e.MAC[:16]
		text, _ := json.Marshal(e)
		return text
	}},

	{"unknown member", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) { doc["note"] = "x" })
	}},
	{"unknown member of a key", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) { entry(doc, 0)["note"] = "x" })
	}},
	{"member twice", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return s.rewritten(t, `"revision":3`, `"revision":9,"revision":3`)
	}},
	{"member in capitals", keys.ErrDocument, func(t *testing.T, s *scene) []byte { return s.rewritten(t, `"shards"`, `"Shards"`) }},
	{"member in look-alike letters", keys.ErrDocument, func(t *testing.T, s *scene) []byte { return s.rewritten(t, `"shards"`, "\"\u017fhards\"") }},
	{"trailing data inside", keys.ErrDocument, func(t *testing.T, s *scene) []byte { return s.rewritten(t, `}}`, `}} 1`) }},
	{"zero with a sign", keys.ErrDocument, func(t *testing.T, s *scene) []byte { return s.rewritten(t, `"shards":0`, `"shards":-0`) }},
	{"number with an exponent", keys.ErrDocument, func(t *testing.T, s *scene) []byte { return s.rewritten(t, `"shards":0`, `"shards":0e0`) }},
	{"null for a time", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) { entry(doc, 1)["retired"] = nil })
	}},
	{"empty wrapped", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) { entry(doc, 0)["wrapped"] = "" })
	}},
	{"number as text", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) { doc["revision"] = "3" })
	}},

	{"another format", keys.ErrDocument, set("format", "securecache/keyring/2")},
	{"another namespace", keys.ErrDocument, set("namespace", "other")},
	{"no namespace", keys.ErrDocument, unset("namespace")},
	{"revision 0", keys.ErrDocument, set("revision", 0)},
	{"negative revision", keys.ErrDocument, set("revision", -1)},
	{"revision no reader can hold", keys.ErrDocument, set("revision", 1<<53)},
	{"no revision", keys.ErrDocument, unset("revision")},
	{"no keys", keys.ErrDocument, unset("keys")},
	{"empty keys", keys.ErrDocument, set("keys", []any{})},
	{"no names key", keys.ErrDocument, unset("names")},
	{"no layout", keys.ErrDocument, unset("layout")},

	{"id twice", keys.ErrDocument, setKey(1, "id", func(doc map[string]any) any { return entry(doc, 0)["id"] })},
	{"id of the names key", keys.ErrDocument, setKey(1, "id", func(doc map[string]any) any { return member(doc, "names")["id"] })},
	{"zero id", keys.ErrDocument, setKey(1, "id", always(strings.Repeat("0", 32)))},
	{"id in capitals", keys.ErrDocument, setKey(1, "id", func(doc map[string]any) any { return strings.ToUpper(entry(doc, 1)["id"].(string) + "A")[1:] })},
	{"no id", keys.ErrDocument, setKey(1, "id", nil)},
	{"created 0", keys.ErrDocument, setKey(1, "created", always(0))},
	{"no created", keys.ErrDocument, setKey(1, "created", nil)},
	{"no activates", keys.ErrDocument, setKey(1, "activates", nil)},
	{"activates beyond 48 bits", keys.ErrDocument, setKey(1, "activates", always(1<<48))},
	{"retired 0", keys.ErrDocument, setKey(0, "retired", always(0))},
	{"retired before active", keys.ErrDocument, setKey(0, "retired", func(doc map[string]any) any { return entry(doc, 0)["activates"] })},
	{"every key destroyed", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) {
			delete(entry(doc, 0), "wrapped")
			delete(entry(doc, 1), "wrapped")
		})
	}},

	{"prefix out of its letters", keys.ErrDocument, setLayout("prefix", "a:b")},
	{"prefix too long", keys.ErrDocument, setLayout("prefix", strings.Repeat("a", 33))},
	{"no prefix", keys.ErrDocument, setLayout("prefix", nil)},
	{"names neither blind nor plain", keys.ErrDocument, setLayout("names", "hidden")},
	{"shards no power of two", keys.ErrDocument, setLayout("shards", 3)},
	{"too many shards", keys.ErrDocument, setLayout("shards", 512)},
	{"no shards", keys.ErrDocument, setLayout("shards", nil)},
	{"no max_life", keys.ErrDocument, setLayout("max_life", nil)},
	{"negative max_life", keys.ErrDocument, setLayout("max_life", -1)},
	{"max_life that would overflow", keys.ErrDocument, setLayout("max_life", 18446744073710)},
	{"no refresh", keys.ErrDocument, setLayout("refresh", nil)},
	{"refresh over max_offline", keys.ErrDocument, setLayout("refresh", 3600001)},
	{"no max_offline", keys.ErrDocument, setLayout("max_offline", nil)},

	{"names key of another scheme", keys.ErrScheme, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) {
			member(doc, "names")["wrapped"] = "plain:" + base64.StdEncoding.EncodeToString(s.names)
		})
	}},
	{"data key of another scheme", keys.ErrScheme, setKey(0, "wrapped", always("plain:AAAA"))},
	{"no scheme", keys.ErrScheme, setKey(0, "wrapped", always("AAAA"))},
	{"scheme alone", keys.ErrUnwrap, setKey(0, "wrapped", always("test:"))},

	{"names key that does not unwrap", keys.ErrUnwrap, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) { member(doc, "names")["wrapped"] = "test:AAAA" })
	}},
	{"data key that does not unwrap", keys.ErrUnwrap, setKey(0, "wrapped", always("test:AAAA"))},
	{"two data keys swapped", keys.ErrUnwrap, func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) {
			a, b := entry(doc, 0), entry(doc, 1)
			a["wrapped"], b["wrapped"] = b["wrapped"], a["wrapped"]
		})
	}},
	{"data key in the place of the names key", keys.ErrUnwrap, func(t *testing.T, s *scene) []byte {
		dek := s.wrapper.last('d')
		doc := unseal(t, s.store.get())
		doc["revision"] = 3
		names := member(doc, "names")
		names["id"] = fmt.Sprintf("%x", expand(dek, 16, "securecache v1 names key id", namespace))
		names["wrapped"] = entry(doc, 1)["wrapped"]
		return reseal(t, dek, doc)
	}},
	{"data key of another namespace", keys.ErrUnwrap, func(t *testing.T, s *scene) []byte {
		key := bytes.Repeat([]byte{7}, 32)
		id := expand(key, 16, "securecache v1 key id", namespace)
		return s.edited(t, func(doc map[string]any) {
			entry(doc, 1)["id"] = fmt.Sprintf("%x", id)
			entry(doc, 1)["wrapped"] = s.wrapAs(t, "other", "d", id, key)
		})
	}},
	{"data key that its id does not name", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		id := bytes.Repeat([]byte{9}, 16)
		return s.edited(t, func(doc map[string]any) {
			entry(doc, 1)["id"] = fmt.Sprintf("%x", id)
			entry(doc, 1)["wrapped"] = s.wrapAs(t, namespace, "d", id, bytes.Repeat([]byte{7}, 32))
		})
	}},
	{"data key of a wrong length", keys.ErrDocument, func(t *testing.T, s *scene) []byte {
		id := bytes.Repeat([]byte{9}, 16)
		return s.edited(t, func(doc map[string]any) {
			entry(doc, 1)["id"] = fmt.Sprintf("%x", id)
			entry(doc, 1)["wrapped"] = s.wrapAs(t, namespace, "d", id, bytes.Repeat([]byte{7}, 16))
		})
	}},
}

type edit = func(t *testing.T, s *scene) []byte

func set(name string, value any) edit {
	return func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) { doc[name] = value })
	}
}

func unset(name string) edit {
	return func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) { delete(doc, name) })
	}
}

func always(value any) func(map[string]any) any { return func(map[string]any) any { return value } }

// setKey changes a member of data key i, and takes it out where value is nil.
func setKey(i int, name string, value func(doc map[string]any) any) edit {
	return func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) {
			if value == nil {
				delete(entry(doc, i), name)
			} else {
				entry(doc, i)[name] = value(doc)
			}
		})
	}
}

func setLayout(name string, value any) edit {
	return func(t *testing.T, s *scene) []byte {
		return s.edited(t, func(doc map[string]any) {
			if value == nil {
				delete(member(doc, "layout"), name)
			} else {
				member(doc, "layout")[name] = value
			}
		})
	}
}

func TestDocumentsRefused(t *testing.T) {
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			before := ring(t, s.ring)
			s.store.set(test.text(t, s))
			must(t, s.ring.Refresh(t.Context()), test.want)
			if ring(t, s.ring) != before {
				t.Error("the ring in use has changed")
			}
			must(t, s.ring.Status().LastError, test.want)
			_, err := s.ring.Rotate(t.Context())
			must(t, err, test.want)
			_, err = keys.Open(t.Context(), namespace, s.store, s.wrapper, nil)
			must(t, err, test.want)
		})
	}
}

// What the refusals are made from is accepted where nothing is wrong with it.
func TestDocumentsAccepted(t *testing.T) {
	for _, test := range []struct {
		name string
		text edit
	}{
		{"one revision on", set("format", "securecache/keyring/1")},
		{"with white space", func(t *testing.T, s *scene) []byte { return s.rewritten(t, `"shards":0`, "\n\"shards\" : 0\n") }},
		{"with shards changed back", setLayout("shards", 0)},
		{"a key more", func(t *testing.T, s *scene) []byte {
			key := bytes.Repeat([]byte{7}, 32)
			id := expand(key, 16, "securecache v1 key id", namespace)
			return s.edited(t, func(doc map[string]any) {
				at := entry(doc, 1)["activates"].(float64) + 1
				doc["keys"] = append(doc["keys"].([]any), map[string]any{
					"id": fmt.Sprintf("%x", id), "created": at, "activates": at, "wrapped": s.wrapAs(t, namespace, "d", id, key),
				})
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			s.store.set(test.text(t, s))
			must(t, s.ring.Refresh(t.Context()), nil)
			if got := ring(t, s.ring).Revision(); got != 3 {
				t.Errorf("revision %d", got)
			}
			open(t, s.store, s.wrapper, nil)
		})
	}
}

// What a process that has the keyring open refuses, and one that starts cannot
// know of.
func TestDocumentsRolledBackOrReplaced(t *testing.T) {
	for _, test := range []struct {
		name string
		want error
		text edit
	}{
		{"an older document", keys.ErrRollback, func(t *testing.T, s *scene) []byte { return s.older }},
		{"the same revision, other bytes", keys.ErrRollback, func(t *testing.T, s *scene) []byte {
			doc := unseal(t, s.store.get())
			delete(entry(doc, 0), "wrapped")
			return reseal(t, s.names, doc)
		}},
		{"another layout", keys.ErrReplaced, setLayout("shards", 16)},
		{"plain names", keys.ErrReplaced, setLayout("names", "plain")},
		{"another max_life", keys.ErrReplaced, setLayout("max_life", 0)},
		{"another names key", keys.ErrReplaced, func(t *testing.T, s *scene) []byte {
			other := &memory{}
			if err := keys.Create(t.Context(), namespace, other, s.wrapper, keys.Layout{}); err != nil {
				t.Fatal(err)
			}
			return other.get()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			before := ring(t, s.ring)
			s.store.set(test.text(t, s))
			must(t, s.ring.Refresh(t.Context()), test.want)
			_, err := s.ring.RevokeAll(t.Context())
			must(t, err, test.want)
			if ring(t, s.ring) != before {
				t.Error("the ring in use has changed")
			}
			open(t, s.store, s.wrapper, nil)
		})
	}
}

// TestEveryFlippedBitIsRefused wants one of the errors that callers are told to
// look for, from whoever opens the keyring and from whoever has it open.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	s := newScene(t)
	text, before := s.store.get(), ring(t, s.ring)
	for i := range text {
		for bit := range 8 {
			bad := bytes.Clone(text)
			bad[i] ^= 1 << bit
			s.store.set(bad)
			_, opening := keys.Open(t.Context(), namespace, s.store, s.wrapper, nil)
			for how, err := range map[string]error{"Open": opening, "Refresh": s.ring.Refresh(t.Context())} {
				if !refusedAs(err, keys.ErrDocument, keys.ErrScheme, keys.ErrUnwrap) {
					t.Fatalf("%s, bit %d of byte %d flipped: %v", how, bit, i, err)
				}
			}
		}
	}
	if ring(t, s.ring) != before {
		t.Error("the ring in use has changed")
	}
}

func refusedAs(err error, sentinels ...error) bool {
	return slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
}

// testdata/frozen.json was written in another language, from FORMAT.md.
func TestFrozenDocument(t *testing.T) {
	text, err := os.ReadFile("testdata/frozen.json")
	if err != nil {
		t.Fatal(err)
	}
	s := &memory{text: text}
	r := ring(t, open(t, s, keys.InsecurePlain(), nil))
	for _, test := range []struct {
		name, got, want string
	}{
		{"primary", r.Primary(time.UnixMilli(1720000000000)).ID().String(), "d3d64e3444951ab1487b0fa31152646d"},
		{"primary a moment before", r.Primary(time.UnixMilli(1719999999999)).ID().String(), "2990c5c3fe8ed0b05e81c4cfe5b4232a"},
		{"primary of a slow clock", r.Primary(time.UnixMilli(1)).ID().String(), "2990c5c3fe8ed0b05e81c4cfe5b4232a"},
		{"names key", r.Names().ID().String(), "489e89652bb30dfb089e6c7a66fb3bc6"},
		{"blind", blindText(r, "user:42"), "iZc2ohrcP7kKnCEQgt6CBg"},
		{"layout", fmt.Sprint(r.Layout()), "{sc false 16 2160h0m0s 1m0s 1h0m0s}"},
		{"revision", fmt.Sprint(r.Revision()), "4"},
		{"namespace", r.Namespace(), namespace},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s, want %s", test.name, test.got, test.want)
		}
	}
	gone := r.Keys()[0]
	if !gone.Destroyed || !r.Destroyed(gone.ID) || r.Key(gone.ID) != nil || r.Destroyed(r.Keys()[1].ID) {
		t.Errorf("the destroyed key is %+v", gone)
	}
	if want := time.UnixMilli(1720003600000 + 7776000000); !r.Keys()[1].Destroyable.Equal(want) {
		t.Errorf("destroyable %s, want %s", r.Keys()[1].Destroyable, want)
	}
}

func blindText(r *keys.Ring, name string) string {
	blind := r.Names().Blind('v', name)
	return base64.RawURLEncoding.EncodeToString(blind[:])
}
