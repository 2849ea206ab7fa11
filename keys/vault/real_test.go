package vault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/vaulttest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
)

// The tests in the files real_*test.go run against a real Vault: see
// vaulttest.New. Each has a server of its own.

// real is a Vault with the key-encryption key transit/app.
type real struct {
	*vaulttest.Server
	t *testing.T
}

func newReal(t *testing.T) *real {
	t.Helper()
	quiet(t)
	r := &real{vaulttest.New(t), t}
	r.must("transit/keys/app", map[string]any{"type": "aes256-gcm96"})
	return r
}

// must writes to a path as root.
func (r *real) must(path string, data map[string]any) map[string]any {
	r.t.Helper()
	out, err := r.Write(r.t.Context(), path, data)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// client logs in.
func (r *real) client(l vault.Login) *vault.Client {
	r.t.Helper()
	c, err := vault.New(r.t.Context(), vault.Config{Address: r.Address, CACert: r.CACert, Login: l})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// root is a client that may do everything.
func (r *real) root() *vault.Client { return r.client(vault.Token(vault.Value(r.Admin().Token()))) }

// role makes an AppRole with the given policy text and returns its login.
func (r *real) role(name, policy string, settings map[string]any) vault.Login {
	r.t.Helper()
	r.must("sys/policies/acl/"+name, map[string]any{"policy": policy})
	role := map[string]any{"token_policies": name}
	for k, v := range settings {
		role[k] = v
	}
	r.must("auth/approle/role/"+name, role)
	id, err := r.Admin().Logical().ReadWithContext(r.t.Context(), "auth/approle/role/"+name+"/role-id")
	if err != nil {
		r.t.Fatal(err)
	}
	secret := r.must("auth/approle/role/"+name+"/secret-id", nil)
	return vault.AppRole("", id.Data["role_id"].(string), vault.Value(secret["secret_id"].(string)))
}

// operator and app are clients with the documented policies and no more, and
// with the keyring at kv/securecache/shop.
func (r *real) operator() (*vault.Transit, *vault.KV) {
	t, s := r.at(r.root())
	return r.at(r.client(r.role("operator", vault.OperatorPolicy(t, s), nil)))
}

func (r *real) app(settings map[string]any) (*vault.Transit, *vault.KV) {
	t, s := r.at(r.root())
	return r.at(r.client(r.role("app", vault.AppPolicy(t, s), settings)))
}

func (r *real) at(c *vault.Client) (*vault.Transit, *vault.KV) {
	return c.Transit("transit", "app"), c.KV("kv", "securecache/shop")
}

func (r *real) open(s keys.Store, w keys.Wrapper, o *keys.Options) *keys.Keyring {
	r.t.Helper()
	k, err := keys.Open(r.t.Context(), "shop", s, w, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { k.Close() })
	return k
}

func (r *real) refreshed(k *keys.Keyring) *keys.Ring {
	r.t.Helper()
	if err := k.Refresh(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	ring, err := k.Ring()
	if err != nil {
		r.t.Fatal(err)
	}
	return ring
}

// record seals a record, and returns what opens it with another keyring.
func (r *real) record(k *keys.Keyring) (opens func(*keys.Keyring)) {
	r.t.Helper()
	at := func(k *keys.Keyring) (*codec.Codec, codec.Binding) {
		r.t.Helper()
		c, err := codec.New(k, nil)
		ring, stale := k.Ring()
		if err := errors.Join(err, stale); err != nil {
			r.t.Fatal(err)
		}
		name := ring.Names().Blind('v', "name")
		return c, codec.Binding{Namespace: "shop", Kind: codec.KindValue, ID: "{" + base64.RawURLEncoding.EncodeToString(name[:]) + "}"}
	}
	c, binding := at(k)
	record, err := c.Seal(nil, binding, time.Now().Add(time.Hour), []byte("value"))
	if err != nil {
		r.t.Fatal(err)
	}
	return func(k *keys.Keyring) {
		r.t.Helper()
		c, binding := at(k)
		if got, err := c.Open(nil, binding, record); err != nil || string(got) != "value" {
			r.t.Errorf("the record opens to %q, %v", got, err)
		}
	}
}

// await calls f until it holds, and fails after half a minute.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within half a minute", what)
		case <-tick.C:
		}
	}
}

