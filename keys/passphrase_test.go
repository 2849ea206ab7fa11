package keys_test

import (
	"context"
	"crypto/fips140"
	"errors"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/keys"
)

// cheap are costs for tests alone.
var cheap = &keys.Argon2{Memory: 64, Time: 1, Threads: 1}

func skipWithoutArgon2(t testing.TB) {
	if fips140.Enforced() {
		t.Skip("argon2id is not approved and does not exist in FIPS 140-only mode")
	}
}

func TestPassphraseInFIPSMode(t *testing.T) {
	if !fips140.Enforced() {
		t.Skip("runs under GODEBUG=fips140=only")
	}
	w := keys.NewPassphrase([]byte("secret"), cheap)
	err := keys.Create(t.Context(), namespace, &memory{}, w, keys.Layout{})
	if err == nil || !strings.Contains(err.Error(), "FIPS 140-only") {
		t.Errorf("error %v", err)
	}
	_, err = w.Unwrap(t.Context(), wrappedGolden, []byte("associated"))
	if err == nil || !strings.Contains(err.Error(), "FIPS 140-only") {
		t.Errorf("error %v", err)
	}
}

func TestPassphraseKeyring(t *testing.T) {
	skipWithoutArgon2(t)
	s, w := &memory{}, keys.NewPassphrase([]byte("secret"), cheap)
	must(t, keys.Create(t.Context(), namespace, s, w, keys.Layout{}), nil)
	k := open(t, s, keys.NewPassphrase([]byte("secret"), nil), nil)
	must(t, k.Refresh(t.Context()), nil)
	_, err := keys.Open(t.Context(), namespace, s, keys.NewPassphrase([]byte("Secret"), cheap), nil)
	must(t, err, keys.ErrUnwrap)

	_, err = open(t, s, keys.NewPassphrase([]byte("secret"), cheap), nil).Rotate(t.Context())
	must(t, err, nil)
	doc := unseal(t, s.get())
	salt := func(wrapped any) string { return strings.Split(wrapped.(string), ":")[2] }
	for i := range 2 {
		if salt(entry(doc, i)["wrapped"]) != salt(member(doc, "names")["wrapped"]) {
			t.Error("one passphrase, yet two salts: each costs a derivation at every start")
		}
	}
	must(t, k.Rewrap(t.Context(), keys.InsecurePlain()), nil)
	must(t, k.Rewrap(t.Context(), keys.NewPassphrase([]byte("other"), cheap)), nil)
	_, err = keys.Open(t.Context(), namespace, s, w, nil)
	must(t, err, keys.ErrUnwrap)
}

func TestPassphraseForm(t *testing.T) {
	skipWithoutArgon2(t)
	w := keys.NewPassphrase([]byte("secret"), cheap)
	wrapped, err := w.Wrap(t.Context(), make([]byte, 32), []byte("associated"))
	must(t, err, nil)
	form := regexp.MustCompile(`^argon2id:v=19,m=64,t=1,p=1:[A-Za-z0-9+/]{22}==:[A-Za-z0-9+/]{80}$`)
	if !form.MatchString(wrapped) {
		t.Errorf("wrapped text %q", wrapped)
	}
	again, err := w.Wrap(t.Context(), make([]byte, 32), []byte("associated"))
	if err != nil || again == wrapped {
		t.Errorf("one text twice (%v)", err)
	}
}

func TestPassphraseRefuses(t *testing.T) {
	skipWithoutArgon2(t)
	w := keys.NewPassphrase([]byte("secret"), cheap)
	good, err := w.Wrap(t.Context(), make([]byte, 32), []byte("associated"))
	must(t, err, nil)
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the text", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	parts := strings.Split(good, ":")
	for _, test := range []struct {
		name, text, associated string
	}{
		{"other associated data", good, "other"},
		{"other costs", swap("t=1", "t=2"), "associated"},
		{"too much memory", swap("m=64", "m=1048577"), "associated"},
		{"memory beyond 32 bits", swap("m=64", "m=4294967360"), "associated"},
		{"too little memory", swap("m=64", "m=7"), "associated"},
		{"too many passes", swap("t=1", "t=17"), "associated"},
		{"no pass", swap("t=1", "t=0"), "associated"},
		{"too many lanes", swap("p=1", "p=17"), "associated"},
		{"lanes that overflow", swap("p=1", "p=257"), "associated"},
		{"no lane", swap("p=1", "p=0"), "associated"},
		{"another version", swap("v=19", "v=16"), "associated"},
		{"a sign", swap("m=64", "m=+64"), "associated"},
		{"a leading zero", swap("m=64", "m=064"), "associated"},
		{"a space", swap("m=64", "m= 64"), "associated"},
		{"more costs", swap("p=1", "p=1,x=1"), "associated"},
		{"another scheme", swap("argon2id", "argon2i"), "associated"},
		{"a part more", good + ":", "associated"},
		{"a part less", strings.Join(parts[:3], ":"), "associated"},
		{"a short salt", strings.Join([]string{parts[0], parts[1], "AAAA", parts[3]}, ":"), "associated"},
		{"a short key", good[:len(good)-4], "associated"},
		{"a long key", good + "AAAA", "associated"},
		{"a line break", good + "\n", "associated"},
		{"a flipped bit", good[:len(good)-1] + string(good[len(good)-1]^1), "associated"},
		{"nothing", "", "associated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := w.Unwrap(t.Context(), test.text, []byte(test.associated))
			if !errors.Is(err, keys.ErrUnwrap) {
				t.Errorf("error %v, want ErrUnwrap", err)
			}
		})
	}
	if _, err := w.Unwrap(t.Context(), good, []byte("associated")); err != nil {
		t.Errorf("the text itself: %v", err)
	}
}

