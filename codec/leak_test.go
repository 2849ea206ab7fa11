package codec_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/codec/internal/vector"
)

// outer has a codec where fmt does not call its methods.
type outer struct {
	codec *codec.Codec
	any   any
	inner struct{ codec *codec.Codec }
}

func TestNothingPrintsKeys(t *testing.T) {
	s := newSource(t, document(nil))
	for _, suite := range allSuites() {
		c := newCodec(t, s, codec.Options{Suite: suite})
		content := text(100)
		record := seal(t, c, binding(codec.KindValue), content)
		if _, err := c.Open(nil, binding(codec.KindValue), record); err != nil {
			t.Fatal(err)
		}
		x := outer{codec: c, any: c}
		x.inner.codec = c
		secrets := spellings(vector.Expand(second, 32, "securecache v1 seal", namespace, string([]byte{byte(suite)}), string(record[32:48])))
		for _, key := range [][]byte{first, second, content} {
			secrets = append(secrets, spellings(key)...)
		}
		for _, shown := range []any{c, reflect.ValueOf(c).Elem(), &x, x, []any{c}, map[string]any{"c": x}} {
			for _, text := range printed(shown) {
				for _, secret := range secrets {
					if strings.Contains(text, secret) {
						t.Fatalf("%v: %T shows a key or content", suite, shown)
					}
				}
			}
		}
	}
}

// printed shows x under every verb and flag, in slog and in JSON.
func printed(x any) []string {
	var all []string
	for verb := 'A'; verb <= 'z'; verb++ {
		for _, flag := range []string{"", "+", "#", "-", " ", "0", "+#", "# "} {
			all = append(all, fmt.Sprintf("%"+flag+string(verb), x))
		}
	}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "x", x)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "x", x)
	if text, err := json.Marshal(x); err == nil {
		all = append(all, string(text))
	}
	return append(all, b.String())
}

// spellings are the ways in which the first bytes of a secret may be printed:
// as text, hex, base64, lists of bytes, and the words of a key schedule.
func spellings(secret []byte) []string {
	head := secret[:8]
	all := []string{
		string(head), strconv.Quote(string(head)), hex.EncodeToString(head), strings.ToUpper(hex.EncodeToString(head)),
		base64.StdEncoding.EncodeToString(head[:6]), strings.Trim(fmt.Sprint(head), "[]"), strings.Trim(fmt.Sprintf("%#v", head), "[]byte{}"),
	}
	for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
		one, two := order.Uint32(head), order.Uint32(head[4:])
		for _, format := range []string{"%d %d", "%x %x", "0x%x, 0x%x", "%d, %d", "%b %b", "%o %o"} {
			all = append(all, fmt.Sprintf(format, one, two))
		}
	}
	return all
}

// TestSpellings makes sure that the test above sees what it looks for.
func TestSpellings(t *testing.T) {
	secret := text(32)
	for _, leak := range []string{
		fmt.Sprintf("%v", struct{ b []byte }{secret}), fmt.Sprintf("%s", struct{ b []byte }{secret}), fmt.Sprintf("%x", secret),
		fmt.Sprintf("%#v", secret), fmt.Sprintf("%v", []uint32{binary.BigEndian.Uint32(secret), binary.BigEndian.Uint32(secret[4:])}),
	} {
		found := false
		for _, s := range spellings(secret) {
			found = found || strings.Contains(leak, s)
		}
		if !found {
			t.Errorf("not seen: %s", leak)
		}
	}
}

func TestErrorsSayNothing(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	record := seal(t, c, binding(codec.KindValue), text(50))
	seen := map[string]bool{}
	for i := range record {
		flipped := bytes.Clone(record)
		flipped[i] ^= 1
		_, err := c.Open(nil, binding(codec.KindValue), flipped)
		if err == nil {
			t.Fatalf("opens with byte %d changed", i)
		}
		seen[err.Error()] = true
	}
	for text := range seen {
		if !strings.HasPrefix(text, "codec: record refused: ") || strings.ContainsAny(text, "0123456789\"") {
			t.Errorf("an error says more than its reason: %s", text)
		}
	}
}
