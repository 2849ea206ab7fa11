package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPassword(t *testing.T) {
	u := people("ada")
	for name, tc := range map[string]struct {
		user, password string
		right          bool
	}{
		"right":        {"ada", secret, true},
		"wrong":        {"ada", "guessed", false},
		"empty":        {"ada", "", false},
		"nobody":       {"eve", secret, false},
		"nobody's own": {"", "", false},
	} {
		if right, err := u.check(t.Context(), tc.user, tc.password); right != tc.right || err != nil {
			t.Errorf("%s: %t, %v", name, right, err)
		}
	}
	if again := hashPassword(secret); again == secretHash() {
		t.Error("no salt")
	}
	if _, _, ok := parseHash(u.nobody); !ok {
		t.Error("for a user that there is not, nothing is computed")
	}
}

// TestPasswordTurns has all the turns taken: who cannot wait is told so.
func TestPasswordTurns(t *testing.T) {
	u := people("ada")
	for range cap(u.turns) {
		u.turns <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if right, err := u.check(ctx, "ada", secret); right || !errors.Is(err, context.Canceled) {
		t.Errorf("%t, %v", right, err)
	}
}

func TestUsersFile(t *testing.T) {
	var line bytes.Buffer
	ok(t, printHash(strings.NewReader(secret+"\n"), &line, "ada"))
	path := filepath.Join(t.TempDir(), "users")
	ok(t, os.WriteFile(path, line.Bytes(), 0o600))
	u, err := readUsers(path)
	ok(t, err)
	if right, err := u.check(t.Context(), "ada", secret); !right || err != nil {
		t.Errorf("%t, %v", right, err)
	}
	if strings.Contains(line.String(), secret) {
		t.Error("the password is in the line")
	}
	for name, text := range map[string]string{
		"no hash": "ada", "no name": line.String()[3:], "another cost": strings.Replace(line.String(), "t=2", "t=1", 1),
		"cut off": line.String()[:line.Len()-5], "a password": "ada:" + secret,
	} {
		ok(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := readUsers(path); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{"ada": "\n", "a:b": secret} {
		if printHash(strings.NewReader(text), &line, name) == nil {
			t.Errorf("a hash of %q for %s", text, name)
		}
	}
}

func TestConfigure(t *testing.T) {
	set := map[string]string{"SECURECACHE_KEYRING": "file:x", "SECURECACHE_WRAP": "insecure-plain"}
	getenv := func(name string) string { return set[name] }
	for name, args := range map[string][]string{
		"no certificate": {"-addr", ":1"}, "no rate": {"-logins", "many"}, "no flag": {"-nonsense"},
	} {
		if _, err := configure(args, getenv); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	_, err := configure(nil, func(string) string { return "" })
	if err == nil || !strings.Contains(err.Error(), "securecache dev --") {
		t.Errorf("without an environment: %v", err)
	}
}