func TestRealLifeCycle(t *testing.T) {
	r := newReal(t)
	ow, os := r.operator()
	aw, as := r.app(nil)
	if _, err := keys.Open(t.Context(), "shop", as, aw, nil); !errors.Is(err, keys.ErrNotFound) {
		t.Fatalf("open before create: %v", err)
	}
	if err := keys.Create(t.Context(), "shop", os, ow, keys.Layout{}); err != nil {
		t.Fatal(err)
	}
	if err := keys.Create(t.Context(), "shop", os, ow, keys.Layout{}); !errors.Is(err, keys.ErrExists) {
		t.Fatalf("created twice: %v", err)
	}
	op, app := r.open(os, ow, nil), r.open(as, aw, nil)
	first := r.refreshed(app).Primary(time.Now()).ID()

	second, err := op.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ring := r.refreshed(app)
	if ring.Key(second.ID) == nil || ring.Primary(time.Now()).ID() != first || ring.Primary(second.Activates).ID() != second.ID {
		t.Error("the new key is not announced, or seals too early")
	}

	later := r.open(os, ow, &keys.Options{Now: func() time.Time { return second.Activates.Add(time.Minute) }})
	if err := later.Destroy(t.Context(), first, false); !errors.Is(err, keys.ErrInUse) {
		t.Errorf("destroyed what may be in use: %v", err)
	}
	if err := later.Destroy(t.Context(), first, true); err != nil {
		t.Fatal(err)
	}
	if ring = r.refreshed(app); ring.Key(first) != nil || !ring.Destroyed(first) {
		t.Error("the destroyed key still opens")
	}
	if err := op.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	third, err := op.RevokeAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ring = r.refreshed(app); ring.Key(second.ID) != nil || ring.Primary(time.Now()).ID() != third.ID {
		t.Error("after revoke-all an older key opens, or the new one does not seal")
	}
	if err := op.Rewrap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r.refreshed(app)

	n, err := os.Shred(t.Context())
	if err != nil || n == 0 {
		t.Errorf("shred: %d versions, %v", n, err)
	}
	if n, err = os.Shred(t.Context()); err != nil || n != 0 {
		t.Errorf("shredded again: %d versions, %v", n, err)
	}
	r.refreshed(app)

	_, err = app.Rotate(t.Context())
	if !errors.Is(err, vault.ErrDenied) || !strings.Contains(err.Error(), `path "transit/encrypt/app" { capabilities = ["update"] }`) {
		t.Errorf("the application rotates with its policy: %v", err)
	}
	if err := as.Save(t.Context(), []byte("x"), nil); !errors.Is(err, vault.ErrDenied) {
		t.Errorf("the application writes with its policy: %v", err)
	}
}

