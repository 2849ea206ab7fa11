package keys_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
)

func TestParseID(t *testing.T) {
	const text = "000102030405060708090a0b0c0d0e0f"
	for _, test := range []struct {
		name, text string
		ok         bool
	}{
		{"good", text, true},
		{"upper case", strings.ToUpper(text), false},
		{"short", text[2:], false},
		{"long", text + "00", false},
		{"not hex", "g" + text[1:], false},
		{"empty", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			id, err := keys.ParseID(test.text)
			if (err == nil) != test.ok {
				t.Fatalf("error %v", err)
			}
			if test.ok && id.String() != test.text {
				t.Fatalf("came back as %s", id)
			}
		})
	}
	var id keys.ID
	if err := json.Unmarshal([]byte(`"`+text+`"`), &id); err != nil || id[15] != 15 {
		t.Fatalf("JSON gave %s, %v", id, err)
	}
}

// The derivations, against FORMAT.md written out in this package's tests.
func TestDerivations(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	k := open(t, s, w, nil)
	r := ring(t, k)
	dek, nk := w.last('d'), w.last('n')

	key := r.Primary(time.Now())
	if want := expand(dek, 16, "securecache v1 key id", namespace); hex.EncodeToString(want) != key.ID().String() {
		t.Errorf("key id %s, want %x", key.ID(), want)
	}
	if want := expand(nk, 16, "securecache v1 names key id", namespace); hex.EncodeToString(want) != r.Names().ID().String() {
		t.Errorf("names key id %s, want %x", r.Names().ID(), want)
	}
	sub, err := key.Expand(32, "securecache v1 seal", []byte(namespace), []byte{1}, []byte("salt"))
	if err != nil || !bytes.Equal(sub, expand(dek, 32, "securecache v1 seal", namespace, "\x01", "salt")) {
		t.Errorf("sub-key differs (%v)", err)
	}

	kn := expand(nk, 32, "securecache v1 name", namespace)
	var blind [16]byte
	for _, name := range []string{strings.Repeat("long", 2000), "user:42"} {
		blind = r.Names().Blind('v', name)
		if want := hmacSHA256(kn, "v"+lp(name))[:16]; !bytes.Equal(blind[:], want) {
			t.Errorf("blind of %d bytes %x, want %x", len(name), blind, want)
		}
	}
	tag := r.Names().Tag("acme")
	if want := hmacSHA256(kn, "\x00"+lp("acme"))[:8]; !bytes.Equal(tag[:], want) {
		t.Errorf("tag %x, want %x", tag, want)
	}
	field := r.Names().Field("user:42", "email")
	if want := hmacSHA256(kn, "\x01"+lp("user:42")+lp("email"))[:16]; !bytes.Equal(field[:], want) {
		t.Errorf("field %x, want %x", field, want)
	}
	if len(base64.RawURLEncoding.EncodeToString(blind[:])) != 22 || len(base64.RawURLEncoding.EncodeToString(tag[:])) != 11 {
		t.Error("blinds have another length in text")
	}
}

func TestExpandSeparatesItsParts(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	key := ring(t, open(t, s, w, nil)).Primary(time.Now())
	seen := map[string]int{}
	for i, parts := range [][][]byte{{}, {nil}, {[]byte("ab")}, {[]byte("a"), []byte("b")}, {[]byte("ab"), nil}} {
		out, err := key.Expand(32, "label", parts...)
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := seen[string(out)]; ok {
			t.Errorf("lists %d and %d derive the same", i, j)
		}
		seen[string(out)] = i
	}
	if _, err := key.Expand(256*32, "label"); err == nil {
		t.Error("more than HKDF has to give was given")
	}
}

// TestBlindTakesTurns blinds names of all lengths from many goroutines at once:
// each has to get its own name's, from memory that they share.
func TestBlindTakesTurns(t *testing.T) {
	s, w := setup(t, keys.Layout{})
	names := ring(t, open(t, s, w, nil)).Names()
	want, seen := map[string][16]byte{}, map[[16]byte]bool{}
	for _, n := range []int{1, 13, 40, 64, 300, 5000} {
		name := strings.Repeat("x", n)
		want[name] = names.Blind('v', name)
		seen[want[name]] = true
	}
	if len(seen) != len(want) {
		t.Fatal("two names, one blind")
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				for name, blind := range want {
					if got := names.Blind('v', name); got != blind {
						t.Errorf("a name of %d bytes has two blinds", len(name))
					}
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkBlind(b *testing.B) {
	s, w := setup(b, keys.Layout{})
	names := ring(b, open(b, s, w, nil)).Names()
	const name = "session:0123456789abcdef0123456789abcdef"
	b.ReportAllocs()
	for b.Loop() {
		names.Blind('v', name)
	}
}

func BenchmarkRing(b *testing.B) {
	s, w := setup(b, keys.Layout{})
	k := open(b, s, w, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Ring(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestBlindDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop values, so pooled code allocates under it")
	}
	s, w := setup(t, keys.Layout{})
	names := ring(t, open(t, s, w, nil)).Names()
	if n := testing.AllocsPerRun(100, func() { names.Blind('v', "user:42") }); n != 0 {
		t.Errorf("Blind allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { names.Field("user:42", "email") }); n != 0 {
		t.Errorf("Field allocates %v times", n)
	}
}
