package vaulttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// process is a Vault that was started, and how to reach it.
type process struct {
	Version string `json:"version"`
	Address string `json:"address"`
	CACert  string `json:"ca_file"`

	token, unsealKey string

	shell  bool // stands between
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Scanner
	log    *os.File
}

// launch starts binary in dir and reads from its output how to reach it.
func launch(ctx context.Context, binary, dir string) (*process, error) {
	version, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask for its version: %w", err)
	}
	p := &process{}
	start := p.startVault
	if bytes.HasPrefix(version, []byte("vaultdev")) {
		start = p.startVaultdev
	}
	// Killing the process ends its output, and so the reading.
	if err := start(binary, dir); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	if err := p.announced(dir); err != nil {
		return nil, fmt.Errorf("%w; its log ends:\n%s", errors.Join(err, p.stop()), tail(dir))
	}
	if p.Version == "" {
		p.Version = strings.TrimSpace(string(version))
	}
	return p, nil
}

// startVaultdev runs a vaultdev, which ends with its standard input.
func (p *process) startVaultdev(binary, dir string) error {
	return p.run(dir, exec.Command(binary, "-dir", dir))
}

// tied runs a command that ends once the shell's standard input closes, and a
// shell that ends once the command does.
const tied = `exec 3<&0
"$@" 3<&- & command=$!
{ read _ <&3; kill "$command"; } >/dev/null 2>&1 & watch=$!
wait "$command"
kill "$watch" 2>/dev/null`

// startVault runs a vault in its development mode, with TLS, behind a shell that
// ends it however this process ends.
func (p *process) startVault(binary, dir string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", tied, "sh",
		binary, "server", "-dev", "-dev-tls", "-dev-tls-cert-dir="+dir, "-dev-no-store-token", "-dev-listen-address="+port)
	p.shell, p.Address, p.CACert = true, "https://"+port, filepath.Join(dir, "vault-ca.pem")
	return p.run(dir, cmd)
}

// environ is this process's environment without what is meant for it alone:
// Vault does not run under GODEBUG=fips140=only, and is not to read the home
// directory's configuration.
func environ(dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GODEBUG=") || strings.HasPrefix(v, "VAULT_") || strings.HasPrefix(v, "HOME=")
	})
	return append(env, "HOME="+dir)
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

func (p *process) run(dir string, cmd *exec.Cmd) (err error) {
	if p.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return err
	}
	cmd.Stderr, cmd.Env = p.log, environ(dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.cmd, p.stdin, p.stdout = cmd, stdin, bufio.NewScanner(stdout)
	return cmd.Start()
}

// announced reads the output up to what says that Vault serves: vaultdev's line
// of JSON, or the unseal key and the root token that the development mode
// prints. What follows is read too, so that Vault does not block.
func (p *process) announced(dir string) error {
	for p.token == "" || p.unsealKey == "" {
		if !p.stdout.Scan() {
			return errors.New("it ended before it served")
		}
		line := p.stdout.Text()
		fmt.Fprintln(p.log, redact(line))
		switch {
		case strings.HasPrefix(line, "{"):
			if err := p.readFiles(line); err != nil {
				return err
			}
		case strings.HasPrefix(line, "Unseal Key: "):
			p.unsealKey = strings.TrimPrefix(line, "Unseal Key: ")
		case strings.HasPrefix(line, "Root Token: "):
			p.token = strings.TrimPrefix(line, "Root Token: ")
		}
	}
	go func() {
		for p.stdout.Scan() {
		}
	}()
	return nil
}

func redact(line string) string {
	if name, _, ok := strings.Cut(line, ": "); ok && (name == "Unseal Key" || name == "Root Token") {
		return name + ": …"
	}
	return line
}

// readFiles reads vaultdev's line and the secrets in the files that it names.
func (p *process) readFiles(line string) error {
	var files struct {
		RootToken string `json:"root_token_file"`
		UnsealKey string `json:"unseal_key_file"`
	}
	if err := errors.Join(json.Unmarshal([]byte(line), p), json.Unmarshal([]byte(line), &files)); err != nil {
		return err
	}
	token, err := os.ReadFile(files.RootToken)
	if err != nil {
		return err
	}
	unsealKey, err := os.ReadFile(files.UnsealKey)
	p.token, p.unsealKey = string(token), string(unsealKey)
	return err
}

// stop closes standard input, on which either kind ends, and kills what does
// not end within seconds.
func (p *process) stop() error {
	if p.cmd.Process == nil {
		return nil
	}
	_ = p.stdin.Close()
	kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	err := p.cmd.Wait()
	_ = p.log.Close()
	if exit := new(exec.ExitError); p.shell && errors.As(err, &exit) && exit.Exited() {
		return nil // the shell passes on that Vault ended by a signal
	}
	return err
}

// tail returns the end of the log.
func tail(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[max(0, len(b)-2048):]))
}
