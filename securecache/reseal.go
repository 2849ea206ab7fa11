package securecache

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/scripts/lua"
)

// Resealed counts records by what [Cache.Reseal] found or did.
type Resealed struct {
	// Sealed are under the primary key now and were not before.
	Sealed int
	// Already were under the primary key, or under one that became active later.
	Already int
	// Changed were written by somebody else meanwhile, and so under a current key.
	Changed int
	// Gone have reached their end or were deleted.
	Gone int
	// Refused do not open and stand as they stood; Options.OnRefused was told.
	Refused int
	// Other are keys without records, such as the state of scripts.
	Other int
	// Bytes is the size of the records that were read.
	Bytes int64
}

// Add adds o's counts to r's.
func (r *Resealed) Add(o Resealed) {
	r.Sealed += o.Sealed
	r.Already += o.Already
	r.Changed += o.Changed
	r.Gone += o.Gone
	r.Refused += o.Refused
	r.Other += o.Other
	r.Bytes += o.Bytes
}

// Reseal seals the records under the keys anew, with the primary data key, as
// [codec.Codec.Reseal] does. Written-at, expires-at and the server's TTL stay. A
// record that somebody replaces meanwhile is left to them, so it is safe beside
// live traffic. It takes two round trips a node, and holds all records that it
// reads at once; only hashes are read in portions.
//
// An error ends it half-way. Asking again with the same keys does the rest and
// counts what was done before as Already.
func (c *Cache) Reseal(ctx context.Context, found []Key) (Resealed, error) {
	ring, err := c.keyring.Ring()
	if err != nil {
		return Resealed{}, c.failed(err)
	}
	r := &resealer{Cache: c, ring: ring, primary: ring.Primary(c.options.now())}
	var hashes, texts []Key
	for _, k := range found {
		switch {
		case k.kind == codec.KindHash || k.holdsEvents():
			hashes = append(hashes, k)
		case k.kind.HoldsRecords():
			texts = append(texts, k)
		default:
			r.Other++
		}
	}
	err = r.strings(ctx, texts)
	for i := 0; i < len(hashes) && err == nil; i++ {
		err = r.hash(ctx, hashes[i])
	}
	return r.Resealed, err
}

// resealer is one call of Reseal.
type resealer struct {
	*Cache
	Resealed
	ring    *keys.Ring
	primary *keys.Key
	arena   []byte // new records, one after another
}

// swap is one record on its way. A string's has no field.
type swap struct {
	key         Key
	field       string // as the server holds it
	etag        codec.ETag
	replacement []byte
}

func (s *swap) binding() codec.Binding {
	if s.key.kind == codec.KindSchedule {
		return s.key.eventUnder(s.field).Binding()
	}
	b := s.key.Binding()
	b.FieldID = s.field
	return b
}

func (r *resealer) strings(ctx context.Context, found []Key) error {
	if len(found) == 0 {
		return nil
	}
	cmds := make([]redis.Cmder, len(found))
	for i, k := range found {
		cmds[i] = redis.NewStringCmd(ctx, "get", k.text)
	}
	errs := r.conn.processAll(ctx, cmds)
	size := 0
	for i := range cmds {
		if errs[i] == nil {
			size += len(cmds[i].(*redis.StringCmd).Val())
		}
	}
	r.arena = make([]byte, 0, size)
	swaps := make([]swap, 0, len(found))
	for i, k := range found {
		switch err := errs[i]; {
		case errors.Is(err, redis.Nil):
			r.Gone++
		case redis.HasErrorPrefix(err, "WRONGTYPE"):
			r.refuseOne(k, &RefusedError{Reason: codec.ReasonNotRecord})
		case err != nil:
			return r.failed(err)
		default:
			record, _ := cmds[i].(*redis.StringCmd).Bytes()
			if err := r.prepare(ctx, &swaps, swap{key: k}, record); err != nil {
				return r.failed(err)
			}
		}
	}
	return r.send(ctx, swaps)
}

