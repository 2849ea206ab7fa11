// Command gencerts writes the matrix of good and bad certificates for tests
// into the directory out below the one it is given (make certs). What was
// there before is replaced.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/securecache/securecache-go/internal/server/pki"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gencerts:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: gencerts testdata/certs")
	}
	out := filepath.Join(args[0], "out")
	files, err := pki.Matrix()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(out, name), text, 0o600); err != nil {
			return err
		}
	}
	fmt.Printf("%d files in %s, valid for days: make them anew when they are stale\n", len(files), out)
	return nil
}
