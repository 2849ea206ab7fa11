package keys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

// MaxDocument is the size, in bytes, that the stored text may not pass. A
// thousand keys with Vault's wrapping take about half of it.
const MaxDocument = 1 << 20

const (
	documentFormat = "securecache/keyring/1"
	documentLabel  = "securecache v1 keyring"
	plainNames     = "plain"
	blindNames     = "blind"
	// Times fit a record's six bytes; revisions fit every JSON reader's number.
	maxMillis   = 1<<48 - 1
	maxRevision = 1<<53 - 1
)

// envelope is what a store holds: the document's exact bytes and the MAC that
// the names key makes over them.
//
//	{"document": "<base64 of the document>", "mac": "<base64>"}
type envelope struct {
	Document string `json:"document"`
	MAC      string `json:"mac"`
}

// document is the keyring as FORMAT.md draws it. Times are Unix milliseconds.
// Pointers tell a member that is absent from one that is zero.
type document struct {
	Format    string       `json:"format"`
	Namespace string       `json:"namespace"`
	Revision  uint64       `json:"revision"`
	Keys      []keyEntry   `json:"keys"`
	Names     namesEntry   `json:"names"`
	Layout    layoutMember `json:"layout"`
}

// keyEntry is one data key. Once destroyed it has no wrapped text.
type keyEntry struct {
	ID        ID     `json:"id"`
	Created   int64  `json:"created"`
	Activates int64  `json:"activates"`
	Retired   *int64 `json:"retired,omitempty"`
	Wrapped   string `json:"wrapped,omitempty"`
}

type namesEntry struct {
	ID      ID     `json:"id"`
	Created int64  `json:"created"`
	Wrapped string `json:"wrapped"`
}

type layoutMember struct {
	Prefix     string `json:"prefix"`
	Names      string `json:"names"`
	Shards     *int   `json:"shards"`
	MaxLife    *int64 `json:"max_life"`
	Refresh    int64  `json:"refresh"`
	MaxOffline int64  `json:"max_offline"`
}

func (k *keyEntry) destroyed() bool { return k.Wrapped == "" }

// parseEnvelope returns the document's bytes and their MAC, both unverified.
func parseEnvelope(text []byte) (body, mac []byte, err error) {
	if len(text) > MaxDocument {
		return nil, nil, fmt.Errorf("%w: it is larger than %d bytes", ErrDocument, MaxDocument)
	}
	var e envelope
	if err := parseJSON(text, &e); err != nil {
		return nil, nil, err
	}
	body, err1 := decode64(e.Document)
	mac, err2 := decode64(e.MAC)
	if err1 != nil || err2 != nil || len(mac) != sha256.Size {
		return nil, nil, fmt.Errorf("%w: its envelope is malformed", ErrDocument)
	}
	return body, mac, nil
}

// parseDocument reads and checks a document's bytes. Nothing in the result is
// to be believed before authenticate.
func parseDocument(body []byte) (*document, error) {
	var d document
	if err := parseJSON(body, &d); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return &d, nil
}

// seal returns d's bytes, and the text that a store holds for them.
func (d *document) seal(names deriver) (body, text []byte, err error) {
	if err := d.check(); err != nil {
		return nil, nil, fmt.Errorf("keys: the keyring cannot be changed so: %w", err)
	}
	if body, err = json.Marshal(d); err != nil {
		return nil, nil, err
	}
	mac, err := authenticator(names, d.Namespace, body)
	if err != nil {
		return nil, nil, err
	}
	text, err = json.Marshal(envelope{
		Document: base64.StdEncoding.EncodeToString(body),
		MAC:      base64.StdEncoding.EncodeToString(mac),
	})
	if len(text) > MaxDocument {
		return nil, nil, errors.New("keys: the keyring lists as many keys as it can; go on in a new namespace")
	}
	return body, text, err
}

// authenticate checks the MAC over a document's exact bytes.
func authenticate(names deriver, namespace string, body, mac []byte) error {
	want, err := authenticator(names, namespace, body)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, want) {
		return fmt.Errorf("%w: it does not authenticate", ErrDocument)
	}
	return nil
}

func authenticator(names deriver, namespace string, body []byte) ([]byte, error) {
	key, err := names(sha256.Size, documentLabel, [][]byte{[]byte(namespace)})
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, key)
	h.Write(body)
	return h.Sum(nil), nil
}

