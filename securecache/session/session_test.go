package session_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestLife(t *testing.T) {
	for name, subject := range map[string]string{"of a subject": "alice", "of nobody": ""} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, b *bed) {
				s, ctx := b.store(t, nil), t.Context()
				before := b.cache.Now().Truncate(time.Millisecond)
				token := create(t, s, subject, "one")
				got := holds(t, s, token, "one")
				if got.Subject() != subject || got.Created().Before(before) || got.Ends() != got.Created().Add(24*time.Hour) || got.Written() != got.Created() {
					t.Errorf("subject %q, created %v, written %v, ends %v", got.Subject(), got.Created(), got.Written(), got.Ends())
				}
				for _, note := range []string{"two", "three"} { // with one and the same session
					got.Value.Note = note
					ok(t, s.Update(ctx, got))
					if again := holds(t, s, token, note); again.Created() != got.Created() || again.Ends() != got.Ends() {
						t.Errorf("an update moved %v to %v, %v to %v", got.Created(), again.Created(), got.Ends(), again.Ends())
					}
				}
				ok(t, s.Destroy(ctx, token))
				gone(t, s, token)
				is(t, "update of what is gone", s.Update(ctx, got), securecache.ErrMiss)
				gone(t, s, token)
				ok(t, s.Destroy(ctx, token))
			})
		})
	}
}

// TestWhatTheServerHolds looks for what it must not, and holds keys to
// FORMAT.md.
func TestWhatTheServerHolds(t *testing.T) {
	b := onServer(t)
	s, ctx := b.store(t, nil), t.Context()
	token := create(t, s, "alice@example.com", "a note that nobody reads")
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 32 {
		t.Fatalf("the token is no base64url of 32 bytes: %d, %v", len(raw), err)
	}
	tag := base64.RawURLEncoding.EncodeToString(raw[:8])
	record, index := b.only(t, codec.KindSession), b.only(t, codec.KindSubject)
	for _, form := range []struct{ key, want string }{
		{record, `^sc:test:s:\{` + tag + `\}[A-Za-z0-9_-]{22}$`}, {index, `^sc:test:u:\{` + tag + `\}[A-Za-z0-9_-]{22}$`},
	} {
		if !regexp.MustCompile(form.want).MatchString(form.key) {
			t.Errorf("a key reads %s, want %s", form.key, form.want)
		}
	}
	value := b.admin.Get(ctx, record).Val()
	members := b.admin.ZRangeWithScores(ctx, index, 0, -1).Val()
	header, err := codec.ParseHeader([]byte(value))
	ok(t, err)
	if len(members) != 1 || members[0].Member != record[len(record)-22:] || int64(members[0].Score) != header.Expires.UnixMilli() {
		t.Errorf("the index holds %v", members)
	}
	if life := header.Expires.Sub(header.Written); life != time.Hour {
		t.Errorf("the record lives for %v, want two idle windows", life)
	}
	if ttl := b.admin.PTTL(ctx, record).Val(); ttl > 30*time.Minute || ttl < 29*time.Minute {
		t.Errorf("the server keeps it for %v", ttl)
	}
	for _, secret := range []string{token, token[11:], string(raw), string(raw[8:]), "alice", "nobody reads"} {
		if strings.Contains(record+index+value+fmt.Sprint(members), secret) {
			t.Errorf("the server holds %q", secret)
		}
	}
}

func TestNoTokens(t *testing.T) {
	b := onServer(t)
	s := b.store(t, nil)
	token := create(t, s, "alice", "one")
	for name, bad := range map[string]string{
		"none": "", "short": token[:42], "long": token + "A", "another": strings.Repeat("A", 43), "padded": token[:42] + "=",
		"other alphabet": "+" + token[1:], "line break": token[:42] + "\n", "second spelling": token[:42] + string(token[42]+1),
		"another tag": "AAAAAAAAAAA" + token[11:], "not UTF-8": token[:42] + "\xff",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Get(t.Context(), bad)
			is(t, "get", err, securecache.ErrMiss)
			_, err = s.Regenerate(t.Context(), bad)
			is(t, "regenerate", err, securecache.ErrMiss)
			ok(t, s.Destroy(t.Context(), bad))
		})
	}
	holds(t, s, token, "one")
}

