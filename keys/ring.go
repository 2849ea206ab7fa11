package keys

import (
	"time"
)

// Ring is an immutable snapshot of a namespace's keys: its primary seals, all
// open. Safe for concurrent use.
type Ring struct {
	namespace string
	revision  uint64
	layout    Layout
	names     *Names
	keys      []*Key // not destroyed; by activation, then id
	byID      map[ID]*Key
	infos     []Info // all, destroyed ones too, in the document's order
}

// Info describes one data key of a ring, destroyed ones included.
type Info struct {
	ID        ID        `json:"id"`
	Created   time.Time `json:"created"`
	Activates time.Time `json:"activates"`
	// Retired is zero while the key has no successor.
	Retired time.Time `json:"retired,omitzero"`
	// Destroyable is when nothing that the key sealed can be alive any more;
	// zero while it has no successor, and always where records need not expire.
	Destroyable time.Time `json:"destroyable,omitzero"`
	Destroyed   bool      `json:"destroyed"`
}

// Namespace returns the namespace the ring belongs to.
func (r *Ring) Namespace() string { return r.namespace }

// Revision returns the revision of the document that the ring was read from.
func (r *Ring) Revision() uint64 { return r.revision }

// Layout returns what never changes in the namespace.
func (r *Ring) Layout() Layout { return r.layout }

// Names returns what blinds the namespace's names.
func (r *Ring) Names() *Names { return r.names }

// Primary returns the key that seals at now: the one that became active last.
// Where every key is still to become active, as a slow clock sees a new
// keyring, it is the first that will; a ring always has a primary.
func (r *Ring) Primary(now time.Time) *Key {
	for i := len(r.keys) - 1; i > 0; i-- {
		if !r.keys[i].activates.After(now) {
			return r.keys[i]
		}
	}
	return r.keys[0]
}

// Key returns the key called id, nil where the ring has none that opens.
func (r *Ring) Key(id ID) *Key { return r.byID[id] }

// Destroyed reports whether id was a key of the namespace that has been
// destroyed.
func (r *Ring) Destroyed(id ID) bool {
	for i := range r.infos {
		if r.infos[i].ID == id {
			return r.infos[i].Destroyed
		}
	}
	return false
}

// Keys describes every key that the namespace has had, oldest first.
func (r *Ring) Keys() []Info { return append([]Info(nil), r.infos...) }
