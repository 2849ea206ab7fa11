package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/securecache/securecache-go/keys"
)

// field is the only field of the secret. It holds the document's text verbatim.
const field = "keyring"

// KV keeps a keyring's document as one secret of a KV version 2 engine, in its
// field "keyring". It implements [keys.Store]; saving is a check-and-set on the
// secret's version. It is safe for concurrent use.
//
// The engine must not delete versions by time (delete_version_after). It keeps
// older versions, ten unless set otherwise: see [KV.Shred].
type KV struct {
	c           *Client
	mount, name string
}

var _ keys.Store = (*KV)(nil)

// KV returns the store at a path of the KV version 2 engine at mount. Nothing
// is sent before it is used.
func (c *Client) KV(mount, path string) *KV {
	return &KV{c: c, mount: strings.Trim(mount, "/"), name: strings.Trim(path, "/")}
}

// String returns vault-kv:MOUNT/PATH, or vault-kv:MOUNT//PATH where the mount
// has slashes.
func (s *KV) String() string {
	if strings.Contains(s.mount, "/") {
		return "vault-kv:" + s.mount + "//" + s.name
	}
	return "vault-kv:" + s.mount + "/" + s.name
}

func (s *KV) path(verb string) string { return s.mount + "/" + verb + "/" + s.name }

// secret is what KV answers to a read; a deleted one has a version and no data.
type secret struct {
	Data struct {
		Data     map[string]json.RawMessage `json:"data"`
		Metadata struct {
			Version   int    `json:"version"`
			Deleted   string `json:"deletion_time"`
			Destroyed bool   `json:"destroyed"`
		} `json:"metadata"`
	} `json:"data"`
}

// Load returns the newest version of the document. It returns
// [keys.ErrNotFound] where the path has never held one; one that was deleted is
// another error, since it can be brought back.
func (s *KV) Load(ctx context.Context) ([]byte, error) {
	doc, _, err := s.load(ctx)
	return doc, err
}

func (s *KV) load(ctx context.Context) (doc []byte, version int, err error) {
	var out secret
	err = s.c.do(ctx, call{op: opRead, path: s.path("data")}, &out)
	meta := out.Data.Metadata
	switch {
	case errors.As(err, new(*notFoundError)) && meta.Version > 0:
		return nil, 0, s.gone(meta.Version, meta.Destroyed)
	case errors.As(err, new(*notFoundError)), errors.Is(err, errAnswer):
		if mountErr := s.checkMount(ctx); mountErr != nil {
			return nil, 0, mountErr
		}
		if errors.Is(err, errAnswer) {
			return nil, 0, err
		}
		return nil, 0, fmt.Errorf("%w (%s)", keys.ErrNotFound, s)
	case errors.Is(err, ErrDenied):
		return nil, 0, s.denied(ctx, err)
	case err != nil:
		return nil, 0, err
	case meta.Version == 0:
		return nil, 0, s.wrongVersion()
	}
	var text string
	if json.Unmarshal(out.Data.Data[field], &text) != nil || text == "" {
		return nil, 0, fmt.Errorf("vault: the secret at %s is no keyring: it has no text in the field %q; choose another path", s, field)
	}
	return []byte(text), meta.Version, nil
}

func (s *KV) gone(version int, destroyed bool) error {
	if destroyed {
		return fmt.Errorf("vault: the newest version (%d) of the keyring at %s was destroyed; restore it from a backup of Vault, or start anew at another path", version, s)
	}
	return fmt.Errorf("vault: the keyring at %s was deleted; bring it back: vault kv undelete -mount=%s -versions=%d %s", s, s.mount, version, s.name)
}

func (s *KV) wrongVersion() error {
	return fmt.Errorf("vault: the engine at %s is KV version 1, which cannot check and set; use a version 2 mount: vault secrets enable -path=keyrings -version=2 kv", s.mount)
}

// checkMount reports a mount that is missing or no KV version 2. On version 1 a
// keyring would be written, and overwritten, without any check.
func (s *KV) checkMount(ctx context.Context) error {
	var out engine
	err := s.c.do(ctx, s.whereabouts(), &out)
	switch {
	case errors.Is(err, ErrDenied):
		return fmt.Errorf("%w: nothing is mounted at %s at %s, or no policy of this token reaches into it; check the name with: vault secrets list, and grant: %s", ErrDenied, s.mount, s.c.address, grant(s.path("data"), opRead))
	case err != nil:
		return err
	case out.Data.Type != "kv" && out.Data.Type != "generic":
		at := cmp.Or(strings.Trim(out.Data.Path, "/"), s.mount)
		return fmt.Errorf("vault: the engine at %s is %s, not KV version 2", at, out.Data.Type)
	}
	misnamed := s.misnamed(out)
	if misnamed == nil && out.Data.Options["version"] != "2" {
		return s.wrongVersion()
	}
	return misnamed
}

