package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The costs of argon2id that OWASP's password storage cheat sheet names first
// among its equals with one lane: 19 MiB and two passes.
const (
	memory  = 19 << 10 // KiB
	passes  = 2
	lanes   = 1
	saltLen = 16
	hashLen = 32
)

// cost stands before every hash. One that was made at another cost is refused
// when the users are read: all must take the same time.
var cost = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, memory, passes, lanes)

// hashPassword returns the hash in the usual form of argon2's own command.
func hashPassword(password string) string {
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	return cost + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(derive(password, salt))
}

func derive(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, passes, memory, lanes, hashLen)
}

func parseHash(text string) (salt, hash []byte, ok bool) {
	rest, found := strings.CutPrefix(text, cost)
	first, second, cut := strings.Cut(rest, "$")
	salt, err1 := base64.RawStdEncoding.DecodeString(first)
	hash, err2 := base64.RawStdEncoding.DecodeString(second)
	return salt, hash, found && cut && err1 == nil && err2 == nil && len(salt) == saltLen && len(hash) == hashLen
}

// users stands for the database: who there is, and the hash of the password.
type users struct {
	hashes map[string]string
	nobody string        // a hash that nobody knows the password of
	turns  chan struct{} // hashing takes memory and a core: so many at a time
}

func newUsers(hashes map[string]string) *users {
	return &users{hashes, hashPassword(rand.Text()), make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// check reports whether it is that user's password. For a user that there is not
// it takes as long as for one that there is. The error is that of ctx.
func (u *users) check(ctx context.Context, name, password string) (bool, error) {
	select {
	case u.turns <- struct{}{}:
		defer func() { <-u.turns }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	text, known := u.hashes[name]
	if !known {
		text = u.nobody
	}
	salt, hash, _ := parseHash(text)
	same := subtle.ConstantTimeCompare(derive(password, salt), hash) == 1
	return same && known, nil
}

// readUsers reads lines of a name, a colon and a hash.
func readUsers(path string) (*users, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hashes := make(map[string]string)
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		name, hash, _ := strings.Cut(lines.Text(), ":")
		if _, _, ok := parseHash(hash); name == "" || !ok {
			return nil, fmt.Errorf("%s:%d: not a line that -hash has printed", path, n)
		}
		hashes[name] = hash
	}
	return newUsers(hashes), lines.Err()
}

// printHash prints the line of a user whose password it reads.
func printHash(in io.Reader, out io.Writer, name string) error {
	text, err := io.ReadAll(io.LimitReader(in, 4<<10))
	if err != nil {
		return err
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || strings.ContainsAny(name, ":\n") {
		return errors.New("a password is needed, and a name without a colon")
	}
	_, err = fmt.Fprintf(out, "%s:%s\n", name, hashPassword(password))
	return err
}
