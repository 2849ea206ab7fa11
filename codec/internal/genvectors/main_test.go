package main

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"os"
	"path/filepath"
	"slices"
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

// TestCommittedVectorsAreFrozen holds the vectors to the digests that they had
// when they were made: code and vector could agree on something new otherwise.
func TestCommittedVectorsAreFrozen(t *testing.T) {
	if bad, err := thawed(committed); err != nil || len(bad) > 0 {
		t.Errorf("not as %s has them: %v, %v; vectors are frozen, see CONTRIBUTING.md", sumsFile, bad, err)
	}
}

func TestThawed(t *testing.T) {
	for name, tc := range map[string]struct {
		thaw func(vector, list string) error
		want int
	}{
		"as committed":    {func(string, string) error { return nil }, 0},
		"a vector edited": {func(vector, _ string) error { return os.WriteFile(vector, []byte("expect: ok\n"), 0o600) }, 1},
		"a vector gone":   {func(vector, _ string) error { return os.Remove(vector) }, 1},
		"a vector more": {func(vector, _ string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(vector), "ok-more.txt"), nil, 0o600)
		}, 1},
		"the list emptied": {func(_, list string) error { return os.Truncate(list, 0) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			vector, list := filepath.Join(root, "ok-one.txt"), filepath.Join(root, sumsFile)
			other := filepath.Join(root, "keyring", "ok-two.txt")
			added := map[string][]byte{"ok-one.txt": []byte("one"), "keyring/ok-two.txt": []byte("two")}
			if err := errors.Join(os.Mkdir(filepath.Dir(other), 0o700), os.WriteFile(vector, []byte("one"), 0o600),
				os.WriteFile(other, []byte("two"), 0o600), appendSums(root, added), tc.thaw(vector, list)); err != nil {
				t.Fatal(err)
			}
			if bad, err := thawed(root); err != nil || len(bad) != tc.want {
				t.Errorf("%v, %v, want %d", bad, err, tc.want)
			}
		})
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
	list := filepath.Join(root, sumsFile)
	sums, err := os.ReadFile(list)
	if err != nil {
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
	if again, err := os.ReadFile(list); err != nil || !bytes.Equal(again, sums) {
		t.Errorf("the list of digests was rewritten: %v", err)
	}
	if bad, err := thawed(root); err != nil || !slices.Equal(bad, []string{"ok-example.txt"}) {
		t.Errorf("thawed: %v, %v", bad, err)
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
