package vault_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
)

// answering is a client of a Vault that answers as h does, once logged in.
func answering(t *testing.T, h http.HandlerFunc) *vault.Client {
	t.Helper()
	quiet(t)
	c, err := vault.NewOver(t.Context(), vault.Config{Login: approle()}, wire{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/login") {
			reply(w, map[string]any{"auth": map[string]any{"client_token": "hvs.x"}})
			return
		}
		h(w, r)
	})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestTransitRequests(t *testing.T) {
	var bodies []string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, strings.TrimPrefix(r.URL.Path, "/v1/")+" "+string(b))
		switch r.Method {
		case http.MethodGet:
			reply(w, map[string]any{"data": map[string]any{"type": "aes256-gcm96"}})
		default:
			reply(w, map[string]any{"data": map[string]any{"ciphertext": "vault:v7:AAAA", "plaintext": "a2V5"}})
		}
	})
	tr := c.Transit("transit", "app")
	for range 2 {
		if got, err := tr.Wrap(t.Context(), []byte("key"), []byte("associated")); err != nil || got != "vault:v7:AAAA" {
			t.Errorf("Wrap: %q, %v", got, err)
		}
	}
	if got, err := tr.Unwrap(t.Context(), "vault:v7:AAAA", []byte("associated")); err != nil || string(got) != "key" {
		t.Errorf("Unwrap: %q, %v", got, err)
	}
	want := []string{
		"transit/keys/app ",
		`transit/encrypt/app {"plaintext":"a2V5","associated_data":"YXNzb2NpYXRlZA=="}`,
		`transit/encrypt/app {"plaintext":"a2V5","associated_data":"YXNzb2NpYXRlZA=="}`,
		`transit/decrypt/app {"ciphertext":"vault:v7:AAAA","associated_data":"YXNzb2NpYXRlZA=="}`,
	}
	if strings.Join(bodies, "\n") != strings.Join(want, "\n") {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(bodies, "\n"), strings.Join(want, "\n"))
	}
	if tr.Scheme() != "vault" {
		t.Errorf("scheme %q", tr.Scheme())
	}
}

func TestTransitAnswers(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	good := `{"data":{"ciphertext":"vault:v1:AAAA","plaintext":"a2V5"}}`
	for name, tc := range map[string]struct {
		keyStatus int
		key       string
		status    int
		answer    string
		is        error
		want      string // of Wrap's or Unwrap's error
	}{
		"good":                    {200, `{"data":{"type":"aes256-gcm96"}}`, 200, good, nil, ""},
		"may not look":            {403, `{"errors":["permission denied"]}`, 200, good, nil, ""},
		"no such key":             {404, `{"errors":[]}`, 200, good, nil, "vault write -f transit/keys/app"},
		"no such mount":           {404, `{"errors":["no handler for route"]}`, 200, good, nil, "vault secrets list"},
		"RSA":                     {200, `{"data":{"type":"rsa-4096"}}`, 200, good, nil, "rsa-4096"},
		"derived":                 {200, `{"data":{"type":"aes256-gcm96","derived":true}}`, 200, good, nil, "derived"},
		"ignores associated data": {200, `{"data":{"type":"aes256-gcm96"}}`, 200, `{"data":{"ciphertext":"vault:v1:AAAA"},"warnings":["Endpoint ignored these unrecognized parameters: [associated_data]"]}`, nil, "1.13"},
		"no ciphertext":           {200, `{"data":{"type":"aes256-gcm96"}}`, 200, `{"data":{}}`, nil, "not Vault's JSON"},
		"another scheme":          {200, `{"data":{"type":"aes256-gcm96"}}`, 200, `{"data":{"ciphertext":"plain:AAAA"}}`, nil, "not Vault's JSON"},
		"no JSON":                 {200, `{"data":{"type":"aes256-gcm96"}}`, 200, `<html>`, nil, "does not answer as Vault does"},
		"sealed":                  {503, `{"errors":["Vault is sealed"]}`, 200, good, vault.ErrUnavailable, "unseal"},
		"a proxy's page":          {200, `{"data":{"type":"aes256-gcm96"}}`, 400, "<html>" + base64.StdEncoding.EncodeToString(key), nil, "status 400"},
		"echo":                    {200, `{"data":{"type":"aes256-gcm96"}}`, 400, `{"errors":["bad plaintext ` + base64.StdEncoding.EncodeToString(key) + `"]}`, nil, "status 400"},
		"a token without upsert":  {403, `{"errors":[]}`, 400, `{"errors":["encryption key not found"]}`, nil, "there is no transit key"},
	} {
		bubble(t, name, func(t *testing.T) {
			c := answering(t, func(w http.ResponseWriter, r *http.Request) {
				status, body := tc.status, tc.answer
				if r.Method == http.MethodGet {
					status, body = tc.keyStatus, tc.key
				}
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			})
			_, err := c.Transit("transit", "app").Wrap(t.Context(), key, []byte("a"))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%v; want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(key)) {
				t.Errorf("repeats the key: %v", err)
			}
		})
	}
}

func TestUnwrapAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		answer string
		unwrap bool // errors.Is ErrUnwrap
		want   string
	}{
		"altered":       {400, `{"errors":["cipher: message authentication failed"]}`, true, "authentication failed"},
		"no ciphertext": {400, `{"errors":["invalid ciphertext: no prefix"]}`, true, "no prefix"},
		"too old":       {400, `{"errors":["ciphertext or signature version is disallowed by policy (too old)"]}`, true, "min_decryption_version"},
		"too new":       {400, `{"errors":["invalid ciphertext: version is too new"]}`, true, "too new"},
		"no such key":   {400, `{"errors":["encryption key not found"]}`, false, "there is no transit key"},
		"wrong type":    {400, `{"errors":["'[0].associated_data' provided for non-AEAD cipher suite rsa-2048"]}`, false, "aes256-gcm96"},
		"other refusal": {400, `{"errors":["context is required"]}`, false, "context is required"},
		"no plaintext":  {200, `{"data":{}}`, false, "not Vault's JSON"},
		"no base64":     {200, `{"data":{"plaintext":"###"}}`, false, "does not answer as Vault does"},
		"denied":        {403, `{"errors":["permission denied"]}`, false, `path "transit/decrypt/app" { capabilities = ["update"] }`},
		"out of order":  {500, `{"errors":["1 error occurred"]}`, false, "status 500"},
		"proxy's page":  {400, "<html>host-17", false, "status 400"},
	} {
		bubble(t, name, func(t *testing.T) {
			c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.answer)
			})
			_, err := c.Transit("transit", "app").Unwrap(t.Context(), "vault:v1:AAAA", []byte("a"))
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, keys.ErrUnwrap) != tc.unwrap {
				t.Fatalf("%v; want %q, refused: %t", err, tc.want, tc.unwrap)
			}
			if strings.Contains(err.Error(), "host-17") {
				t.Errorf("repeats a page that is not Vault's: %v", err)
			}
		})
	}
}

// versions is a KV version 2 engine with one secret.
type versions struct {
	mu   sync.Mutex
	data []string // one a version
	// lose makes the answer to the next write that is applied a 502.
	lose bool
}

func (v *versions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1/sys/internal/ui/mounts/"):
		reply(w, map[string]any{"data": map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}})
	case r.Method == http.MethodGet && len(v.data) == 0:
		refuse(w, http.StatusNotFound)
	case r.Method == http.MethodGet:
		reply(w, map[string]any{"data": map[string]any{
			"data":     map[string]string{"keyring": v.data[len(v.data)-1]},
			"metadata": map[string]any{"version": len(v.data)},
		}})
	default:
		v.save(w, r)
	}
}

func (v *versions) save(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Data    map[string]string
		Options struct{ CAS *int }
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	if in.Options.CAS == nil || *in.Options.CAS != len(v.data) {
		refuse(w, http.StatusBadRequest, "check-and-set parameter did not match the current version")
		return
	}
	v.data = append(v.data, in.Data["keyring"])
	if v.lose {
		v.lose = false
		refuse(w, http.StatusBadGateway, "upstream went away")
		return
	}
	reply(w, map[string]any{"data": map[string]any{"version": len(v.data)}})
}

func TestSaveWithALostAnswer(t *testing.T) {
	bubble(t, "each", saveWithALostAnswer)
}

func saveWithALostAnswer(t *testing.T) {
	v := &versions{}
	kv := answering(t, v.ServeHTTP).KV("kv", "ring")
	for i, step := range []struct{ old, doc string }{{"", "one"}, {"one", "two"}, {"two", "three"}} {
		var old []byte
		if step.old != "" {
			old = []byte(step.old)
		}
		v.lose = true
		if err := kv.Save(t.Context(), []byte(step.doc), old); err != nil {
			t.Fatalf("%q: %v", step.doc, err)
		}
		if got, err := kv.Load(t.Context()); err != nil || string(got) != step.doc || len(v.data) != i+1 {
			t.Errorf("%q, %v and %d versions; want %q, written once", got, err, len(v.data), step.doc)
		}
	}
	if err := kv.Save(t.Context(), []byte("four"), []byte("one")); !errors.Is(err, keys.ErrConflict) {
		t.Errorf("over a document that is gone: %v", err)
	}
	if err := kv.Save(t.Context(), []byte("four"), nil); !errors.Is(err, keys.ErrExists) {
		t.Errorf("created again: %v", err)
	}
	if err := kv.Save(t.Context(), []byte{0xff}, nil); err == nil {
		t.Error("no text, and yet saved")
	}
	if err := kv.Save(t.Context(), nil, nil); err == nil {
		t.Error("nothing, and yet saved")
	}
}

func TestOddPaths(t *testing.T) {
	asked := 0
	c := answering(t, func(w http.ResponseWriter, _ *http.Request) { asked++; refuse(w, 404) })
	for _, path := range []string{"", "a//b", "..", "a/../b", "a b", "a?b", "a#b", "a%2fb", "a\nb"} {
		if _, err := c.KV("kv", path).Load(t.Context()); err == nil || errors.Is(err, keys.ErrNotFound) {
			t.Errorf("%q: %v", path, err)
		}
		if _, err := c.Transit("transit", path).Wrap(t.Context(), nil, nil); err == nil {
			t.Errorf("%q was taken for a key", path)
		}
	}
	if asked > 0 {
		t.Errorf("Vault was asked %d times", asked)
	}
}
