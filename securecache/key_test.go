package securecache_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecachetest"
)

// TestKeyForms holds the Redis keys of every layout to FORMAT.md.
func TestKeyForms(t *testing.T) {
	const blind, tag = `[A-Za-z0-9_-]{22}`, `[A-Za-z0-9_-]{11}`
	for name, tc := range map[string]struct {
		layout           keys.Layout
		untagged, tagged string
	}{
		"blind":            {keys.Layout{}, `sc:test:v:\{` + blind + `\}`, `sc:test:v:\{` + tag + `\}` + blind},
		"another prefix":   {keys.Layout{Prefix: "shop-1"}, `shop-1:test:v:\{` + blind + `\}`, `shop-1:test:v:\{` + tag + `\}` + blind},
		"shards":           {keys.Layout{Shards: 4}, `sc:test:v:\{0[0-3]\}` + blind, `sc:test:v:\{0[0-3]\}` + tag + blind},
		"plain":            {keys.Layout{Plain: true}, `sc:test:v:\{a/b%20%C3%A9%7B%7D%3A~\.\}`, `sc:test:v:\{` + tag + `\}a/b%20%C3%A9%7B%7D%3A~\.`},
		"plain and shards": {keys.Layout{Plain: true, Shards: 256}, `sc:test:v:\{[0-9a-f]{2}\}a/b%20%C3%A9%7B%7D%3A~\.`, `sc:test:v:\{[0-9a-f]{2}\}` + tag + `a/b%20%C3%A9%7B%7D%3A~\.`},
	} {
		t.Run(name, func(t *testing.T) {
			env := securecachetest.Start(t, securecachetest.WithLayout(tc.layout))
			c := env.Cache
			for view, form := range map[*securecache.Cache]string{c: tc.untagged, c.Tagged("tenant"): tc.tagged} {
				key, err := view.Key(codec.KindValue, "a/b é{}:~.")
				ok(t, err)
				if !regexp.MustCompile(`^` + form + `$`).MatchString(key.String()) {
					t.Errorf("%s is not of the form %s", key, form)
				}
				parsed, err := securecache.ParseKey(key.String())
				if err != nil || parsed != key {
					t.Errorf("ParseKey(%s): %+v, %v", key, parsed, err)
				}
				part := key.Part("fence")
				if want := strings.TrimPrefix(part.String(), tc.layout.Prefix); !strings.HasSuffix(want, key.Binding().ID+":fence") || part.Binding().ID != key.Binding().ID+":fence" {
					t.Errorf("the part is bound to %q", part.Binding().ID)
				}
			}
			for _, kind := range []codec.Kind{codec.KindExpiry, 0x80, 0xff} {
				key, err := c.Tagged("tenant").Key(kind, "a b")
				parsed, again := securecache.ParseKey(key.String())
				if err != nil || again != nil || parsed != key {
					t.Errorf("ParseKey(%s): %+v, %v, %v", key, parsed, err, again)
				}
			}
			if key, err := c.Key(codec.KindSession, "a b"); err != nil || strings.Contains(key.String(), "a%20b") {
				t.Errorf("a session's key is not blinded: %s, %v", key, err)
			}
		})
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for _, text := range []string{"", "sc", "sc:test", "sc:test:v", "sc:test:v:", ":test:v:{a}", "sc::v:{a}", "sc:test:?:{a}", "sc:test:x7f:{a}", "sc:test:X80:{a}"} {
		if _, err := securecache.ParseKey(text); !errors.Is(err, securecache.ErrName) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestBindings asks keys of all prefixes and kinds, and those of nothing.
func TestBindings(t *testing.T) {
	for text, want := range map[string]codec.Binding{
		"sc:test:v:{a}":                            {Namespace: "test", Kind: codec.KindValue, ID: "{a}"},
		"shop-1:a.b:s:{a}b:fence":                  {Namespace: "a.b", Kind: codec.KindSession, ID: "{a}b:fence"},
		"sc:v:x:{0a}b":                             {Namespace: "v", Kind: codec.KindExpiry, ID: "{0a}b", FieldID: "{0a}b"},
		"x80:x80:x80:x80:x80":                      {Namespace: "x80", Kind: 0x80, ID: "x80:x80"},
		strings.Repeat("p", 300) + ":test:xff:{a}": {Namespace: "test", Kind: 0xff, ID: "{a}"},
	} {
		key, err := securecache.ParseKey(text)
		if err != nil || key.Binding() != want {
			t.Errorf("%.40s is bound to %+v, %v", text, key.Binding(), err)
		}
		event := key.Event()
		if want.Kind, want.FieldID = codec.KindExpiry, want.ID; event.Binding() != want {
			t.Errorf("the event of %.40s is bound to %+v", text, event.Binding())
		}
		if parsed, err := securecache.ParseKey(event.String()); err != nil || parsed != event {
			t.Errorf("ParseKey(%.40s): %+v, %v", event, parsed, err)
		}
	}
	var none securecache.Key
	if none.Binding() != (codec.Binding{}) || none.Part("fence").Binding() != (codec.Binding{}) {
		t.Error("the zero key is bound to something")
	}
}

func TestDialRefuses(t *testing.T) {
	env := securecachetest.Start(t)
	ctx := t.Context()
	url := env.Server.URL()
	secret := url[strings.LastIndex(url[:strings.Index(url, "@")], ":")+1 : strings.Index(url, "@")]
	wrong := strings.Replace(url, secret, "not-the-password", 1)
	for name, run := range map[string]func() error{
		"no TLS":         func() error { _, err := securecache.Dial(ctx, url, nil, env.Keyring, nil); return err },
		"wrong password": func() error { _, err := securecache.Dial(ctx, wrong, env.TLS, env.Keyring, nil); return err },
		"no URL":         func() error { _, err := securecache.Dial(ctx, "://"+secret, env.TLS, env.Keyring, nil); return err },
		"another scheme": func() error {
			_, err := securecache.Dial(ctx, "http://u:"+secret+"@localhost", env.TLS, env.Keyring, nil)
			return err
		},
		"an odd option": func() error {
			_, err := securecache.Dial(ctx, url+"?nonsense=1", env.TLS, env.Keyring, nil)
			return err
		},
		"a bad cluster": func() error {
			_, err := securecache.Dial(ctx, url+"?cluster=true&nonsense=1", env.TLS, env.Keyring, nil)
			return err
		},
		"a bad port": func() error {
			_, err := securecache.Dial(ctx, "rediss://u:"+secret+"@localhost:port", env.TLS, env.Keyring, nil)
			return err
		},
		"a password with a slash": func() error {
			_, err := securecache.Dial(ctx, "rediss://u:/"+secret+"@localhost/0", env.TLS, env.Keyring, nil)
			return err
		},
		"and on a cluster": func() error {
			_, err := securecache.Dial(ctx, "rediss://u:12/"+secret+"@localhost/0?cluster=true", env.TLS, env.Keyring, nil)
			return err
		},
		"and behind Sentinel": func() error {
			_, err := securecache.Dial(ctx, "rediss://u:12/"+secret+"@localhost/0?master_name=m", env.TLS, env.Keyring, nil)
			return err
		},
		"an option's value": func() error {
			_, err := securecache.Dial(ctx, url+"?db="+secret, env.TLS, env.Keyring, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := run()
			if err == nil {
				t.Fatal("connected")
			}
			if contains(err, secret) || contains(err, "not-the-password") {
				t.Errorf("the error quotes the password: %v", err)
			}
		})
	}
	c, err := securecache.Dial(ctx, url, env.TLS, env.Keyring, nil)
	ok(t, err)
	ok(t, c.Close())
}

func TestSlots(t *testing.T) {
	c := securecachetest.Start(t).Cache
	if _, tagged, err := c.Slot(); tagged || err != nil {
		t.Errorf("a cache without a tag: %t, %v", tagged, err)
	}
	slot, tagged, err := c.Tagged("tenant").Slot()
	if !tagged || err != nil {
		t.Fatalf("%t, %v", tagged, err)
	}
	if by, of := keyOf(t, c.InSlot(slot), "a"), keyOf(t, c.Tagged("tenant"), "a"); by != of {
		t.Errorf("%s by the slot, %s by the tag", by, of)
	}
	if keyOf(t, c.Tagged(""), "a") != keyOf(t, c, "a") {
		t.Error("the empty tag is none")
	}
}
