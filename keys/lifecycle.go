package keys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"
)

const (
	// changeTimeout bounds a change of the document, during which the
	// background refresh has to wait.
	changeTimeout = 2 * time.Minute
	// changeAttempts is how often a change is made anew on top of others'.
	changeAttempts = 20
	longestRetry   = 200 * time.Millisecond
)

// lead is how long before it seals a key is announced: by then every process
// has read it, also one whose last refresh was just before the announcement
// and failed once, and whose clock is fast.
func (l Layout) lead() time.Duration { return 2*l.Refresh + ClockAllowance }

// Rotate adds a data key and returns it. The key is announced: it seals, in
// every process at once, from Activates on, two of the layout's refresh
// intervals and the clock allowance ahead. Its predecessor is retired then plus
// the layout's MaxOffline, which is as long as a process that is cut off may
// still seal with it. The machine's clock must be right within [ClockAllowance].
//
// The changes of a keyring (Rotate, Destroy, RevokeAll, Rewrap) read the
// document anew, and are made on top of what others changed meanwhile. Where
// one of them returns an error of the store's, it may have been made
// nevertheless: list the keys.
func (k *Keyring) Rotate(ctx context.Context) (Info, error) {
	return k.add(ctx, func(d *document, added *keyEntry, now int64) {
		added.Activates = max(now+k.layout.lead().Milliseconds(), d.lastActivation()+1)
		if p := d.newest(); p != nil {
			retired := added.Activates + k.layout.MaxOffline.Milliseconds()
			p.Retired = &retired
		}
	})
}

// RevokeAll adds a data key that seals at once and destroys every other, those
// still to become active too. No older record opens anywhere after the next
// refresh, whatever the clocks say, since no other key is left to choose.
func (k *Keyring) RevokeAll(ctx context.Context) (Info, error) {
	return k.add(ctx, func(d *document, added *keyEntry, now int64) {
		added.Activates = now
		for i := range d.Keys {
			d.Keys[i].Wrapped = ""
		}
	})
}

// add makes a key, lets place set its times and change the others, and saves.
func (k *Keyring) add(ctx context.Context, place func(d *document, added *keyEntry, now int64)) (Info, error) {
	key, err := generate(k.namespace, dataRole)
	if err != nil {
		return Info{}, err
	}
	defer key.wipe()
	added := keyEntry{ID: key.id}
	err = k.change(ctx, func(ctx context.Context, next *snapshot) (err error) {
		added.Created = k.wallClock().UnixMilli()
		place(next.doc, &added, added.Created)
		if added.Wrapped == "" { // the first attempt
			added.Wrapped, err = wrap(ctx, next.wrapper, k.namespace, key)
		}
		next.doc.Keys = append(next.doc.Keys, added)
		next.held[added.ID] = heldKey{wrapped: digest(added.Wrapped), derive: key.deriver()}
		return err
	})
	if err != nil {
		return Info{}, err
	}
	return added.info(k.layout), nil
}

// Destroy removes a data key from the document: what it sealed is unreadable
// from each process' next refresh on. The key stays listed. Destroy refuses,
// with an error that wraps [ErrInUse], the key that seals and those still to
// become active, and before the key's Destroyable also every other unless force
// is set, which loses what is still alive under it. Where records need not
// expire that is always. An unknown id is [ErrUnknownKey]; a key destroyed
// already is no error.
func (k *Keyring) Destroy(ctx context.Context, id ID, force bool) error {
	return k.change(ctx, func(_ context.Context, next *snapshot) error {
		entry := next.doc.key(id)
		switch {
		case entry == nil:
			return ErrUnknownKey
		case entry.destroyed():
			return errUnchanged
		}
		now := k.wallClock()
		// The ring in use is the one that next was made from.
		if err := mayDestroy(k.source.ring, entry.info(k.layout), now, force); err != nil {
			return err
		}
		entry.Wrapped = ""
		return nil
	})
}