// engine is what Vault says of the mount that a path belongs to.
type engine struct {
	Data struct {
		Path    string            `json:"path"`
		Type    string            `json:"type"`
		Options map[string]string `json:"options"`
	} `json:"data"`
}

// whereabouts asks for the mount that the secret belongs to, as vault kv does.
// Any token may whose policies reach into that mount.
func (s *KV) whereabouts() call {
	return call{op: opRead, path: "sys/internal/ui/mounts/" + s.mount + "/" + s.name}
}

// misnamed returns nil unless the secret belongs to another mount than the one
// that was named.
func (s *KV) misnamed(e engine) error {
	at := strings.Trim(e.Data.Path, "/")
	name, inside := strings.CutPrefix(s.mount+"/"+s.name, at+"/")
	switch {
	case at == "" || at == s.mount:
		return nil
	case !inside:
		return fmt.Errorf("vault: %s at %s is a mount, and the keyring needs a path in it", at, s.c.address)
	}
	return fmt.Errorf("vault: the engine at %s is mounted at %s, not at %s; tell the mount from the path: %s", s.c.address, at, s.mount, s.c.KV(at, name))
}

// denied returns err, or that the mount was misnamed: then its policies are not
// what is wrong.
func (s *KV) denied(ctx context.Context, err error) error {
	var out engine
	if _, lookErr := s.c.look(ctx, s.whereabouts(), &out); lookErr != nil {
		return err
	}
	return cmp.Or(s.misnamed(out), err)
}

// Save writes doc where the store holds old, or nothing and old is nil. It
// returns [keys.ErrExists] or [keys.ErrConflict] where that is not so, and
// [keys.ErrNotFound] where there is nothing to replace. Saving what is there
// already succeeds: it is what a repeated request finds whose first answer was
// lost.
func (s *KV) Save(ctx context.Context, doc, old []byte) error {
	if !utf8.Valid(doc) || len(doc) == 0 {
		return errors.New("vault: a keyring's document is text")
	}
	version := 0
	if old == nil {
		if err := s.checkMount(ctx); err != nil {
			return err
		}
	} else {
		now, v, err := s.load(ctx)
		if err != nil {
			return err
		}
		if !bytes.Equal(now, old) {
			return fmt.Errorf("%w (%s)", keys.ErrConflict, s)
		}
		version = v
	}
	err := s.write(ctx, doc, version)
	r := new(requestError)
	if errors.As(err, &r) && strings.Contains(r.said, "check-and-set parameter did not match") {
		return s.lost(ctx, doc, old)
	}
	return err
}

func (s *KV) write(ctx context.Context, doc []byte, version int) error {
	type options struct {
		CAS int `json:"cas"`
	}
	in := struct {
		Data    map[string]string `json:"data"`
		Options options           `json:"options"`
	}{map[string]string{field: string(doc)}, options{version}}
	o := opUpdate
	if version == 0 {
		o = opCreate
	}
	return s.c.do(ctx, call{op: o, path: s.path("data"), in: in}, nil)
}

// lost says why a check-and-set was refused.
func (s *KV) lost(ctx context.Context, doc, old []byte) error {
	now, _, err := s.load(ctx)
	switch {
	case err != nil:
		return err
	case bytes.Equal(now, doc):
		return nil
	case old == nil:
		return fmt.Errorf("%w (%s)", keys.ErrExists, s)
	default:
		return fmt.Errorf("%w (%s)", keys.ErrConflict, s)
	}
}

// Shred destroys every version of the document but the newest, and returns how
// many it destroyed. A key that was destroyed in the keyring stays in the older
// versions until then, wrapped; what is left after that are Vault's backups,
// which the key-encryption key's min_decryption_version makes unreadable.
func (s *KV) Shred(ctx context.Context) (int, error) {
	var out struct {
		Data struct {
			Current  int `json:"current_version"`
			Versions map[string]struct {
				Destroyed bool `json:"destroyed"`
			} `json:"versions"`
		} `json:"data"`
	}
	err := s.c.do(ctx, call{op: opRead, path: s.path("metadata")}, &out)
	if errors.As(err, new(*notFoundError)) {
		return 0, fmt.Errorf("%w (%s)", keys.ErrNotFound, s)
	}
	if err != nil {
		return 0, err
	}
	var older []int
	for _, text := range slices.Sorted(maps.Keys(out.Data.Versions)) {
		if v, err := strconv.Atoi(text); err == nil && v < out.Data.Current && !out.Data.Versions[text].Destroyed {
			older = append(older, v)
		}
	}
	if len(older) == 0 {
		return 0, nil
	}
	err = s.c.do(ctx, call{op: opUpdate, path: s.path("destroy"), in: map[string][]int{"versions": older}}, nil)
	if err != nil {
		return 0, err
	}
	return len(older), nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