func TestRealOperatorMakesNoKeyByAMisspeltName(t *testing.T) {
	r := newReal(t)
	ow, _ := r.operator()
	c := r.client(r.role("creator", `path "transit/*" { capabilities = ["create", "read", "update"] }`, nil))
	for name, w := range map[string]*vault.Transit{"by its type": c.Transit("transit", "ap"), "as root": r.root().Transit("transit", "ap")} {
		if _, err := w.Wrap(t.Context(), make([]byte, 32), nil); err == nil || !strings.Contains(err.Error(), "there is no transit key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ow.Wrap(t.Context(), make([]byte, 32), nil); err != nil {
		t.Error(err)
	}
	if s, err := r.Admin().Logical().Read("transit/keys/ap"); err != nil || s != nil {
		t.Errorf("a key was made of a misspelt name (%v)", err)
	}
}

func TestRealKeyEncryptionKeyRotated(t *testing.T) {
	r := newReal(t)
	ow, os := r.operator()
	aw, as := r.app(nil)
	if err := keys.Create(t.Context(), "shop", os, ow, keys.Layout{}); err != nil {
		t.Fatal(err)
	}
	op, app := r.open(os, ow, nil), r.open(as, aw, nil)
	ids, opens := r.refreshed(app).Keys(), r.record(app)
	before, err := os.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.must("transit/keys/app/rotate", nil)
	if err := op.Rewrap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r.must("transit/keys/app/config", map[string]any{"min_decryption_version": 2})

	anew := r.open(as, aw, nil)
	opens(anew)
	fresh := r.refreshed(anew)
	if len(fresh.Keys()) != len(ids) || fresh.Keys()[0].ID != ids[0].ID {
		t.Error("re-wrapping has changed the keys")
	}
	r.refreshed(app)
	after, err := os.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if wrappedBy(t, after) != "vault:v2" || wrappedBy(t, before) != "vault:v1" {
		t.Errorf("wrapped by %s, before that by %s", wrappedBy(t, after), wrappedBy(t, before))
	}
	// Whoever puts the older document back gets nothing out of it.
	if err := os.Save(t.Context(), before, after); err != nil {
		t.Fatal(err)
	}
	_, err = keys.Open(t.Context(), "shop", as, aw, nil)
	if !errors.Is(err, keys.ErrUnwrap) || !strings.Contains(err.Error(), "min_decryption_version") {
		t.Errorf("an older document: %v", err)
	}
}

// wrappedBy returns the version of the key-encryption key that wrapped the
// names key of a document.
func wrappedBy(t *testing.T, text []byte) string {
	t.Helper()
	doc := open(t, text)
	parts := strings.Split(doc["names"].(map[string]any)["wrapped"].(string), ":")
	return strings.Join(parts[:2], ":")
}

type envelope struct {
	Document []byte `json:"document"`
	MAC      []byte `json:"mac"`
}

func open(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var e envelope
	var doc map[string]any
	if err := errors.Join(json.Unmarshal(text, &e), json.Unmarshal(e.Document, &doc)); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestRealOtherNamespace(t *testing.T) {
	r := newReal(t)
	c := r.root()
	w, shop, bank := c.Transit("transit", "app"), c.KV("kv", "shop"), c.KV("kv", "bank")
	if err := keys.Create(t.Context(), "shop", shop, w, keys.Layout{}); err != nil {
		t.Fatal(err)
	}
	text, err := shop.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := bank.Save(t.Context(), text, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(t.Context(), "bank", bank, w, nil); !errors.Is(err, keys.ErrDocument) {
		t.Errorf("another namespace's document: %v", err)
	}
	// The same with the name forged: now Vault refuses the associated data.
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	e.Document = bytes.Replace(e.Document, []byte(`"shop"`), []byte(`"bank"`), 1)
	forged, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if err := bank.Save(t.Context(), forged, text); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(t.Context(), "bank", bank, w, nil); !errors.Is(err, keys.ErrUnwrap) {
		t.Errorf("another namespace's wrapped keys: %v", err)
	}
	r.refreshed(r.open(shop, w, nil))
}

func TestRealCheckAndSet(t *testing.T) {
	r := newReal(t)
	kv := r.root().KV("kv", "race")
	if err := kv.Save(t.Context(), []byte("0"), nil); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var won []string
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			doc := string(rune('a' + i))
			err := kv.Save(t.Context(), []byte(doc), []byte("0"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, doc)
			case !errors.Is(err, keys.ErrConflict):
				t.Errorf("%s: %v", doc, err)
			}
		})
	}
	writers.Wait()
	got, err := kv.Load(t.Context())
	if len(won) != 1 || err != nil || string(got) != won[0] {
		t.Errorf("of 8 writers %v won; stored is %q, %v", won, got, err)
	}
}
