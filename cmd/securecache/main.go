// Command securecache works on a securecache namespace from the terminal: it
// stores and reads values, shows what the server holds, keeps the keyring, and
// seals records anew. Run it without arguments for its verbs.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