// check judges the form of d.
func (d *document) check() error {
	if d.Format != documentFormat {
		return errors.New("its format is not " + documentFormat + "; a newer version may have written it")
	}
	if err := checkNamespace(d.Namespace); err != nil {
		return err
	}
	if d.Revision < 1 || d.Revision > maxRevision {
		return errors.New("its revision is out of range")
	}
	if d.Names.ID == (ID{}) || d.Names.Wrapped == "" || !isMillis(d.Names.Created) {
		return errors.New("its names key is malformed")
	}
	if err := d.checkKeys(); err != nil {
		return err
	}
	_, err := d.Layout.layout()
	return err
}

func (d *document) checkKeys() error {
	ids := map[ID]bool{{}: true, d.Names.ID: true}
	live := false
	for i := range d.Keys {
		k := &d.Keys[i]
		if ids[k.ID] {
			return errors.New("a key has no id, or one that another key has")
		}
		ids[k.ID] = true
		live = live || !k.destroyed()
		if !isMillis(k.Created) || !isMillis(k.Activates) || (k.Retired != nil && (!isMillis(*k.Retired) || *k.Retired <= k.Activates)) {
			return errors.New("a key's times are malformed")
		}
	}
	if !live {
		return errors.New("it holds no data key")
	}
	return nil
}

func isMillis(ms int64) bool { return ms > 0 && ms <= maxMillis }

// layout returns m as rings carry it.
func (m *layoutMember) layout() (Layout, error) {
	if m.Shards == nil || m.MaxLife == nil || *m.MaxLife < 0 || (m.Names != plainNames && m.Names != blindNames) {
		return Layout{}, errors.New("its layout is malformed")
	}
	// Compared before they are multiplied, which could overflow into range.
	if max(*m.MaxLife, m.Refresh, m.MaxOffline) > longest.Milliseconds() || min(m.Refresh, m.MaxOffline) <= 0 {
		return Layout{}, errors.New("a duration in its layout is out of range")
	}
	l := Layout{
		Prefix:     m.Prefix,
		Plain:      m.Names == plainNames,
		Shards:     *m.Shards,
		MaxLife:    time.Duration(*m.MaxLife) * time.Millisecond,
		Refresh:    time.Duration(m.Refresh) * time.Millisecond,
		MaxOffline: time.Duration(m.MaxOffline) * time.Millisecond,
	}
	return l, l.check()
}

// member returns l, which is filled in, as the document holds it.
func (l Layout) member() layoutMember {
	maxLife := l.MaxLife.Milliseconds()
	m := layoutMember{
		Prefix:     l.Prefix,
		Names:      blindNames,
		Shards:     &l.Shards,
		MaxLife:    &maxLife,
		Refresh:    l.Refresh.Milliseconds(),
		MaxOffline: l.MaxOffline.Milliseconds(),
	}
	if l.Plain {
		m.Names = plainNames
	}
	return m
}

// clone returns a copy that may be changed.
func (d *document) clone() *document {
	c := *d
	c.Keys = slices.Clone(d.Keys)
	return &c
}

// parseJSON reads one JSON value, more strictly than encoding/json does: two
// readers that took a repeated or misspelt member differently would disagree
// about one document. Its errors quote nothing, since a wrong path may lead to
// anything.
func parseJSON(text []byte, into any) error {
	refused := fmt.Errorf("%w: it is not JSON of this form, with each member once", ErrDocument)
	if !utf8.Valid(text) {
		return refused
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return refused
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows its end", ErrDocument)
	}
	// The typed decoding has bounded the depth of what is walked here.
	dec = json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if !isStrict(dec) {
		return refused
	}
	return nil
}

// isStrict reports whether the next value has no null, no empty text, no number
// with a sign, and no member twice or in other letters than the format's.
func isStrict(dec *json.Decoder) bool {
	token, err := dec.Token()
	if err != nil || token == nil || token == "" {
		return false
	}
	if n, ok := token.(json.Number); ok {
		return n[0] != '-' // -0 too; what is no integer has not decoded
	}
	open, isDelim := token.(json.Delim)
	if !isDelim {
		return true
	}
	members := map[string]bool{}
	for dec.More() {
		if open == '{' {
			token, err := dec.Token()
			name, ok := token.(string)
			if err != nil || !ok || members[name] || !isMember(name) {
				return false
			}
			members[name] = true
		}
		if !isStrict(dec) {
			return false
		}
	}
	_, err = dec.Token()
	return err == nil
}

// isMember reports whether name has the letters of the format's member names;
// encoding/json takes others for them.
func isMember(name string) bool {
	for _, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
