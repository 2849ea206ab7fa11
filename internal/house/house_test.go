// Package house_test holds the arrows between the packages: imports run
// downward, and nothing heavy is linked where it is not wanted.
package house_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/securecache/securecache-go/"

// may says what each package may import beyond the standard library: its own
// module's packages by their path in it, others by the prefix of theirs. A
// trailing slash allows what is below.
var may = map[string][]string{
	"keys":                   {"golang.org/x/crypto/"},
	"keys/vault":             {"keys", "github.com/hashicorp/vault/api"},
	"codec":                  {"keys", "github.com/klauspost/compress/", "golang.org/x/crypto/", "github.com/fxamacker/cbor/v2"},
	"scripts/lua":            {"github.com/redis/go-redis/v9", "golang.org/x/sync/"},
	"handshake":              {},
	"securecache":            {"handshake", "codec", "keys", "scripts/lua", "github.com/redis/go-redis/v9"},
	"securecache/session":    {"securecache", "codec", "scripts/lua"},
	"securecache/token":      {"securecache", "codec", "scripts/lua"},
	"securecache/limit":      {"securecache", "codec", "scripts/lua"},
	"securecache/lock":       {"securecache", "codec", "scripts/lua", "github.com/redis/go-redis/v9"},
	"securecache/expiry":     {"securecache", "codec", "scripts/lua", "github.com/redis/go-redis/v9"},
	"hardening":              {"handshake", "github.com/redis/go-redis/v9", "golang.org/x/sys/"},
	"hardening/audit":        {"codec", "scripts/lua", "github.com/redis/go-redis/v9"},
	"securecachetest":        {"internal/server", "internal/server/", "securecache", "hardening", "keys", "codec", "scripts/lua", "github.com/redis/go-redis/v9"},
	"internal/server":        {"internal/server/", "hardening", "github.com/redis/go-redis/v9", "github.com/alicebob/miniredis/v2", "go.uber.org/goleak", "golang.org/x/sys/"},
	"internal/server/faults": {"internal/server/servertest", "github.com/Shopify/toxiproxy/v2", "github.com/rs/zerolog", "github.com/redis/go-redis/v9"},
	"internal/vaulttest":     {"github.com/hashicorp/vault/api"},
}

// free are the places that may import anything.
var free = []string{"cmd/", "examples/", "internal/house"}

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsRunDownward(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours || slices.ContainsFunc(free, func(f string) bool { return strings.HasPrefix(name, f) }) {
			continue
		}
		allowed := rules(name)
		if allowed == nil {
			t.Errorf("%s has no place in the house: say in this test what it may import", name)
			continue
		}
		seen++
		for _, imp := range p.Imports {
			if !permitted(allowed, imp) {
				t.Errorf("%s must not import %s", name, imp)
			}
		}
	}
	if seen < len(may) {
		t.Errorf("%d packages were looked at, %d have rules: a rule has lost its package", seen, len(may))
	}
}

// rules are a package's own. Inner parts without rules have those of their
// nearest ancestor and may also import each other: a package that others see has
// none of its neighbours' rights.
func rules(name string) []string {
	inner := strings.Contains("/"+name, "/internal/")
	for at := name; ; {
		if allowed, ok := may[at]; ok {
			if at != name {
				allowed = append(slices.Clone(allowed), at, at+"/")
			}
			return allowed
		}
		if !inner {
			return nil
		}
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return nil
		}
		at = at[:i]
	}
}

func permitted(allowed []string, imp string) bool {
	inner := strings.TrimPrefix(imp, module)
	if inner == imp && !strings.Contains(strings.Split(imp, "/")[0], ".") {
		return true // the standard library's
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		if strings.HasSuffix(a, "/") {
			return strings.HasPrefix(inner, a)
		}
		return inner == a || inner == imp && strings.HasPrefix(imp, a+"/")
	})
}

// TestVaultIsLinkedByNobodyElse keeps Vault's client out of programs that do
// not ask for it.
func TestVaultIsLinkedByNobodyElse(t *testing.T) {
	for _, name := range []string{"securecache", "codec", "keys", "hardening", "securecachetest"} {
		out, err := exec.Command("go", "list", "-deps", module+name).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", name, err)
		}
		if strings.Contains(string(out), "hashicorp/") {
			t.Errorf("%s links Vault's client", name)
		}
		if name != "securecachetest" && strings.Contains(string(out), "\ntesting\n") {
			t.Errorf("%s links the testing package", name)
		}
	}
}
