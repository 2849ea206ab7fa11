package keys

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Store keeps the keyring document of one namespace where the Redis server
// cannot write. Implementations are safe for concurrent use by many processes.
type Store interface {
	// Load returns the document's text, or an error that wraps [ErrNotFound].
	Load(ctx context.Context) (doc []byte, err error)
	// Save replaces old by doc in one step, and returns an error that wraps
	// [ErrConflict] where the text stored is not old. A nil old creates: the
	// error then wraps [ErrExists] where there is a text.
	Save(ctx context.Context, doc, old []byte) error
}

// source reads a namespace's document and turns it into rings. It remembers
// what it has seen, to refuse an older or another document, and which keys it
// has unwrapped, so as to ask for each once. Not safe for concurrent use.
type source struct {
	namespace string
	store     Store
	wrapper   Wrapper
	held      map[ID]heldKey
	seen      *seen
	ring      *Ring
}

// heldKey is a key that has been unwrapped, and the digest of the text it came
// from: the text itself would show the key where the wrapper is InsecurePlain.
type heldKey struct {
	wrapped [sha256.Size]byte
	derive  deriver
}

// seen is what a later document is judged by.
type seen struct {
	revision uint64
	digest   [sha256.Size]byte
	names    ID
	layout   Layout
}

// snapshot is a document that has been verified, with its keys unwrapped.
type snapshot struct {
	text    []byte // as the store holds it
	doc     *document
	digest  [sha256.Size]byte // of the document's bytes
	wrapper Wrapper           // which opens it
	names   deriver
	held    map[ID]heldKey
}

func digest[T ~string | ~[]byte](x T) [sha256.Size]byte { return sha256.Sum256([]byte(x)) }

// load reads and verifies the document. The names key is unwrapped anew each
// time; its MAC is checked before any data key is unwrapped.
func (s *source) load(ctx context.Context) (*snapshot, error) {
	text, err := s.store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the keyring: %w", err)
	}
	body, mac, err := parseEnvelope(text)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(body)
	if err != nil {
		return nil, err
	}
	if err := s.expects(doc); err != nil {
		return nil, err
	}
	names, err := unwrap(ctx, s.wrapper, s.namespace, namesRole, doc.Names.ID, doc.Names.Wrapped)
	if err != nil {
		return nil, err
	}
	defer names.wipe()
	snap := &snapshot{text: text, doc: doc, digest: digest(body), wrapper: s.wrapper, names: names.deriver()}
	if err := authenticate(snap.names, s.namespace, body, mac); err != nil {
		return nil, err
	}
	if err := s.follows(snap); err != nil {
		return nil, err
	}
	return snap, s.unwrapAll(ctx, snap)
}

// expects checks what the configuration says about the document. A document
// cannot choose a weaker wrapper.
func (s *source) expects(d *document) error {
	if d.Namespace != s.namespace {
		return fmt.Errorf("%w: it belongs to another namespace than %q", ErrDocument, s.namespace)
	}
	if !hasScheme(d.Names.Wrapped, s.wrapper) {
		return ErrScheme
	}
	for i := range d.Keys {
		if k := &d.Keys[i]; !k.destroyed() && !hasScheme(k.Wrapped, s.wrapper) {
			return ErrScheme
		}
	}
	return nil
}

// follows refuses what cannot be a successor of the document seen last.
func (s *source) follows(snap *snapshot) error {
	if s.seen == nil {
		return nil
	}
	layout, err := snap.doc.Layout.layout()
	if err != nil {
		return err
	}
	switch {
	case snap.doc.Names.ID != s.seen.names || layout != s.seen.layout:
		return ErrReplaced
	case snap.doc.Revision < s.seen.revision:
		return fmt.Errorf("%w: revision %d was seen, this is %d", ErrRollback, s.seen.revision, snap.doc.Revision)
	case snap.doc.Revision == s.seen.revision && snap.digest != s.seen.digest:
		return fmt.Errorf("%w: revision %d has changed", ErrRollback, snap.doc.Revision)
	}
	return nil
}

// unwrapAll fills in snap.held.
func (s *source) unwrapAll(ctx context.Context, snap *snapshot) error {
	snap.held = make(map[ID]heldKey, len(snap.doc.Keys))
	for i := range snap.doc.Keys {
		k := &snap.doc.Keys[i]
		if k.destroyed() {
			continue
		}
		wrapped := digest(k.Wrapped)
		if held, ok := s.held[k.ID]; ok && held.wrapped == wrapped {
			snap.held[k.ID] = held
			continue
		}
		key, err := unwrap(ctx, s.wrapper, s.namespace, dataRole, k.ID, k.Wrapped)
		if err != nil {
			return err
		}
		snap.held[k.ID] = heldKey{wrapped: wrapped, derive: key.deriver()}
		key.wipe()
	}
	return nil
}

// seal makes the text of a document that was changed.
func (snap *snapshot) seal() error {
	body, text, err := snap.doc.seal(snap.names)
	if err != nil {
		return err
	}
	snap.text, snap.digest = text, digest(body)
	return nil
}

// adopt makes snap what later documents are judged by, and returns its ring:
// the one in use where nothing has changed.
func (s *source) adopt(snap *snapshot) (*Ring, error) {
	if s.ring != nil && s.seen.digest == snap.digest {
		return s.ring, nil
	}
	ring, err := newRing(snap)
	if err != nil {
		return nil, err
	}
	s.seen = &seen{revision: snap.doc.Revision, digest: snap.digest, names: snap.doc.Names.ID, layout: ring.layout}
	s.held, s.wrapper, s.ring = snap.held, snap.wrapper, ring
	return ring, nil
}

// save puts text in the place of old.
func save(ctx context.Context, s Store, text, old []byte) error {
	err := s.Save(ctx, text, old)
	if err == nil {
		return nil
	}
	// The reply may have been lost of a save that was made.
	if now, loadErr := s.Load(ctx); loadErr == nil && bytes.Equal(now, text) {
		return nil
	}
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrExists) {
		return err
	}
	return fmt.Errorf("save the keyring (list its keys to see whether it was saved): %w", err)
}

// newRing returns the ring of a verified document.
func newRing(snap *snapshot) (*Ring, error) {
	d := snap.doc
	layout, err := d.Layout.layout()
	if err != nil {
		return nil, err
	}
	names, err := newNames(d.Namespace, d.Names.ID, snap.names)
	if err != nil {
		return nil, err
	}
	r := &Ring{namespace: d.Namespace, revision: d.Revision, layout: layout, names: names, byID: map[ID]*Key{}}
	for i := range d.Keys {
		info := d.Keys[i].info(layout)
		r.infos = append(r.infos, info)
		if info.Destroyed {
			continue
		}
		k := &Key{id: info.ID, activates: info.Activates, retired: info.Retired, expand: snap.held[info.ID].derive}
		r.byID[k.id] = k
		r.keys = append(r.keys, k)
	}
	slices.SortFunc(r.keys, func(a, b *Key) int {
		return cmp.Or(a.activates.Compare(b.activates), bytes.Compare(a.id[:], b.id[:]))
	})
	return r, nil
}

// info describes k in a namespace of the given layout.
func (k *keyEntry) info(l Layout) Info {
	info := Info{ID: k.ID, Created: time.UnixMilli(k.Created), Activates: time.UnixMilli(k.Activates), Destroyed: k.destroyed()}
	if k.Retired == nil {
		return info
	}
	info.Retired = time.UnixMilli(*k.Retired)
	if l.MaxLife != 0 {
		info.Destroyable = info.Retired.Add(l.MaxLife)
	}
	return info
}
