// Vaultdev is a real Vault server for tests and for trying things out: Vault's
// own core over memory, behind TLS on the loopback interface, initialised,
// unsealed and with the engines mounted that securecache speaks to. What it
// stores is gone when it ends. It is not for production.
//
//	vaultdev [-dir DIR] [-listen 127.0.0.1:PORT] [-log LEVEL]
//	vaultdev version
//
// Once it serves, it writes one line of JSON, the [ready] struct, to standard
// output and to DIR/vault.json. Secrets stand in files of DIR, which only its
// owner can enter, and never in an argument or on standard output. The process
// ends when its standard input is closed or on SIGTERM or SIGINT, so that it
// cannot outlive whoever started it with a pipe.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/vault/version"
)

// ready says how to reach the server. The paths are absolute; the certificate
// and its key log in at auth/cert, and both stem from CA.
type ready struct {
	Version    string `json:"version"`
	PID        int    `json:"pid"`
	Address    string `json:"address"`
	CA         string `json:"ca_file"`
	ClientCert string `json:"client_cert_file"`
	ClientKey  string `json:"client_key_file"`
	RootToken  string `json:"root_token_file"`
	UnsealKey  string `json:"unseal_key_file"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "vaultdev:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done or stdin ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("vaultdev", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "", "directory for certificates and secrets, made with mode 0700 (default: a temporary one, removed at the end)")
	listen := flags.String("listen", "127.0.0.1:0", "loopback address to listen on")
	level := flags.String("log", "error", "level of Vault's own log, on standard error")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 1 && flags.Arg(0) == "version" {
		_, err := fmt.Fprintln(stdout, "vaultdev, Vault", version.GetVersion().VersionNumber())
		return err
	}
	if flags.NArg() > 0 {
		return errors.New("the only argument is version; see -help")
	}
	return serve(ctx, *dir, *listen, newLogger(*level, stderr), stdin, stdout)
}

// loopback listens on addr, and refuses what others could reach: the server
// keeps its unseal key on disk.
func loopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is no loopback address", host)
	}
	return net.Listen("tcp", addr)
}

// makeDir returns an absolute directory that only its owner can enter, and
// what removes it where it was a temporary one.
func makeDir(dir string) (string, func(), error) {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "vaultdev-")
		return tmp, func() { _ = os.RemoveAll(tmp) }, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	return dir, func() {}, os.Chmod(dir, 0o700)
}

// announce writes r to stdout and to vault.json, which appears whole or not at
// all.
func announce(dir string, r ready, stdout io.Writer) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	tmp := filepath.Join(dir, "vault.json.new")
	if err := os.WriteFile(tmp, line, 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, "vault.json")); err != nil {
		return err
	}
	_, err = stdout.Write(line)
	return err
}