// hash re-seals the fields of a hash, some hundred at a time.
func (r *resealer) hash(ctx context.Context, key Key) error {
	const portion = 256
	for cursor := uint64(0); ; {
		page, next, err := r.conn.rdb.HScan(ctx, key.text, cursor, "", portion).Result()
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			r.refuseOne(key, &RefusedError{Reason: codec.ReasonNotRecord})
			return nil
		}
		if err != nil {
			return r.failed(err)
		}
		r.arena = nil
		swaps := make([]swap, 0, len(page)/2)
		for i := 0; i+1 < len(page); i += 2 {
			if err := r.prepare(ctx, &swaps, swap{key: key, field: page[i]}, []byte(page[i+1])); err != nil {
				return r.failed(err)
			}
		}
		if err := r.send(ctx, swaps); err != nil || next == 0 {
			return err
		}
		cursor = next
	}
}

// prepare seals one record anew and adds it to swaps, unless there is nothing
// to be done with it.
func (r *resealer) prepare(ctx context.Context, swaps *[]swap, s swap, record []byte) error {
	r.Bytes += int64(len(record))
	if header, err := codec.ParseHeader(record); err == nil && r.current(header.KeyID) {
		r.Already++
		return nil
	}
	begin := len(r.arena)
	var err error
	r.arena, err = r.reseal(ctx, r.arena, s, record)
	var refused *RefusedError
	switch {
	case errors.Is(err, codec.ErrExpired):
		r.Gone++
		return nil
	case errors.As(err, &refused):
		r.refuseOne(s.key, refused)
		return nil
	case err != nil:
		return err
	}
	s.etag, s.replacement = codec.ETag(record), r.arena[begin:len(r.arena):len(r.arena)]
	*swaps = append(*swaps, s)
	return nil
}

// current reports whether id is the primary key or one that came after it,
// which a process with a faster clock may have begun to use.
func (r *resealer) current(id keys.ID) bool {
	if id == r.primary.ID() {
		return true
	}
	key := r.ring.Key(id)
	return key != nil && key.Activates().After(r.primary.Activates())
}

// reseal is the codec's, with one look for a key that this process has not
// heard of. It returns dst as it was where it fails.
func (r *resealer) reseal(ctx context.Context, dst []byte, s swap, record []byte) ([]byte, error) {
	binding := s.binding()
	out, err := r.knowing(ctx, func() ([]byte, error) { return r.codec.Reseal(dst, binding, record) })
	if err != nil {
		return dst, err
	}
	return out, nil
}

// firstUserKind begins the kinds under which an application may also keep what
// is no record.
const firstUserKind codec.Kind = 0x80

func (r *resealer) refuseOne(k Key, err *RefusedError) {
	if k.kind >= firstUserKind && err.Reason == codec.ReasonNotRecord {
		r.Other++
		return
	}
	r.Refused++
	_ = r.refuse(k, err)
}

// send swaps the records, in one round trip a node. The scripts are repeatable:
// go-redis may send them again.
func (r *resealer) send(ctx context.Context, swaps []swap) error {
	if len(swaps) == 0 {
		return nil
	}
	script := lua.Replace
	if swaps[0].field != "" {
		script = lua.ReplaceField
	}
	calls := make([]lua.Call, len(swaps))
	for i := range swaps {
		calls[i] = swaps[i].call()
	}
	var first error
	for _, outcome := range r.scripts.RunMany(ctx, script, calls, r.conn.processAll) {
		err := outcome.Err
		if err == nil {
			err = r.settle(outcome.Reply)
		}
		if err != nil && first == nil {
			first = r.failed(err)
		}
	}
	return first
}

func (s *swap) call() lua.Call {
	if s.field == "" {
		return lua.Call{Keys: []string{s.key.text}, Args: []any{s.etag[:], s.replacement, 0}}
	}
	return lua.Call{Keys: []string{s.key.text}, Args: []any{s.field, s.etag[:], s.replacement}}
}

// settle counts a script's answer.
func (r *resealer) settle(reply lua.Reply) error {
	switch code, err := reply.Int(); {
	case err != nil:
		return err
	case code > 0:
		r.Sealed++
	case code == 0:
		r.Changed++
	default:
		r.Gone++
	}
	return nil
}
