// Package lua holds the server's half of securecache: one verb a file, loaded
// with SCRIPT LOAD and called with EVALSHA, never sent with EVAL.
//
// Every script says its KEYS, ARGV, replies and the invariant it keeps in its
// own head, declares all keys it touches, takes the time from the server, and
// sees sealed records and blinded names only.
package lua

import (
	"crypto/fips140"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"slices"
	"strings"
)

// Script is a Lua script and its digest. It is immutable and safe for
// concurrent use.
type Script struct {
	name, source, sha string
	word              any // the sha as commands take it, so that none allocates it
	repeatable        bool
}

var (
	//go:embed replace.lua
	replaceSource string
	//go:embed replaceall.lua
	replaceAllSource string
	//go:embed replacefield.lua
	replaceFieldSource string
	//go:embed touch.lua
	touchSource string

	// Replace swaps a record for another if it is still the one that was read.
	Replace = New("replace", replaceSource, Repeatable)
	// ReplaceAll swaps many records for others, each if it is still the one that
	// was read. No other command runs meanwhile, so give it few at a time.
	ReplaceAll = New("replaceall", replaceAllSource, Repeatable)
	// ReplaceField swaps a record in a field of a hash for another if it is still
	// the one that was read.
	ReplaceField = New("replacefield", replaceFieldSource, Repeatable)
	// Touch renews the TTL of a record, up to the record's own end.
	Touch = New("touch", touchSource, Repeatable)
)

// All returns the scripts of this package, in the order of their names.
func All() []*Script {
	all := slices.Concat([]*Script{Replace, ReplaceAll, ReplaceField, Touch}, limits, locks, session, schedule, token)
	slices.SortFunc(all, func(a, b *Script) int { return strings.Compare(a.name, b.name) })
	return all
}

// Option describes a script to [New].
type Option func(*Script)

// Repeatable says that running the script twice with the same keys and
// arguments leaves what running it once leaves, so that it may be sent again
// when its reply was lost.
func Repeatable(s *Script) { s.repeatable = true }

// New makes a script of source. The name is for errors; use the verb. Without
// [Repeatable], a script is never sent a second time once it may have run.
func New(name, source string, options ...Option) *Script {
	s := &Script{name: name, source: source, sha: digest(source)}
	s.word = s.sha
	for _, o := range options {
		o(s)
	}
	return s
}

// Name returns the name that New was given.
func (s *Script) Name() string { return s.name }

// Source returns the Lua text.
func (s *Script) Source() string { return s.source }

// SHA returns the digest that EVALSHA takes, in lower-case hex.
func (s *Script) SHA() string { return s.sha }

// digest is the name that Redis gives a script. SHA-1 is the protocol's choice
// and guards nothing here, so FIPS mode, which has no SHA-1, is not asked.
func digest(source string) string {
	var sum [sha1.Size]byte
	fips140.WithoutEnforcement(func() { sum = sha1.Sum([]byte(source)) })
	return hex.EncodeToString(sum[:])
}
