package main

import (
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache/session"
)

const (
	sessionTarget = 0.93
	sessionCount  = nameCount
	sessionSize   = 256 // bytes, where nothing is decoded
)

// visitor is what a session holds where it is decoded.
type visitor struct {
	User  string
	Roles []string
	CSRF  string
	Since time.Time
}

func visitorOf(i int) visitor {
	return visitor{
		User: fmt.Sprintf("user-%06d", i), Roles: []string{"customer", "reviewer"},
		CSRF: fmt.Sprintf("%x", valueOf(16)), Since: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// reader is one way to read sessions.
type reader struct {
	who    string
	create func(ctx context.Context, i int) (token string, err error)
	get    func(ctx context.Context, token string) error // fails where the session is not whole
}

// sessions measures the reading of a session, which is what a service does for
// every request, beside scs with its store on go-redis, which neither seals nor
// hashes: the two stores of scs without its manager, and then sessions as a
// handler gets them, in bytes and decoded.
func (b *bench) sessions(ctx context.Context) error {
	for _, s := range []struct {
		what  string
		sides func() (base reader, others []reader, err error)
	}{
		{"Find a session's bytes, 64 goroutines", b.storeReaders},
		{"Get a session as bytes, 64 goroutines", b.byteReaders},
		{"Get a session decoded, 64 goroutines", b.valueReaders},
	} {
		base, others, err := s.sides()
		if err == nil {
			err = b.readers(ctx, s.what, base, others)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

// readers measures the sides that are wanted, each held to the target.
func (b *bench) readers(ctx context.Context, what string, base reader, others []reader) error {
	var wanted []reader
	var loads []workload
	for _, r := range others {
		if !b.wants(what, r.who) {
			continue
		}
		w, err := r.load(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", r.who, err)
		}
		wanted, loads = append(wanted, r), append(loads, w)
	}
	if len(wanted) == 0 {
		return nil
	}
	b.say("%s", what)
	baseLoad, err := base.load(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", base.who, err)
	}
	baseResult, results, err := compare(ctx, b.settings.parted(5), baseLoad, loads)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, row{what: what, who: base.who, figure: "1× the rate", cost: &baseResult.cost})
	for i, r := range results {
		b.rows = append(b.rows, row{what: what, who: wanted[i].who, figure: r.ratio.String() + " the rate",
			cost: &r.cost, targets: []target{atLeast(r.ratio.median, sessionTarget, "×")}})
	}
	return nil
}

// load creates sessions, and reads one after the other.
func (r reader) load(ctx context.Context) (workload, error) {
	tokens := make([]string, sessionCount)
	for i := range tokens {
		var err error
		if tokens[i], err = r.create(ctx, i); err != nil {
			return workload{}, err
		}
	}
	return workload{busy, func(worker, i int) error {
		return r.get(ctx, tokens[(worker*sessionCount/busy+i)%sessionCount])
	}, sessionTarget}, nil
}

var errNotWhole = errors.New("a session did not come back as it was stored")

func (b *bench) storeReaders() (base reader, others []reader, err error) {
	adapter, err := b.scsStore()
	if err != nil {
		return base, nil, err
	}
	return storeReader("scs' goredisstore", b.goredisstore()), []reader{storeReader("securecache, session.SCS", adapter)}, nil
}

// byteReaders leave out what decoding costs: scs' encoding/gob is slower than
// most, and would hide what sealing costs.
func (b *bench) byteReaders() (base reader, others []reader, err error) {
	value, whole := func(int) []byte { return valueOf(sessionSize) }, func(v []byte) bool { return len(v) == sessionSize }
	ours, err := ourReader(b, "securecache, session.Store", codec.Bytes(), value, whole)
	if err != nil {
		return base, nil, err
	}
	adapter, err := b.scsStore()
	if err != nil {
		return base, nil, err
	}
	return managerReader("scs with goredisstore", b.goredisstore(), plainCodec{}, value, whole), []reader{
		ours, managerReader("scs with session.SCS", adapter, plainCodec{}, value, whole),
	}, nil
}

// valueReaders decode, each as it does unless told otherwise.
func (b *bench) valueReaders() (base reader, others []reader, err error) {
	gob.Register(visitor{})
	whole := func(v visitor) bool { return v.User != "" }
	ours, err := ourReader(b, "securecache, session.Store, JSON", codec.JSON[visitor](), visitorOf, whole)
	if err != nil {
		return base, nil, err
	}
	adapter, err := b.scsStore()
	if err != nil {
		return base, nil, err
	}
	return managerReader("scs with goredisstore, gob", b.goredisstore(), scs.GobCodec{}, visitorOf, whole), []reader{
		ours, managerReader("scs with session.SCS, gob", adapter, scs.GobCodec{}, visitorOf, whole),
	}, nil
}

// ourReader reads a store of sessions, each a subject's own.
func ourReader[T any](b *bench, who string, m codec.Marshaler[T], value func(i int) T, whole func(T) bool) (reader, error) {
	cache, err := b.cache(nil)
	if err != nil {
		return reader{}, err
	}
	store, err := session.New(cache, m, nil)
	if err != nil {
		return reader{}, err
	}
	return reader{
		who: who,
		create: func(ctx context.Context, i int) (string, error) {
			return store.Create(ctx, fmt.Sprintf("user-%06d", i), value(i))
		},
		get: func(ctx context.Context, token string) error {
			s, err := store.Get(ctx, token)
			if err == nil && !whole(s.Value) {
				err = errNotWhole
			}
			return err
		},
	}, nil
}

// storeReader reads a store of scs' without its manager.
func storeReader(who string, store scs.CtxStore) reader {
	return reader{
		who: who,
		create: func(ctx context.Context, i int) (string, error) {
			token := fmt.Sprintf("%043d", i) // as long as those of scs
			return token, store.CommitCtx(ctx, token, valueOf(sessionSize), time.Now().Add(ttl))
		},
		get: func(ctx context.Context, token string) error {
			value, found, err := store.FindCtx(ctx, token)
			if err == nil && (!found || len(value) != sessionSize) {
				err = errNotWhole
			}
			return err
		},
	}
}

// held is what a session of scs' holds its value under.
const held = "value"

// managerReader reads through the manager of scs.
func managerReader[T any](who string, store scs.CtxStore, form scs.Codec, value func(i int) T, whole func(T) bool) reader {
	// Not scs.New, which starts a goroutine for a store in memory.
	m := &scs.SessionManager{Lifetime: ttl, Store: store, Codec: form}
	return reader{
		who: who,
		create: func(ctx context.Context, i int) (string, error) {
			ctx, err := m.Load(ctx, "")
			if err != nil {
				return "", err
			}
			m.Put(ctx, held, value(i))
			token, _, err := m.Commit(ctx)
			return token, err
		},
		get: func(ctx context.Context, token string) error {
			ctx, err := m.Load(ctx, token)
			if err != nil {
				return err
			}
			if v, ok := m.Get(ctx, held).(T); !ok || !whole(v) {
				return errNotWhole
			}
			return nil
		},
	}
}

// plainCodec writes a session of one value, which is bytes, at next to no cost.
type plainCodec struct{}

func (plainCodec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	value, ok := values[held].([]byte)
	if !ok {
		return nil, errNotWhole
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(deadline.UnixNano())), value...), nil
}

func (plainCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	if len(b) < 8 {
		return time.Time{}, nil, errNotWhole
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))), map[string]any{held: b[8:]}, nil
}

// goredisstore keeps its sessions where the application's user may write.
func (b *bench) goredisstore() *goredisstore.RedisStore {
	return goredisstore.NewWithPrefix(b.client(), "sc:"+namespace+":scs:")
}

func (b *bench) scsStore() (*session.SCS, error) {
	cache, err := b.cache(nil)
	if err != nil {
		return nil, err
	}
	return session.NewSCS(cache, nil)
}
