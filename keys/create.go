package keys

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Create makes the keyring of a namespace: a names key and a first data key,
// active at once. It proves beforehand that the wrapper authenticates
// associated data. The error wraps [ErrExists] where the store holds a
// document already; nothing is overwritten. The zero Layout is all defaults.
func Create(ctx context.Context, namespace string, s Store, w Wrapper, l Layout) error {
	if err := checkNamespace(namespace); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if s == nil || w == nil {
		return errors.New("keys: Create needs a store and a wrapper")
	}
	layout, err := l.filled()
	if err != nil {
		return err
	}
	if _, err := s.Load(ctx); err == nil {
		return ErrExists
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := prove(ctx, w, namespace); err != nil {
		return err
	}
	text, err := firstDocument(ctx, namespace, w, layout)
	if err != nil {
		return err
	}
	return save(ctx, s, text, nil)
}

// firstDocument returns the text of revision 1.
func firstDocument(ctx context.Context, namespace string, w Wrapper, l Layout) ([]byte, error) {
	names, err := generate(namespace, namesRole)
	if err != nil {
		return nil, err
	}
	defer names.wipe()
	data, err := generate(namespace, dataRole)
	if err != nil {
		return nil, err
	}
	defer data.wipe()
	now := time.Now().UnixMilli()
	d := &document{
		Format:    documentFormat,
		Namespace: namespace,
		Revision:  1,
		Keys:      []keyEntry{{ID: data.id, Created: now, Activates: now}},
		Names:     namesEntry{ID: names.id, Created: now},
		Layout:    l.member(),
	}
	if d.Names.Wrapped, err = wrap(ctx, w, namespace, names); err != nil {
		return nil, err
	}
	if d.Keys[0].Wrapped, err = wrap(ctx, w, namespace, data); err != nil {
		return nil, err
	}
	_, text, err := d.seal(names.deriver())
	return text, err
}
