package securecache

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
)

// Key is where something is kept: a Redis key, and what binds a record to it.
// The zero Key belongs to nothing.
type Key struct {
	// At most four fields in four words: a larger Key would go through memory
	// instead of registers.
	text  string
	start int // of the id, in text
	kind  codec.Kind
}

// String returns the Redis key. It is blinded, unless the namespace has plain
// names, and may then be personal data.
func (k Key) String() string { return k.text }

// Kind returns the record kind that the key belongs to.
func (k Key) Kind() codec.Kind { return k.kind }

// Part returns the key of a companion of the same logical name, which shares
// its cluster slot. The part is a short word of the program's own, never data.
func (k Key) Part(part string) Key {
	k.text += ":" + part
	return k
}

// Binding returns what a record stored under the key is bound to.
func (k Key) Binding() codec.Binding {
	if k.start == 0 {
		return codec.Binding{}
	}
	id, field := k.text[k.start:], ""
	if k.kind == codec.KindExpiry {
		field = id
	}
	return codec.Binding{Namespace: k.namespace(), Kind: k.kind, ID: id, FieldID: field}
}

// namespace returns the second part of the text, between the first colon and the
// one before the kind.
func (k Key) namespace() string { return k.text[strings.IndexByte(k.text, ':')+1 : k.stem()] }

// stem returns where the namespace ends in the text.
func (k Key) stem() int { return strings.LastIndexByte(k.text[:k.start-1], ':') }

// ParseKey reads a Redis key of a namespace, as a scan finds it.
func ParseKey(text string) (Key, error) {
	prefix, rest, ok1 := strings.Cut(text, ":")
	space, rest, ok2 := strings.Cut(rest, ":")
	letter, id, ok3 := strings.Cut(rest, ":")
	if !ok1 || !ok2 || !ok3 || prefix == "" || space == "" || id == "" {
		return Key{}, fmt.Errorf("%w: a key reads <prefix>:<namespace>:<kind>:<id>", ErrName)
	}
	kind, err := codec.ParseKind(letter)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrName, err)
	}
	return Key{text: text, start: len(text) - len(id), kind: kind}, nil
}

// Key returns where name is kept under kind, with the cache's tag if it has
// one. Names are any bytes, one at least. In a namespace with plain names that
// holds for kinds v and h; the names of all others are tokens, and blinded.
func (c *Cache) Key(kind codec.Kind, name string) (Key, error) {
	ring, err := c.keyring.Ring()
	if err != nil {
		return Key{}, err
	}
	if name == "" {
		return Key{}, fmt.Errorf("%w: it is empty", ErrName)
	}
	var buf [128]byte
	b := append(buf[:0], c.head...)
	b = append(append(b, kind.String()...), ':')
	start := len(b)
	b = c.appendID(b, ring.Names(), kind, name)
	return Key{text: string(b), start: start, kind: kind}, nil
}

// Slot is a blinded tag: what the names of one tag share a cluster slot by.
type Slot [8]byte

// Tagged returns a view of the cache in which names belong to tag: all names of
// a tag share a cluster slot, and a name is another under another tag. Tags are
// blinded as names are. Never take one from user input, which could then choose
// its slot. The empty tag is none.
func (c *Cache) Tagged(tag string) *Cache {
	return &Cache{core: c.core, tag: tag}
}

// InSlot is [Cache.Tagged] for who holds the blinded form alone, as
// [Cache.Slot] gave it.
func (c *Cache) InSlot(s Slot) *Cache {
	return &Cache{core: c.core, slot: s, inSlot: true}
}

// Slot returns the blinded form of the cache's tag, false where it has none.
func (c *Cache) Slot() (Slot, bool, error) {
	ring, err := c.keyring.Ring()
	if err != nil {
		return Slot{}, false, err
	}
	slot, ok := c.slotBy(ring.Names())
	return slot, ok, nil
}

func (c *Cache) slotBy(n *keys.Names) (Slot, bool) {
	if c.tag != "" {
		return n.Tag(c.tag), true
	}
	return c.slot, c.inSlot
}

// appendID writes the id of FORMAT.md: in braces what decides the slot.
func (c *Cache) appendID(b []byte, names *keys.Names, kind codec.Kind, name string) []byte {
	layout := &c.layout
	blind := names.Blind(byte(kind), name)
	first := blind[0]
	slot, tagged := c.slotBy(names)
	if tagged {
		first = slot[0]
	}
	b = append(b, '{')
	if layout.Shards > 0 {
		b = hex.AppendEncode(b, []byte{first & byte(layout.Shards-1)})
		b = append(b, '}')
	}
	if tagged {
		b = base64.RawURLEncoding.AppendEncode(b, slot[:])
	}
	if tagged && layout.Shards == 0 {
		b = append(b, '}')
	}
	if layout.Plain && (kind == codec.KindValue || kind == codec.KindHash) {
		b = appendEscaped(b, name)
	} else {
		b = base64.RawURLEncoding.AppendEncode(b, blind[:])
	}
	if !tagged && layout.Shards == 0 {
		b = append(b, '}')
	}
	return b
}

// appendEscaped percent-encodes all but RFC 3986's unreserved characters and
// the slash.
func appendEscaped(b []byte, name string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(name) {
		switch ch := name[i]; {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9',
			ch == '.', ch == '_', ch == '~', ch == '-', ch == '/':
			b = append(b, ch)
		default:
			b = append(b, '%', digits[ch>>4], digits[ch&15])
		}
	}
	return b
}
