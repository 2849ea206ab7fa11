package securecache

import (
	"context"
	"errors"
	"fmt"

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
// reads at once; only hashes are read in portions. A script that writes them
// is given 64 records and 256 KiB at most, which keep the server for about half
// a millisecond; a larger record goes alone, as all do on a cluster.
//
// An error ends it half-way. Asking again with the same keys does the rest and
// counts what was done before as Already.
func (c *Cache) Reseal(ctx context.Context, found []Key) (Resealed, error) {
	ring, err := c.keyring.Ring()
	if err != nil {
		return Resealed{}, c.failed(err)
	}
	r := &resealer{Cache: c, ring: ring, primary: ring.Primary(c.Now())}
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
		case err == redis.Nil:
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
	return r.replace(ctx, swaps)
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
		if err := r.send(ctx, lua.ReplaceField, replaceFields(swaps)); err != nil || next == 0 {
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
	out, err := r.codec.Reseal(dst, binding, record)
	if err != nil {
		if err = r.learn(ctx, err); err == nil {
			out, err = r.codec.Reseal(dst, binding, record)
		}
	}
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

// What one call of replaceall is given at most, but for a record that is larger
// by itself: the server does nothing else while a script runs.
const (
	callRecords = 64
	callBytes   = 256 << 10
)

// replace swaps strings, many to a call. On a cluster each goes alone: the keys
// of a call have to share a slot, and one that moves is not to be had whole.
func (r *resealer) replace(ctx context.Context, swaps []swap) error {
	if r.conn.cluster != nil {
		return r.send(ctx, lua.ReplaceAll, replaceAll(swaps, 1))
	}
	before := r.Resealed
	err := r.send(ctx, lua.ReplaceAll, replaceAll(swaps, callRecords))
	if redis.HasErrorPrefix(err, "CROSSSLOT") { // a cluster that hides behind one address
		r.Resealed = before // what was replaced says so again
		err = r.send(ctx, lua.ReplaceAll, replaceAll(swaps, 1))
	}
	return err
}

// replaceAll spreads swaps over calls of so many records at most.
func replaceAll(swaps []swap, most int) (calls []lua.Call) {
	size := 0
	for i := range swaps {
		s := &swaps[i]
		size += len(s.replacement)
		if i == 0 || size > callBytes || len(calls[len(calls)-1].Keys) == most {
			n := min(most, len(swaps)-i)
			calls = append(calls, lua.Call{Keys: make([]string, 0, n), Args: make([]any, 0, 2*n)})
			size = len(s.replacement)
		}
		last := &calls[len(calls)-1]
		last.Keys, last.Args = append(last.Keys, s.key.text), append(last.Args, s.etag[:], s.replacement)
	}
	return calls
}

func replaceFields(swaps []swap) []lua.Call {
	calls := make([]lua.Call, len(swaps))
	for i := range swaps {
		s := &swaps[i]
		calls[i] = lua.Call{Keys: []string{s.key.text}, Args: []any{s.field, s.etag[:], s.replacement}}
	}
	return calls
}

// send makes the calls, in one round trip a node. The scripts are repeatable:
// go-redis may send them again.
func (r *resealer) send(ctx context.Context, script *lua.Script, calls []lua.Call) error {
	if len(calls) == 0 {
		return nil
	}
	var first error
	for i, outcome := range r.scripts.RunMany(ctx, script, calls, r.conn.processAll) {
		err := outcome.Err
		if err == nil {
			err = r.settle(outcome.Reply, len(calls[i].Keys))
		}
		if err != nil && first == nil {
			first = r.failed(err)
		}
	}
	return first
}

// settle counts a script's answers: replaceall's list, or replacefield's one.
func (r *resealer) settle(reply lua.Reply, records int) error {
	codes, list := reply.Value.([]any)
	if !list {
		codes = []any{reply.Value}
	}
	if len(codes) != records {
		return fmt.Errorf("securecache: a script gave %d answers for %d records", len(codes), records)
	}
	for _, one := range codes {
		switch code, err := (lua.Reply{Value: one}).Int(); {
		case err != nil:
			return err
		case code > 0:
			r.Sealed++
		case code == 0:
			r.Changed++
		default:
			r.Gone++
		}
	}
	return nil
}