// mayDestroy returns why a key may not be destroyed.
func mayDestroy(r *Ring, key Info, now time.Time, force bool) error {
	switch {
	case r.Primary(now).ID() == key.ID:
		return fmt.Errorf("%w: it seals; rotate first, or revoke all", ErrInUse)
	case key.Activates.After(now):
		return fmt.Errorf("%w: it is to seal from %s on", ErrInUse, utc(key.Activates))
	case force:
		return nil
	case key.Destroyable.IsZero():
		return fmt.Errorf("%w: what it sealed need not expire; re-seal the records, then force it", ErrInUse)
	case now.Before(key.Destroyable):
		return fmt.Errorf("%w: what it sealed may live until %s; wait, or force it and lose that", ErrInUse, utc(key.Destroyable))
	}
	return nil
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Rewrap wraps the names key and every live data key anew: with to, which the
// keyring then goes on with, or with the same wrapper where to is nil. A wrapper
// whose key-encryption key has versions takes the newest. Ids and bytes of the
// keys stay as they are, and so do records. With another wrapper, the other
// processes serve from memory until they are restarted with it.
func (k *Keyring) Rewrap(ctx context.Context, to Wrapper) error {
	return k.change(ctx, func(ctx context.Context, next *snapshot) error {
		if to != nil {
			if err := prove(ctx, to, k.namespace); err != nil {
				return err
			}
		}
		return next.rewrap(ctx, to)
	})
}

func (snap *snapshot) rewrap(ctx context.Context, to Wrapper) (err error) {
	if to == nil {
		to = snap.wrapper
	}
	again := func(r role, id ID, wrapped string) (string, error) {
		key, err := unwrap(ctx, snap.wrapper, snap.doc.Namespace, r, id, wrapped)
		if err != nil {
			return "", err
		}
		defer key.wipe()
		return wrap(ctx, to, snap.doc.Namespace, key)
	}
	names := &snap.doc.Names
	if names.Wrapped, err = again(namesRole, names.ID, names.Wrapped); err != nil {
		return err
	}
	for i := range snap.doc.Keys {
		entry := &snap.doc.Keys[i]
		if entry.destroyed() {
			continue
		}
		if entry.Wrapped, err = again(dataRole, entry.ID, entry.Wrapped); err != nil {
			return err
		}
		snap.held[entry.ID] = heldKey{wrapped: digest(entry.Wrapped), derive: snap.held[entry.ID].derive}
	}
	snap.wrapper = to
	return nil
}

// errUnchanged, from a change, says that there is nothing to save.
var errUnchanged = errors.New("keys: nothing to change")

// change reads the document, lets apply change it and saves it, again and again
// while others get in between. It ends with the ring that it made in use.
func (k *Keyring) change(ctx context.Context, apply func(context.Context, *snapshot) error) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	defer context.AfterFunc(k.ctx, cancel)()
	err := k.changeInTurn(ctx, apply)
	if err != nil && k.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

func (k *Keyring) changeInTurn(ctx context.Context, apply func(context.Context, *snapshot) error) error {
	if err := k.take(ctx); err != nil {
		return err
	}
	defer k.release()
	for attempt := 1; ; attempt++ {
		err := k.changeOnce(ctx, apply)
		if errors.Is(err, errUnchanged) {
			return nil
		}
		if !errors.Is(err, ErrConflict) || attempt == changeAttempts {
			return err
		}
		pause := min(time.Duration(attempt)*10*time.Millisecond, longestRetry)
		if err := sleep(ctx, rand.N(pause)); err != nil {
			return err
		}
	}
}

func (k *Keyring) changeOnce(ctx context.Context, apply func(context.Context, *snapshot) error) error {
	start := time.Now()
	snap, err := k.source.load(ctx)
	if err != nil {
		return err
	}
	if err := k.adopt(snap, start); err != nil {
		return err
	}
	next := snap.successor()
	if err := apply(ctx, next); err != nil {
		return err
	}
	if err := next.seal(); err != nil {
		return err
	}
	if err := save(ctx, k.source.store, next.text, snap.text); err != nil {
		return err
	}
	return k.adopt(next, start)
}

// successor returns a copy of snap to be changed, one revision on.
func (snap *snapshot) successor() *snapshot {
	next := &snapshot{doc: snap.doc.clone(), wrapper: snap.wrapper, names: snap.names, held: maps.Clone(snap.held)}
	next.doc.Revision++
	return next
}

// newest returns the last key to become active of those not destroyed.
func (d *document) newest() *keyEntry {
	var newest *keyEntry
	for i := range d.Keys {
		k := &d.Keys[i]
		if !k.destroyed() && (newest == nil || k.Activates > newest.Activates) {
			newest = k
		}
	}
	return newest
}

// lastActivation returns the latest time at which a key was to become active.
func (d *document) lastActivation() int64 {
	var last int64
	for i := range d.Keys {
		last = max(last, d.Keys[i].Activates)
	}
	return last
}

// key returns the entry called id, or nil.
func (d *document) key(id ID) *keyEntry {
	for i := range d.Keys {
		if d.Keys[i].ID == id {
			return &d.Keys[i]
		}
	}
	return nil
}
