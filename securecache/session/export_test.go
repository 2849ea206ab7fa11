package session

import (
	"time"

	"github.com/securecache/securecache-go/securecache"
)

// TokenOf is the token of a session whose name is known.
func TokenOf(slot securecache.Slot, name string) string { return tokenOf(slot, name) }

// ReadToken returns the raw bytes of a token, false for what is none.
func ReadToken(token string) ([]byte, bool) {
	slot, name, ok := parseToken(token)
	return append(slot[:], name[:]...), ok
}

// Content is what a record's content says.
type Content struct {
	Subject       string
	Created, Ends time.Time
	Value         []byte
}

// ReadContent reads a record's content, false for what is none.
func ReadContent(b []byte) (Content, bool) {
	c, ok := parseContent(b)
	return Content{string(c.subject), c.created, c.ends, c.value}, ok
}

// Encode writes what ReadContent reads.
func (c Content) Encode() []byte {
	return content{[]byte(c.Subject), c.Created, c.Ends, c.Value}.encode()
}