func TestLostUpdate(t *testing.T) {
	everywhere(t, func(t *testing.T, b *bed) {
		s, ctx := b.store(t, nil), t.Context()
		token := create(t, s, "alice", "one")
		first, second := holds(t, s, token, "one"), holds(t, s, token, "one")
		first.Value.Note, second.Value.Note = "first", "second"
		ok(t, s.Update(ctx, first))
		is(t, "the second", s.Update(ctx, second), securecache.ErrConflict)
		holds(t, s, token, "first")
		is(t, "the second, again", s.Update(ctx, second), securecache.ErrConflict)
	})
}

// TestSealedAnew has the record change beneath a session that was read, and say
// the same.
func TestSealedAnew(t *testing.T) {
	b := onServer(t)
	s, ctx := b.store(t, nil), t.Context()
	for name, act := range map[string]func(got *session.Session[cart]) error{
		"update": func(got *session.Session[cart]) error { return s.Update(ctx, got) },
		"login": func(got *session.Session[cart]) error {
			_, err := s.Login(ctx, got, "bob", got.Value)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			token := create(t, s, "", "one")
			mine, theirs := holds(t, s, token, "one"), holds(t, s, token, "one")
			ok(t, s.Update(ctx, theirs))
			ok(t, act(mine))
		})
	}
}

func TestRegenerate(t *testing.T) {
	for name, subject := range map[string]string{"of a subject": "alice", "of nobody": ""} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, b *bed) {
				s, ctx := b.store(t, nil), t.Context()
				old := create(t, s, subject, "one")
				before := holds(t, s, old, "one")
				token, err := s.Regenerate(ctx, old)
				ok(t, err)
				if token == old {
					t.Fatal("the token is the same")
				}
				gone(t, s, old)
				after := holds(t, s, token, "one")
				if after.Created() != before.Created() || after.Ends() != before.Ends() || after.Subject() != subject || after.ID() == before.ID() {
					t.Errorf("it became %v to %v of %q", after.Created(), after.Ends(), after.Subject())
				}
				is(t, "update under the old token", s.Update(ctx, before), securecache.ErrMiss)
				ok(t, s.Update(ctx, after))
				if subject != "" {
					listed(t, s, subject, "one")
				}
				_, err = s.Regenerate(ctx, old)
				is(t, "the old token again", err, securecache.ErrMiss)
			})
		})
	}
}

func TestLogin(t *testing.T) {
	everywhere(t, func(t *testing.T, b *bed) {
		s, ctx := b.store(t, nil), t.Context()
		visitor := create(t, s, "", "cart")
		before := holds(t, s, visitor, "cart")
		token, err := s.Login(ctx, before, "alice", before.Value)
		ok(t, err)
		gone(t, s, visitor)
		if after := holds(t, s, token, "cart"); after.Subject() != "alice" {
			t.Errorf("it is %q's", after.Subject())
		}
		listed(t, s, "alice", "cart")

		stale := holds(t, s, token, "cart")
		fresh := holds(t, s, token, "cart")
		fresh.Value.Note = "fuller cart"
		ok(t, s.Update(ctx, fresh))
		_, err = s.Login(ctx, stale, "alice", stale.Value)
		is(t, "over an update", err, securecache.ErrConflict)
		holds(t, s, token, "fuller cart")
		listed(t, s, "alice", "fuller cart")

		first, err := s.Login(ctx, nil, "bob", cart{Note: "first"})
		ok(t, err)
		before = holds(t, s, first, "first")
		ok(t, s.Destroy(ctx, first))
		_, err = s.Login(ctx, before, "bob", cart{Note: "second"})
		ok(t, err)
		listed(t, s, "bob", "second")
	})
}