// wrappedGolden is 32 zero bytes under "secret" and "associated", from
// cryptography's Argon2id and AESGCM in Python.
const wrappedGolden = "argon2id:v=19,m=256,t=2,p=3:AAECAwQFBgcICQoLDA0ODw==:AAECAwQFBgcICQoLT/X13UBnGzF9LwXPiGb646n1jlWolq/6SHGiSqsAN7PRuH+ALFj6DwiG/NCzLH5E"

func TestFrozenPassphrase(t *testing.T) {
	skipWithoutArgon2(t)
	key, err := keys.NewPassphrase([]byte("secret"), nil).Unwrap(t.Context(), wrappedGolden, []byte("associated"))
	if err != nil || string(key) != string(make([]byte, 32)) {
		t.Errorf("error %v", err)
	}
}

func TestPassphraseOptions(t *testing.T) {
	skipWithoutArgon2(t)
	for _, test := range []struct {
		name       string
		passphrase string
		costs      *keys.Argon2
		ok         bool
	}{
		{"cheap", "secret", cheap, true},
		{"no passphrase", "", cheap, false},
		{"too much memory", "secret", &keys.Argon2{Memory: 1<<20 + 1}, false},
		{"too many passes", "secret", &keys.Argon2{Memory: 64, Time: 17, Threads: 1}, false},
		{"too many lanes", "secret", &keys.Argon2{Threads: 17}, false},
		{"too little memory a lane", "secret", &keys.Argon2{Memory: 8, Threads: 2}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := keys.NewPassphrase([]byte(test.passphrase), test.costs)
			if _, err := w.Wrap(t.Context(), make([]byte, 32), []byte("a")); (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
		})
	}
	own := []byte("secret")
	w := keys.NewPassphrase(own, cheap)
	clear(own)
	wrapped, err := w.Wrap(t.Context(), make([]byte, 32), []byte("a"))
	must(t, err, nil)
	if _, err := keys.NewPassphrase([]byte("secret"), cheap).Unwrap(t.Context(), wrapped, []byte("a")); err != nil {
		t.Errorf("the passphrase is not a copy: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = keys.NewPassphrase([]byte("secret"), nil).Wrap(ctx, make([]byte, 32), []byte("a"))
	must(t, err, context.Canceled)
}

// The default costs are paid once a process, not at each refresh.
func TestPassphraseIsDerivedOnce(t *testing.T) {
	skipWithoutArgon2(t)
	s := &memory{}
	must(t, keys.Create(t.Context(), namespace, s, keys.NewPassphrase([]byte("secret"), nil), keys.Layout{}), nil)
	if wrapped := member(unseal(t, s.get()), "names")["wrapped"].(string); !strings.HasPrefix(wrapped, "argon2id:v=19,m=65536,t=3,p=4:") {
		t.Errorf("default costs in %q", wrapped)
	}
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	const derivation = 64 << 20 // bytes, each time
	before := allocated()
	k := open(t, s, keys.NewPassphrase([]byte("secret"), nil), nil)
	opened := allocated()
	if d := opened - before; d < derivation {
		t.Errorf("opening took %d bytes, which are no derivation", d)
	}
	for range 20 {
		must(t, k.Refresh(t.Context()), nil)
	}
	if d := allocated() - opened; d >= derivation {
		t.Errorf("20 refreshes took %d bytes, a derivation %d", d, derivation)
	}
}

func TestInsecurePlain(t *testing.T) {
	s := &memory{}
	w := keys.InsecurePlain()
	must(t, keys.Create(t.Context(), namespace, s, w, keys.Layout{}), nil)
	must(t, keys.Create(t.Context(), "other", &memory{}, w, keys.Layout{}), nil)
	open(t, s, w, nil)
	wrapped := entry(unseal(t, s.get()), 0)["wrapped"].(string)
	for _, associated := range []string{"", "securecache v1 wrap", "securecache v1 wrap\xff\xff\xff\xff", "other" + strings.Repeat("x", 40)} {
		_, err := w.Unwrap(t.Context(), wrapped, []byte(associated))
		must(t, err, keys.ErrUnwrap)
	}
	_, err := w.Unwrap(t.Context(), "vault:v1:AAAA", nil)
	must(t, err, keys.ErrScheme)
	_, err = w.Unwrap(t.Context(), "plain:AAAA", nil)
	must(t, err, keys.ErrUnwrap)
}
