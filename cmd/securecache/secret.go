package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// maxSecret bounds a password's or a passphrase's file.
const maxSecret = 64 << 10

// readSecret reads a file's text without the line end that editors leave.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSecretFrom(f, path)
}

func readSecretFrom(r io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSecret {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxSecret)
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return text, nil
}

// passphrase returns the passphrase that the file named by the environment
// variable env holds, or asks for it on the terminal, twice where it is new.
func (a *app) passphrase(env, what string, fresh bool) ([]byte, error) {
	if path := os.Getenv(env); path != "" {
		text, err := readSecret(path)
		if err != nil {
			return nil, fmt.Errorf("the file that %s names: %w", env, err)
		}
		return text, nil
	}
	// Not standard input: that may be the value to be stored.
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, &failure{code: exitUsage, err: fmt.Errorf("there is no terminal to ask for the %s on", what),
			next: "put it into a file that only you can read, and name that in " + env}
	}
	defer tty.Close()
	text, err := ask(tty, "The "+what+": ")
	if err != nil || !fresh {
		return text, err
	}
	again, err := ask(tty, "Once more: ")
	if err != nil {
		return nil, err
	}
	defer clear(again)
	if !bytes.Equal(text, again) {
		return nil, errors.New("the two are not the same: nothing was changed")
	}
	return text, nil
}

func ask(tty *os.File, prompt string) ([]byte, error) {
	fmt.Fprint(tty, prompt)
	text, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	if err == nil && len(text) == 0 {
		err = errors.New("nothing was entered")
	}
	return text, err
}

// confirm asks before what cannot be undone, unless yes says that it was asked.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return &failure{code: exitUsage, err: errors.New("this cannot be undone, and there is no terminal to ask on"), next: "give --yes if you are sure"}
	}
	fmt.Fprint(a.stderr, question+" Type yes to go on: ")
	var answer string
	if _, err := fmt.Fscanln(in, &answer); err != nil || answer != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}
