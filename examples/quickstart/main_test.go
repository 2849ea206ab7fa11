package main

import (
	"os"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestFetch(t *testing.T) {
	env := securecachetest.Start(t)
	store := keys.NewFile(t.TempDir() + "/keyring.json")
	if err := keys.Create(t.Context(), env.Namespace, store, keys.InsecurePlain(), keys.Layout{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		user, err := fetch(t.Context(), env.Server.URL(), env.Files, env.Namespace, store, keys.InsecurePlain())
		if err != nil || user.Name != "Ada" {
			t.Fatalf("%+v, %v", user, err)
		}
	}
	found, err := env.Admin.Keys(t.Context(), "sc:"+env.Namespace+":"+codec.KindValue.String()+":*").Result()
	if err != nil || len(found) != 1 {
		t.Errorf("the server holds %d records, %v", len(found), err)
	}
}

// TestREADME holds the README's lines to the program's.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(readme), "```go\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("the README has no Go block")
	}
	lines := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
	if len(lines) > 10 {
		t.Errorf("the README's program has %d lines; ten are allowed", len(lines))
	}
	body := "\t" + strings.Join(lines, "\n\t") + "\n"
	if !strings.Contains(string(source), body) {
		t.Errorf("the README's program is not what main.go runs:\n%s", block)
	}
}
