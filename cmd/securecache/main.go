// Command securecache works on a securecache namespace from the terminal: it
// stores and reads values, shows what the server holds, keeps the keyring, and
// seals records anew. Run it without arguments for its verbs.
package main

import (
	"fmt"
	"os"

	"github.com/securecache/securecache-go/hardening"
)

func main() {
	// A system that refuses is no reason to keep an operator from revoking keys.
	if err := hardening.Process(nil); err != nil {
		fmt.Fprintf(os.Stderr, "securecache: others may read this process's memory: %s\n", trimOrigin(err.Error()))
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