// TestRegenerateByMany has one caller move a session, and the others told that
// it is gone; it is never there twice.
func TestRegenerateByMany(t *testing.T) {
	b := onServer(t)
	s := b.store(t, nil)
	token := create(t, s, "alice", "one")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var tokens []string
	for range 16 {
		wg.Go(func() {
			next, err := s.Regenerate(t.Context(), token)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				tokens = append(tokens, next)
			} else if !errors.Is(err, securecache.ErrMiss) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(tokens) != 1 {
		t.Fatalf("%d callers moved it", len(tokens))
	}
	holds(t, s, tokens[0], "one")
	listed(t, s, "alice", "one")
}

func TestRealms(t *testing.T) {
	b := onServer(t)
	shop, staff := b.store(t, nil), b.store(t, &session.Options{Realm: "staff"})
	customer, admin := create(t, shop, "alice", "customer"), create(t, staff, "alice", "admin")
	gone(t, shop, admin)
	gone(t, staff, customer)
	ok(t, staff.Destroy(t.Context(), customer))
	n, err := staff.DestroyAll(t.Context(), "alice")
	if n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	holds(t, shop, customer, "customer")
	listed(t, shop, "alice", "customer")
	listed(t, staff, "alice", "")
}

// TestRefused has the server put something else in the place of a record.
func TestRefused(t *testing.T) {
	b := onServer(t)
	var told refusals
	c, err := securecache.New(b.rdb, b.keys, &securecache.Options{OnRefused: told.add})
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	b.cache = c
	s, ctx := b.store(t, nil), t.Context()
	for name, spoil := range map[string]func(record, other string) string{
		"a flipped bit":     func(r, _ string) string { return r[:len(r)-1] + string(r[len(r)-1]^1) },
		"a longer life":     func(r, _ string) string { return r[:10] + "\x7f" + r[11:] },
		"plaintext":         func(_, _ string) string { return `{"Items":["all"]}` },
		"another's session": func(_, other string) string { return other },
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, b.admin.FlushDB(ctx).Err())
			create(t, s, "mallory", "mallory's")
			other := b.admin.Get(ctx, b.only(t, codec.KindSession)).Val()
			ok(t, b.admin.FlushDB(ctx).Err())
			token := create(t, s, "alice", "one")
			was := holds(t, s, token, "one")
			record := b.only(t, codec.KindSession)
			bad := spoil(b.admin.Get(ctx, record).Val(), other)
			ok(t, b.admin.Set(ctx, record, bad, time.Hour).Err())
			_, err := s.Get(ctx, token)
			var refused *securecache.RefusedError
			if !errors.As(err, &refused) || told.take() != 1 {
				t.Errorf("get: %v", err)
			}
			listed(t, s, "alice", "")
			if told.take() != 1 {
				t.Error("nobody was told by the listing")
			}
			// What differs behind the header is written over, as it would be unread.
			if err := s.Update(ctx, was); !errors.As(err, &refused) && name != "a flipped bit" {
				t.Errorf("update: %v", err)
			}
			ok(t, b.admin.Set(ctx, record, bad, time.Hour).Err())
			ok(t, s.Destroy(ctx, token))
			gone(t, s, token)
			_ = told.take()
		})
	}
}

func TestErrorsTellNothing(t *testing.T) {
	b := onServer(t)
	const secret = "a-secret-subject"
	texts, err := session.New(b.cache, codec.JSON[string](), nil)
	ok(t, err)
	numbers, err := session.New(b.cache, codec.JSON[int](), nil)
	ok(t, err)
	unfit, err := session.New(b.cache, codec.JSON[func()](), nil)
	ok(t, err)
	ctx := t.Context()
	token, err := texts.Create(ctx, secret, "a-secret-value")
	ok(t, err)
	ok(t, b.admin.Set(ctx, b.only(t, codec.KindSubject), "no index", 0).Err())
	_, wrongType := numbers.Get(ctx, token)
	_, unmarshalable := unfit.Create(ctx, secret, nil)
	_, noIndex := texts.Create(ctx, secret, "a-secret-value")
	_, noList := texts.List(ctx, secret)
	_, noSubject := texts.List(ctx, "")
	is(t, "no subject", noSubject, securecache.ErrName)
	for what, err := range map[string]error{"wrong type": wrongType, "unmarshalable": unmarshalable, "no index": noIndex, "no list": noList, "no subject": noSubject} {
		if err == nil {
			t.Errorf("%s: no error", what)
			continue
		}
		for _, s := range []string{"secret", token, token[11:30]} {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), s) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	s, err := texts.Get(ctx, token)
	ok(t, err)
	if shown := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(shown, token[11:30]) {
		t.Errorf("a session shows its token: %s", shown)
	}
}

