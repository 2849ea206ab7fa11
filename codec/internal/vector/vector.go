// Package vector holds the golden vectors' file format and what makes them: a
// second implementation of FORMAT.md that takes any value anywhere, so that it
// can make what a writer never would. It shares no code with codec and keys,
// which the vectors test.
package vector

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// OK is what Expect holds where a vector must open.
const OK = "ok"

// Record is one record and what must become of it.
type Record struct {
	Comment   string
	Expect    string // OK, or the class of the failure (FORMAT.md, section 7)
	Keyring   string // path of the keyring vector, relative to the vectors' root
	Namespace string
	Now       int64 // Unix milliseconds
	Limit     int   // of the reader's content, in bytes; what it is unless set where 0
	Kind      string
	ID, Field string
	Content   []byte // where Expect is OK
	Digest    []byte // SHA-256 of the content instead, where that is long
	Record    []byte
}

// Holds reports whether content is what must come out of r.
func (r *Record) Holds(content []byte) bool {
	if r.Digest == nil {
		return bytes.Equal(content, r.Content)
	}
	digest := sha256.Sum256(content)
	return bytes.Equal(digest[:], r.Digest)
}

// Keyring is one stored keyring and what must become of it.
type Keyring struct {
	Comment   string
	Expect    string // OK, or "document", "scheme" or "unwrap"
	Namespace string // that is asked for
	Scheme    string // of the wrapper that is configured
	Now       int64
	Primary   string // id, at Now, where Expect is OK
	Stored    []byte
}

// Format writes r as a vector file.
func (r *Record) Format() []byte {
	var b bytes.Buffer
	line(&b, "comment", r.Comment)
	line(&b, "expect", r.Expect)
	line(&b, "keyring", r.Keyring)
	line(&b, "namespace", r.Namespace)
	line(&b, "now", strconv.FormatInt(r.Now, 10))
	if r.Limit != 0 {
		line(&b, "limit", strconv.Itoa(r.Limit))
	}
	line(&b, "kind", r.Kind)
	line(&b, "id", r.ID)
	line(&b, "field", r.Field)
	switch {
	case r.Expect != OK:
	case r.Digest != nil:
		line(&b, "sha256", hex.EncodeToString(r.Digest))
	default:
		line(&b, "content", base64.StdEncoding.EncodeToString(r.Content))
	}
	return body(&b, r.Record)
}

// Format writes k as a vector file.
func (k *Keyring) Format() []byte {
	var b bytes.Buffer
	line(&b, "comment", k.Comment)
	line(&b, "expect", k.Expect)
	line(&b, "namespace", k.Namespace)
	line(&b, "scheme", k.Scheme)
	if k.Expect == OK {
		line(&b, "now", strconv.FormatInt(k.Now, 10))
		line(&b, "primary", k.Primary)
	}
	return body(&b, k.Stored)
}

func line(b *bytes.Buffer, name, value string) {
	b.WriteString(strings.TrimRight(name+": "+value, " ") + "\n")
}

func body(b *bytes.Buffer, raw []byte) []byte {
	const columns = 76
	b.WriteByte('\n')
	for text := base64.StdEncoding.EncodeToString(raw); text != ""; {
		n := min(columns, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.Bytes()
}

// ReadRecord reads the file that Record.Format wrote.
func ReadRecord(path string) (*Record, error) {
	f, raw, err := read(path)
	if err != nil {
		return nil, err
	}
	r := &Record{
		Comment: f.take("comment"), Expect: f.take("expect"), Keyring: f.take("keyring"), Namespace: f.take("namespace"),
		Now: f.number("now"), Kind: f.take("kind"), ID: f.take("id"), Field: f.take("field"), Record: raw,
	}
	if _, found := f.values["limit"]; found {
		r.Limit = int(f.number("limit"))
	}
	if _, found := f.values["sha256"]; found {
		r.Digest = f.hex("sha256")
	} else if r.Expect == OK {
		r.Content = f.base64("content")
	}
	return r, f.done(path)
}

// ReadKeyring reads the file that Keyring.Format wrote.
func ReadKeyring(path string) (*Keyring, error) {
	f, raw, err := read(path)
	if err != nil {
		return nil, err
	}
	k := &Keyring{
		Comment: f.take("comment"), Expect: f.take("expect"), Namespace: f.take("namespace"), Scheme: f.take("scheme"), Stored: raw,
	}
	if k.Expect == OK {
		k.Now, k.Primary = f.number("now"), f.take("primary")
	}
	return k, f.done(path)
}

// List returns the paths of the vectors in a directory, without those in
// directories below.
func List(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("no vectors in %s: %w", dir, fs.ErrNotExist)
	}
	return paths, err
}

// fields are a file's header lines, by name; err is the first failure.
type fields struct {
	values map[string]string
	err    error
}

func read(path string) (*fields, []byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	f := &fields{values: map[string]string{}}
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, len(text)+1)
	for in.Scan() && in.Text() != "" {
		name, value, found := strings.Cut(in.Text(), ":")
		if _, twice := f.values[name]; !found || twice {
			return nil, nil, fmt.Errorf("%s: not a header line: %q", path, in.Text())
		}
		f.values[name] = strings.TrimPrefix(value, " ")
	}
	var b strings.Builder
	for in.Scan() {
		b.WriteString(in.Text())
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(b.String())
	return f, raw, errors.Join(err, in.Err())
}

func (f *fields) take(name string) string {
	value, found := f.values[name]
	if !found {
		f.fail(fmt.Errorf("no line %q", name))
	}
	delete(f.values, name)
	return value
}

func (f *fields) number(name string) int64 {
	n, err := strconv.ParseInt(f.take(name), 10, 64)
	f.fail(err)
	return n
}

func (f *fields) base64(name string) []byte {
	raw, err := base64.StdEncoding.Strict().DecodeString(f.take(name))
	f.fail(err)
	return raw
}

func (f *fields) hex(name string) []byte {
	raw, err := hex.DecodeString(f.take(name))
	f.fail(err)
	return raw
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *fields) done(path string) error {
	if f.err == nil && len(f.values) > 0 {
		f.err = fmt.Errorf("unknown header lines: %v", f.values)
	}
	if f.err != nil {
		return fmt.Errorf("%s: %w", path, f.err)
	}
	return nil
}
