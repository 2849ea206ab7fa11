package vault_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys/vault"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// TestDocumentedPolicies keeps the policies in the package's doc to what
// AppPolicy and OperatorPolicy write, which the real tests log in with.
func TestDocumentedPolicies(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var documented, written []string
	for line := range strings.Lines(string(doc)) {
		if rule, ok := strings.CutPrefix(line, "//\tpath "); ok {
			documented = append(documented, strings.Join(strings.Fields("path "+rule), " "))
		}
	}
	var c vault.Client
	tr, kv := c.Transit("transit", "shop"), c.KV("kv", "securecache/shop")
	for line := range strings.Lines(vault.AppPolicy(tr, kv) + vault.OperatorPolicy(tr, kv)) {
		if strings.HasPrefix(line, "path ") {
			written = append(written, strings.TrimSpace(line))
		}
	}
	if !slices.Equal(documented, written) {
		t.Errorf("documented\n%s\nwritten\n%s", strings.Join(documented, "\n"), strings.Join(written, "\n"))
	}
}