func TestOptions(t *testing.T) {
	b := onServer(t, securecachetest.WithLayout(keys.Layout{MaxLife: time.Hour}))
	for name, tc := range map[string]struct {
		options session.Options
		good    bool
	}{
		"the defaults":             {session.Options{}, true},
		"an idle of the whole":     {session.Options{Idle: 20 * time.Minute, Absolute: 20 * time.Minute}, true},
		"too short an idle":        {session.Options{Idle: time.Millisecond}, false},
		"a negative idle":          {session.Options{Idle: -time.Hour}, false},
		"absolute before idle":     {session.Options{Idle: time.Minute, Absolute: time.Second}, false},
		"beyond the longest life":  {session.Options{Idle: 31 * time.Minute}, false},
		"a long idle, but bounded": {session.Options{Idle: time.Hour, Absolute: time.Hour}, true},
		"an idle beyond a day":     {session.Options{Idle: 48 * time.Hour}, false},
		"a cookie with its prefix": {session.Options{Cookie: session.Cookie{Name: "__Host-session"}}, false},
		"a cookie with a space":    {session.Options{Cookie: session.Cookie{Name: "my session"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := session.New(b.cache, codec.Bytes(), &tc.options)
			if (err == nil) != tc.good {
				t.Errorf("%v", err)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "session: ") {
				t.Errorf("the error does not say whose it is: %v", err)
			}
		})
	}
	if _, err := session.New(nil, codec.Bytes(), nil); err == nil {
		t.Error("no cache was enough")
	}
	if _, err := session.New[int](b.cache, nil, nil); err == nil {
		t.Error("no marshaler was enough")
	}
}

// TestContent holds what is sealed to FORMAT.md.
func TestContent(t *testing.T) {
	b := onServer(t)
	s := b.store(t, nil)
	token := create(t, s, "alice", "one")
	got := holds(t, s, token, "one")
	key, err := securecache.ParseKey(b.only(t, codec.KindSession))
	ok(t, err)
	item, err := b.cache.ItemAt(t.Context(), key)
	ok(t, err)
	value, err := json.Marshal(got.Value)
	ok(t, err)
	want := fmt.Sprintf("%08x%x%012x%012x%x", len("alice"), "alice", got.Created().UnixMilli(), got.Ends().UnixMilli(), value)
	if have := fmt.Sprintf("%x", item.Value); have != want {
		t.Errorf("sealed is\n%s, want\n%s", have, want)
	}
}

// TestForeignContent opens a record of the right kind and key that says
// something else.
func TestForeignContent(t *testing.T) {
	b := onServer(t)
	s := b.store(t, nil)
	for name, content := range map[string]string{
		"nothing": "", "too short": strings.Repeat("\x00", 15), "a subject beyond the end": "\xff\xff\xff\xff" + strings.Repeat("\x00", 12),
	} {
		t.Run(name, func(t *testing.T) {
			token := create(t, s, "alice", "one")
			list := listed(t, s, "alice", "one")
			var key securecache.Key
			for _, text := range b.names(t, codec.KindSession) {
				if strings.HasSuffix(text, list[0].ID()) {
					var err error
					key, err = securecache.ParseKey(text)
					ok(t, err)
				}
			}
			record, err := b.cache.Seal(key, time.Now().Add(time.Hour), []byte(content))
			ok(t, err)
			ok(t, b.admin.Set(t.Context(), key.String(), record, 0).Err())
			if _, err := s.Get(t.Context(), token); err == nil || errors.Is(err, securecache.ErrMiss) {
				t.Errorf("it was read: %v", err)
			}
			listed(t, s, "alice", "")
			n, err := s.DestroyAll(t.Context(), "alice")
			if n != 1 || err != nil {
				t.Errorf("%d ended, %v", n, err)
			}
			gone(t, s, token)
		})
	}
}
