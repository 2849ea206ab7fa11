package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sumsFile lists the vectors' digests as sha256sum prints them. Lines are added
// to it and never changed: a vector cannot change without one that is seen to.
const sumsFile = "SHA256SUMS"

// readSums returns the digest of each vector listed, in hex, by its path. No list
// is an empty one.
func readSums(root string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(root, sumsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(text)) {
		digest, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if _, twice := sums[name]; !ok || twice || len(digest) != hex.EncodedLen(sha256.Size) {
			return nil, fmt.Errorf("%s: a line is malformed or there twice: %q", sumsFile, line)
		}
		sums[name] = digest
	}
	return sums, nil
}

// appendSums lists those of the new vectors that are not listed yet. One that is
// had been removed, and has to be again what it was.
func appendSums(root string, added map[string][]byte) error {
	listed, err := readSums(root)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(added)) {
		if _, ok := listed[name]; !ok {
			fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(added[name]), name)
		}
	}
	f, err := os.OpenFile(filepath.Join(root, sumsFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(lines.String())
	return errors.Join(err, f.Close())
}

// thawed names the vectors under root that are not what the list says, that it
// does not have, or that are gone.
func thawed(root string) ([]string, error) {
	listed, err := readSums(root)
	if err != nil {
		return nil, err
	}
	names, err := vectorsIn(root)
	if err != nil {
		return nil, err
	}
	var bad []string
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		if listed[name] != fmt.Sprintf("%x", sha256.Sum256(text)) {
			bad = append(bad, name)
		}
		delete(listed, name)
	}
	return append(bad, slices.Sorted(maps.Keys(listed))...), nil
}
