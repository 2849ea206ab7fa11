package keys_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
)

// verbs are all that fmt knows, and letters that it does not: those print their
// operand too.
func verbs() []string {
	var all []string
	for _, flags := range []string{"", "+", "#", " ", "+#", "# ", "#.3"} {
		for c := 'A'; c <= 'z'; c++ {
			if c <= 'Z' || c >= 'a' {
				all = append(all, "%"+flags+string(c))
			}
		}
	}
	return append(all, "%!", "%*d")
}

// traces are the ways in which parts of a secret could show.
func traces(secret []byte) []string {
	var all []string
	for i := 0; i+6 <= len(secret); i += 9 { // a multiple of 3, where base64 of the whole agrees
		part := secret[i : i+6]
		list := func(verb, between string) string {
			var texts []string
			for _, b := range part {
				texts = append(texts, fmt.Sprintf(verb, b))
			}
			return strings.Join(texts, between)
		}
		all = append(all, string(part), strings.Trim(fmt.Sprintf("%q", string(part)), `"`), strings.Trim(fmt.Sprintf("%+q", string(part)), `"`),
			list("%02x", ""), list("%02X", ""), list("%x", " "), list("%02x", " "), list("%02X", " "), list("%#x", ", "), list("%#x", " "), list("0x%02x", " "), list("0x%02x", ", "),
			list("%d", " "), list("%d", ", "), list("%d", ","), list("%o", " "), list("%b", " "), list("%U", " "), list("%q", " "), list("%c", " "),
			base64.StdEncoding.EncodeToString(part), base64.URLEncoding.EncodeToString(part))
	}
	for i := 0; i+8 <= len(secret); i += 8 { // as words, in a cipher's key schedule
		for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
			a, b := order.Uint32(secret[i:]), order.Uint32(secret[i+4:])
			all = append(all, fmt.Sprintf("%d %d", a, b), fmt.Sprintf("%x %x", a, b), fmt.Sprintf("%#x, %#x", a, b))
		}
	}
	return all
}

// prints returns what becomes of v under every verb, in slog and in JSON.
func prints(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range verbs() {
		out[verb] = fmt.Sprintf(verb, v)
	}
	out["Sprint"] = fmt.Sprint(v)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out["reflected "+verb] = fmt.Sprintf(verb, reflect.ValueOf(v))
	}
	var buf bytes.Buffer
	slog.New(slog.NewTextHandler(&buf, nil)).Info("text", "value", v, slog.Group("in", "value", v))
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("json", "value", v, slog.Group("in", "value", v))
	out["slog"] = buf.String()
	text, err := json.Marshal(v)
	out["json"] = fmt.Sprint(string(text), err)
	return out
}

