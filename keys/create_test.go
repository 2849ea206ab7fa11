package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
)

func TestCreateRefuses(t *testing.T) {
	deaf := newLocker("test")
	deaf.deaf = true
	full, w := setup(t, keys.Layout{})
	for _, test := range []struct {
		name      string
		namespace string
		store     keys.Store
		wrapper   keys.Wrapper
		layout    keys.Layout
		want      error  // nil: any
		says      string // part of the message
	}{
		{"a store that holds one", namespace, full, w, keys.Layout{}, keys.ErrExists, "open it"},
		{"a wrapper deaf to associated data", namespace, &memory{}, deaf, keys.Layout{}, nil, "associated data"},
		{"a wrapper with another's scheme", namespace, &memory{}, mislabelled{newLocker("test")}, keys.Layout{}, nil, "scheme"},
		{"a wrapper that forgets", namespace, &memory{}, forgetful{newLocker("test")}, keys.Layout{}, keys.ErrUnwrap, ""},
		{"a namespace out of its letters", "shop/eu", &memory{}, w, keys.Layout{}, nil, "namespace"},
		{"a prefix out of its letters", namespace, &memory{}, w, keys.Layout{Prefix: "a:b"}, nil, "prefix"},
		{"shards no power of two", namespace, &memory{}, w, keys.Layout{Shards: 12}, nil, "power of two"},
		{"too many shards", namespace, &memory{}, w, keys.Layout{Shards: 512}, nil, "256"},
		{"a negative life", namespace, &memory{}, w, keys.Layout{MaxLife: -2}, nil, "maximal life"},
		{"a life of part of a millisecond", namespace, &memory{}, w, keys.Layout{MaxLife: time.Microsecond}, nil, "milliseconds"},
		{"a life of centuries", namespace, &memory{}, w, keys.Layout{MaxLife: 1 << 62}, nil, "100 years"},
		{"an offline time under the interval", namespace, &memory{}, w, keys.Layout{Refresh: time.Hour, MaxOffline: time.Minute}, nil, "offline"},
		{"a negative interval", namespace, &memory{}, w, keys.Layout{Refresh: -time.Second}, nil, "interval"},
		{"no store", namespace, nil, w, keys.Layout{}, nil, "store"},
		{"no wrapper", namespace, &memory{}, nil, keys.Layout{}, nil, "wrapper"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := keys.Create(t.Context(), test.namespace, test.store, test.wrapper, test.layout)
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("error %v", err)
			}
			if m, ok := test.store.(*memory); ok && m != full && m.get() != nil {
				t.Fatal("something was saved")
			}
		})
	}
	away := &memory{}
	away.away.Store(true)
	must(t, keys.Create(t.Context(), namespace, away, w, keys.Layout{}), errAway)
	w.away.Store(true)
	must(t, keys.Create(t.Context(), namespace, &memory{}, w, keys.Layout{}), errAway)
}

type mislabelled struct{ *locker }

func (mislabelled) Scheme() string { return "vault" }

// forgetful unwraps nothing, as a policy that may encrypt and not decrypt.
type forgetful struct{ *locker }

func (forgetful) Unwrap(context.Context, string, []byte) ([]byte, error) {
	return nil, keys.ErrUnwrap
}

func TestLayout(t *testing.T) {
	for _, test := range []struct {
		name      string
		give, get keys.Layout
	}{
		{"zero", keys.Layout{}, keys.Layout{Prefix: "sc", MaxLife: 90 * 24 * time.Hour, Refresh: time.Minute, MaxOffline: time.Hour}},
		{"all given", keys.Layout{Prefix: "my-app.1_x", Plain: true, Shards: 256, MaxLife: time.Hour, Refresh: time.Second, MaxOffline: time.Second},
			keys.Layout{Prefix: "my-app.1_x", Plain: true, Shards: 256, MaxLife: time.Hour, Refresh: time.Second, MaxOffline: time.Second}},
		{"forever", keys.Layout{MaxLife: keys.Forever}, keys.Layout{Prefix: "sc", Refresh: time.Minute, MaxOffline: time.Hour}},
		{"short offline time", keys.Layout{MaxOffline: 10 * time.Second}, keys.Layout{Prefix: "sc", MaxLife: 90 * 24 * time.Hour, Refresh: 5 * time.Second, MaxOffline: 10 * time.Second}},
		{"long interval", keys.Layout{Refresh: 2 * time.Hour}, keys.Layout{Prefix: "sc", MaxLife: 90 * 24 * time.Hour, Refresh: 2 * time.Hour, MaxOffline: 2 * time.Hour}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, w := setup(t, test.give)
			if got := ring(t, open(t, s, w, nil)).Layout(); got != test.get {
				t.Errorf("got %+v, want %+v", got, test.get)
			}
		})
	}
}
