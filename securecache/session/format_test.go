package session_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecachetest"
)

// vector is the store of FORMAT.md's worked example, which never changes.
type vector string

func (v vector) Load(context.Context) ([]byte, error) {
	b, err := os.ReadFile(string(v))
	if err != nil {
		return nil, err
	}
	_, body, _ := strings.Cut(string(b), "\n\n")
	return base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
}

func (vector) Save(context.Context, []byte, []byte) error { return keys.ErrConflict }

// TestWorkedExample finds what this implementation makes of section 15's example
// in FORMAT.md, word for word.
func TestWorkedExample(t *testing.T) {
	b := onServer(t)
	k, err := keys.Open(t.Context(), "demo", vector("../../testdata/vectors/keyring/ok-single.txt"), keys.InsecurePlain(), nil)
	ok(t, err)
	t.Cleanup(func() { _ = k.Close() })
	c, err := securecache.New(b.rdb, k, nil)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	random := make([]byte, 24)
	for i := range random {
		random[i] = byte(0x60 + i)
	}
	const subject = "user:42"
	slot, _, err := c.Tagged(subject).Slot()
	ok(t, err)
	record, err := c.InSlot(slot).Key(codec.KindSession, string(random))
	ok(t, err)
	index, err := c.Tagged(subject).Key(codec.KindSubject, subject)
	ok(t, err)
	staff, err := c.InSlot(slot).Key(codec.KindSession, "\x00\x00\x00\x05staff"+string(random))
	ok(t, err)
	text, err := os.ReadFile("../../FORMAT.md")
	ok(t, err)
	_, section, found := strings.Cut(string(text), "\n## 15 Sessions\n")
	if !found {
		t.Fatal("FORMAT.md has no section 15")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	section = strings.Join(strings.Fields(section), " ")
	created := time.UnixMilli(1770681540000)
	content := session.Content{Subject: subject, Created: created, Ends: created.Add(24 * time.Hour), Value: []byte(`{"cart":3}`)}.Encode()
	for what, want := range map[string]string{
		"slot": hex.EncodeToString(slot[:]), "token": session.TokenOf(slot, string(random)),
		"record": record.String(), "index": index.String(), "staff": staff.String(), "content": spaced(content),
	} {
		if !strings.Contains(section, want) {
			t.Errorf("%s: FORMAT.md does not have %s", what, want)
		}
	}
}

// TestManagersKeys: what is written under a session manager's token, and what is
// left of it, has the token for name and no tag.
func TestManagersKeys(t *testing.T) {
	for _, shards := range []int{0, 16} {
		b := onServer(t, securecachetest.WithLayout(keys.Layout{Shards: shards}))
		s, ctx := b.scs(t), t.Context()
		ok(t, s.CommitCtx(ctx, "token", []byte("data"), time.Now().Add(time.Minute)))
		want, err := b.cache.Key(codec.KindSession, "token")
		ok(t, err)
		record := b.only(t, codec.KindSession)
		if record != want.String() {
			t.Errorf("%d shards: a session stands under %s, not %s", shards, record, want)
		}
		ok(t, s.DeleteCtx(ctx, "token"))
		if got, want := b.only(t, codec.KindSubject), strings.Replace(record, ":s:", ":u:", 1); got != want {
			t.Errorf("%d shards: its tombstone stands under %s, not %s", shards, got, want)
		}
	}
}

// spaced is a content in hex, its parts apart.
func spaced(b []byte) string {
	parts := []string{hex.EncodeToString(b[:4]), hex.EncodeToString(b[4:11]), hex.EncodeToString(b[11:17]), hex.EncodeToString(b[17:23]), hex.EncodeToString(b[23:])}
	return strings.Join(parts, " ")
}
