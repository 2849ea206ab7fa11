package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWritesTheMatrix(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "out", "stale.pem")
	for range 2 { // the second run replaces the first
		if err := run([]string{dir}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(stale); err == nil {
			t.Fatal("a file of an earlier run is still there")
		}
		if err := os.WriteFile(stale, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out")
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: want mode 0700", info, err)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(out, "good-server.pem"), filepath.Join(out, "good-server-key.pem")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(out, "good-server-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want mode 0600", info, err)
	}
}

func TestWantsOneDirectory(t *testing.T) {
	if err := run(nil); err == nil {
		t.Error("no argument was accepted")
	}
}

// TestReadmeNamesEveryFile keeps testdata/certs/README.md from going stale.
func TestReadmeNamesEveryFile(t *testing.T) {
	readme, err := os.ReadFile("../../../testdata/certs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := run([]string{dir}); err != nil {
		t.Fatal(err)
	}
	made, err := os.ReadDir(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range made {
		if !documented(string(readme), f.Name()) {
			t.Errorf("%s is not in the README", f.Name())
		}
	}
}

// documented reports whether a table of the README has the file, or its row
// for its side.
func documented(readme, name string) bool {
	if strings.Contains(readme, "| `"+name+"` |") {
		return true
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".pem"), "-key")
	i := strings.LastIndexByte(name, '-')
	row, side := name[:i], name[i+1:]
	for line := range strings.Lines(readme) {
		cells := strings.Split(line, "|")
		if len(cells) > 2 && strings.TrimSpace(cells[1]) == "`"+row+"`" && strings.Contains(cells[2], side) {
			return true
		}
	}
	return false
}