// wrappings are the places in which a value may be printed.
func wrappings(v any) map[string]any {
	type inside struct {
		hidden  any
		Visible any
		List    []any
		Map     map[string]any
	}
	all := map[string]any{
		"itself":            v,
		"pointer":           &v,
		"struct":            inside{v, v, []any{v}, map[string]any{"x": v}},
		"pointer to struct": &inside{v, v, []any{v}, map[string]any{"x": v}},
		"slice":             []any{v},
		"map":               map[string]any{"x": v},
		"error":             fmt.Errorf("wrapped %v", v),
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.Type() != reflect.TypeFor[*keys.Keyring]() {
		all["pointed to"] = r.Elem().Interface()
		all["struct of what is pointed to"] = inside{hidden: r.Elem().Interface()}
	}
	return all
}

func leaks(v any, forbidden []string) (places []string) {
	// A replacer looks for all of them at once, in a trie.
	var pairs []string
	for _, trace := range forbidden {
		pairs = append(pairs, trace, "")
	}
	without := strings.NewReplacer(pairs...)
	seen := map[string]bool{}
	for where, wrapped := range wrappings(v) {
		for how, text := range prints(wrapped) {
			if seen[text] {
				continue
			}
			seen[text] = true
			if without.Replace(text) != text {
				places = append(places, where+" under "+how)
			}
		}
	}
	return places
}

func TestNothingPrintsKeys(t *testing.T) {
	w := newLocker("test")
	s := &memory{}
	must(t, keys.Create(t.Context(), namespace, s, w, keys.Layout{}), nil)
	k := open(t, s, w, nil)
	_, err := k.Rotate(t.Context())
	must(t, err, nil)
	passphrase := []byte("correct horse battery staple")
	secrets := [][]byte{passphrase, expand(w.last('n'), 32, "securecache v1 name", namespace), expand(w.last('n'), 32, "securecache v1 keyring", namespace)}
	for _, all := range w.wrapped {
		secrets = append(secrets, all...)
	}
	// The wrapped text is the key's base64: a keyring must not show that either.
	must(t, k.Rewrap(t.Context(), keys.InsecurePlain()), nil)
	r := ring(t, k)
	r.Names().Blind('v', "x") // fills the pool
	wrapper := keys.NewPassphrase(passphrase, cheap)
	if !fips140.Enforced() {
		wrapped, err := wrapper.Wrap(t.Context(), make([]byte, 32), []byte("a"))
		must(t, err, nil)
		_, err = wrapper.Unwrap(t.Context(), wrapped, []byte("a"))
		must(t, err, nil)
	}
	var forbidden []string
	for _, secret := range secrets {
		forbidden = append(forbidden, traces(secret)...)
	}
	text := s.get()
	s.set(text[:len(text)/2])
	refused := k.Refresh(t.Context())
	for name, v := range map[string]any{
		"Keyring":    k,
		"Ring":       r,
		"Key":        r.Primary(time.Now()),
		"Names":      r.Names(),
		"Info":       r.Keys(),
		"Status":     k.Status(),
		"passphrase": wrapper,
		"plain":      keys.InsecurePlain(),
		"Options":    keys.Options{},
		"error":      refused,
	} {
		t.Run(name, func(t *testing.T) {
			for _, place := range leaks(v, forbidden) {
				t.Errorf("a key shows: %s", place)
			}
		})
	}
}

// The search above finds what does leak, even where a pointer hides it.
func TestLeaksAreFound(t *testing.T) {
	secret := []byte("\x9a\x07K\xf0q\x11\x80\x99\xfe\x01\x22\x33\xa4\xb5\xc6\xd7")
	block, err := aes.NewCipher(secret)
	must(t, err, nil)
	aead, err := cipher.NewGCMWithRandomNonce(block)
	must(t, err, nil)
	for name, v := range map[string]any{
		"bytes":  secret,
		"text":   string(secret),
		"array":  struct{ key [16]byte }{[16]byte(secret)},
		"cipher": struct{ block cipher.Block }{block},
		"AEAD":   struct{ aead cipher.AEAD }{aead},
	} {
		if len(leaks(v, traces(secret))) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
	forbidden := traces(secret)
	for _, verb := range []string{"%v", "%d", "%x", "%X", "% x", "% X", "%#x", "%# x", "%#v", "%q", "%+q", "%s", "%o", "%b", "%U", "%c"} {
		text := fmt.Sprintf(verb, secret)
		if !slices.ContainsFunc(forbidden, func(trace string) bool { return strings.Contains(text, trace) }) {
			t.Errorf("%s of bytes was not found: %s", verb, text)
		}
	}
}

func TestPrintsWhatItIs(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	k := open(t, s, w, nil)
	key := ring(t, k).Primary(time.Now())
	for name, pair := range map[string][2]string{
		"key":        {fmt.Sprintf("%v %s %x", key, key, key), strings.TrimSpace(strings.Repeat(key.ID().String()+" ", 3))},
		"names":      {fmt.Sprint(ring(t, k).Names()), ring(t, k).Names().ID().String()},
		"keyring":    {fmt.Sprint(k), "keyring shop"},
		"passphrase": {fmt.Sprintf("%#v", keys.NewPassphrase([]byte("x"), nil)), "argon2id"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s prints %q, want %q", name, pair[0], pair[1])
		}
	}
	if text, err := json.Marshal(map[string]any{"key": key, "names": ring(t, k).Names()}); err != nil || !strings.Contains(string(text), key.ID().String()) {
		t.Errorf("JSON %s, %v", text, err)
	}
}
