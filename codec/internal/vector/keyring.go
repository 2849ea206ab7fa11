package vector

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
)

// Entry is a data key of a Document.
type Entry struct {
	Key                         []byte
	Created, Activates, Retired int64 // a Retired of 0 is left out
	Destroyed                   bool
}

// Document is a keyring document. Its keys are wrapped by the scheme "plain".
type Document struct {
	Namespace                    string
	Revision                     int
	Names                        []byte // the names key
	NamesCreated                 int64
	Keys                         []Entry
	Prefix, NamesLayout          string // "sc" and "blind" where empty
	Shards                       int
	MaxLife, Refresh, MaxOffline int64 // the last two, 60,000 and 3,600,000 where 0
}

// Members returns the document as a JSON object that may be changed.
func (d Document) Members() map[string]any {
	list := make([]any, 0, len(d.Keys))
	for _, k := range d.Keys {
		list = append(list, k.members(d.Namespace))
	}
	return map[string]any{
		"format":    "securecache/keyring/1",
		"namespace": d.Namespace,
		"revision":  d.Revision,
		"keys":      list,
		"names": map[string]any{
			"id":      hex.EncodeToString(Expand(d.Names, 16, "securecache v1 names key id", d.Namespace)),
			"created": d.NamesCreated,
			"wrapped": Plain(d.Names),
		},
		"layout": map[string]any{
			"prefix":      or(d.Prefix, "sc"),
			"names":       or(d.NamesLayout, "blind"),
			"shards":      d.Shards,
			"max_life":    d.MaxLife,
			"refresh":     or(d.Refresh, 60_000),
			"max_offline": or(d.MaxOffline, 3_600_000),
		},
	}
}

func (k Entry) members(namespace string) map[string]any {
	m := map[string]any{
		"id":        hex.EncodeToString(KeyID(k.Key, namespace)),
		"created":   k.Created,
		"activates": k.Activates,
	}
	if k.Retired != 0 {
		m["retired"] = k.Retired
	}
	if !k.Destroyed {
		m["wrapped"] = Plain(k.Key)
	}
	return m
}

// Stored returns the document as a store holds it.
func (d Document) Stored() []byte { return d.Envelope(must(json.Marshal(d.Members()))) }

// Envelope returns body as a store holds it, with the mac that d's names key
// makes over it.
func (d Document) Envelope(body []byte) []byte {
	mac := hmac.New(sha256.New, Expand(d.Names, 32, "securecache v1 keyring", d.Namespace))
	mac.Write(body)
	return must(json.Marshal(map[string]string{
		"document": base64.StdEncoding.EncodeToString(body),
		"mac":      base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	}))
}

// Plain wraps a key by the scheme "plain".
func Plain(key []byte) string { return "plain:" + base64.StdEncoding.EncodeToString(key) }

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
