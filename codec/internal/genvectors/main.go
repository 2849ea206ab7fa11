// Command genvectors adds the golden vectors that are missing to a directory,
// testdata/vectors, and their digests to the list there. It never changes a file
// that is there, nor a line of the list: vectors are frozen once they are made.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: genvectors DIRECTORY")
		os.Exit(2)
	}
	added, kept, err := run(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "genvectors:", err)
		os.Exit(1)
	}
	fmt.Printf("%d vectors added, %d were there\n", added, kept)
}

// run adds what is missing under root and counts it.
func run(root string) (added, kept int, err error) {
	files := map[string][]byte{}
	for name, k := range keyrings() {
		files["keyring/"+name+".txt"] = k.Format()
	}
	for name, r := range records() {
		files[name+".txt"] = r.Format()
	}
	if err := os.MkdirAll(filepath.Join(root, "keyring"), 0o755); err != nil {
		return 0, 0, err
	}
	fresh := map[string][]byte{}
	for name, text := range files {
		switch err := add(filepath.Join(root, name), text); {
		case errors.Is(err, fs.ErrExist):
			kept++
		case err != nil:
			return len(fresh), kept, errors.Join(err, appendSums(root, fresh))
		default:
			fresh[name] = text
		}
	}
	return len(fresh), kept, errors.Join(appendSums(root, fresh), strays(root, files))
}

func add(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// strays reports vectors that the generator does not know. They are kept, since
// they are frozen too; but somebody has removed or renamed their case.
func strays(root string, files map[string][]byte) error {
	names, err := vectorsIn(root)
	if err != nil {
		return err
	}
	var found []string
	for _, name := range names {
		if _, known := files[name]; !known {
			found = append(found, name)
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("no case for %v", found)
	}
	return nil
}

// vectorsIn returns the paths of the vectors under root, from there, in order.
func vectorsIn(root string) ([]string, error) {
	var names []string
	for _, dir := range []string{"", "keyring"} {
		paths, err := filepath.Glob(filepath.Join(root, dir, "*.txt"))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			names = append(names, filepath.ToSlash(name))
		}
	}
	slices.Sort(names)
	return names, nil
}
