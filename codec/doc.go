// Package codec seals values into records and opens them again.
//
// A record is what stands in Redis: a 60-byte header, a ciphertext and a tag
// (FORMAT.md; the header is drawn above [Header]). It opens only under the
// [Binding] it was sealed for (namespace, kind, id and field), only with a key
// of the namespace's ring, and only until its own expiry, whatever the server
// does to its TTL. What does not open is a [RefusedError] that names the
// reason; nothing is ever read "as it was before".
//
// A [Codec] takes its keys from a [Source], in practice a *keys.Keyring, and
// works without the network. Content may be compressed and padded on the way
// in; both are undone only after the record has authenticated.
//
//	c, err := codec.New(keyring, nil)
//	record, err := c.Seal(nil, binding, time.Now().Add(time.Hour), content)
//	content, err := c.Open(nil, binding, record)
//
// Everything here is safe for concurrent use, and no error carries a value, a
// name or a byte of a key or a record.
package codec
