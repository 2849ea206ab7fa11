package main

import (
	"crypto/fips140"
	"os"
	"path/filepath"
	"testing"
)

const committed = "../../../testdata/vectors"

// TestCommittedVectors makes sure that the vectors that are committed are those
// that there are cases for, no more and no fewer.
func TestCommittedVectors(t *testing.T) {
	skipUnderFIPS(t)
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(committed)); err != nil {
		t.Fatal(err)
	}
	if added, kept, err := run(root); err != nil || added != 0 || kept < 300 {
		t.Errorf("%d vectors are missing, %d are there, %v: run make vectors", added, kept, err)
	}
}

func TestNeverRewrites(t *testing.T) {
	skipUnderFIPS(t)
	root := t.TempDir()
	all, _, err := run(root)
	if err != nil {
		t.Fatal(err)
	}
	frozen, missing := filepath.Join(root, "ok-example.txt"), filepath.Join(root, "keyring", "ok-single.txt")
	if err := os.WriteFile(frozen, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(missing); err != nil {
		t.Fatal(err)
	}
	if added, kept, err := run(root); err != nil || added != 1 || kept != all-1 {
		t.Errorf("%d added, %d kept of %d, %v", added, kept, all, err)
	}
	if text, err := os.ReadFile(frozen); err != nil || string(text) != "as it was" {
		t.Errorf("a vector was rewritten: %q, %v", text, err)
	}
	if _, err := os.Stat(missing); err != nil {
		t.Error(err)
	}
}

func TestStrayVectors(t *testing.T) {
	skipUnderFIPS(t)
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "ok-stray.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(root); err == nil {
		t.Error("a vector without a case is not reported")
	}
}

func skipUnderFIPS(t *testing.T) {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("FIPS 140-only mode: the vectors of ChaCha20-Poly1305 cannot be made there")
	}
}
