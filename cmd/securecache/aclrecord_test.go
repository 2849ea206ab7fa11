package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/expiry"
	"github.com/securecache/securecache-go/securecache/limit"
	"github.com/securecache/securecache-go/securecache/lock"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecache/token"
)

// TestACLIsWhatIsSent plays everything that the library and the command do,
// logged in as the rendered users, and reads from the server which commands it
// has run. What a profile lists and nobody sends is too much; what was refused
// is missing from it.
func TestACLIsWhatIsSent(t *testing.T) {
	r := startRig(t, server.Options{})
	t.Cleanup(func() { check(t, r.server.Close()) })
	if lacks := r.server.Lacks(); lacks != nil {
		t.Skipf("%s keeps no count of its commands", r.server.Name())
	}
	dir := t.TempDir()
	for _, v := range r.environ(dir) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	inScripts := calledByScripts(t)
	// Sent where the URL names the client, the server does not know HELLO, a
	// subscription is changed or silent for long.
	rare := map[string]bool{"client|setname": true, "auth": true, "unsubscribe": true, "ping": true}
	for _, part := range []struct {
		role hardening.Role
		play func(*testing.T, *rig, string)
	}{{hardening.App, playApp}, {hardening.Operator, playOperator}, {hardening.Doorbell, playDoorbell}} {
		t.Run(part.role.String(), func(t *testing.T) {
			check(t, r.admin.ConfigResetStat(t.Context()).Err())
			part.play(t, r, dir)
			sent, refused := commandStats(t, r.admin)
			if part.role == hardening.Doorbell { // any cache tries to load its scripts
				delete(refused, "script|load")
			}
			for name := range refused {
				t.Errorf("%s was sent and refused", name)
			}
			list := profileWords(t, r, part.role)
			for name := range sent {
				if !list[name] && (name != "info" || part.role != hardening.Doorbell) { // the administrator's
					t.Errorf("%s was sent, and the profile does not list it", name)
				}
			}
			for name := range list {
				own := inScripts[name] || part.role == hardening.Operator && appWords(t, r)[name]
				if !sent[name] && !rare[name] && !own {
					t.Errorf("the profile lists %s, and nobody has sent it", name)
				}
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// commandStats returns the commands that the server has run since the last
// reset, scripts' included, and those that it has refused.
func commandStats(t *testing.T, admin *redis.Client) (sent, refused map[string]bool) {
	t.Helper()
	text, err := admin.Info(t.Context(), "commandstats").Result()
	check(t, err)
	sent, refused = map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^cmdstat_(\S+?):calls=(\d+),.*rejected_calls=(\d+)`).FindAllStringSubmatch(text, -1) {
		if m[3] != "0" {
			refused[m[1]] = true
		}
		sent[m[1]] = m[2] != "0"
	}
	administrators := []string{"config|resetstat", "pubsub|channels", "config|set", "acl|setuser", "flushall"}
	maps.DeleteFunc(sent, func(name string, ran bool) bool { return !ran || slices.Contains(administrators, name) })
	return sent, refused
}

func calledByScripts(t *testing.T) map[string]bool {
	t.Helper()
	sources, err := filepath.Glob("../../scripts/lua/*.lua")
	check(t, err)
	called := map[string]bool{}
	for _, path := range sources {
		text, err := os.ReadFile(path)
		check(t, err)
		for _, m := range regexp.MustCompile(`\bp?call\(\s*['"](\w+)['"]`).FindAllSubmatch(text, -1) {
			called[strings.ToLower(string(m[1]))] = true
		}
	}
	if len(called) == 0 {
		t.Fatal("no scripts")
	}
	return called
}

func appWords(t *testing.T, rig *rig) map[string]bool { return profileWords(t, rig, hardening.App) }

// profileWords are the commands that a role's line lists.
func profileWords(t *testing.T, rig *rig, role hardening.Role) map[string]bool {
	t.Helper()
	line, err := hardening.ACL(hardening.Profile{
		Role: role, PasswordSHA256: strings.Repeat("0", 64), Namespace: "test", Version: rig.server.Version(),
	})
	check(t, err)
	list := map[string]bool{}
	for _, w := range strings.Fields(line) {
		if name, ok := strings.CutPrefix(w, "+"); ok {
			list[name] = true
		}
	}
	return list
}

// verb runs the command.
func verb(t *testing.T, stdin string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(args, strings.NewReader(stdin), &stdout, &stderr); status != exitOK {
		t.Fatalf("%s: exit status %d, %s", strings.Join(args, " "), status, &stderr)
	}
}

func playApp(t *testing.T, rig *rig, dir string) {
	playVerbs(t)
	playPackages(t, site{rig.server.URL(), rig.server.TLS(), "test", rig.admin}, dir)
}

// site is a server as an application sees it, and what its administrator does.
type site struct {
	url       string // of the application's user
	config    *tls.Config
	namespace string
	admin     *redis.Client
}

// playPackages plays all that the library does for an application.
func playPackages(t *testing.T, at site, dir string) {
	t.Helper()
	for name, layout := range map[string]keys.Layout{"bare": {}, "scheduled": {Shards: 1}} {
		c := playCache(t, at, filepath.Join(dir, name), layout)
		playValues(t, c)
		playSessions(t, c)
		playTokens(t, c)
		playLocks(t, at.admin, c)
		playLimits(t, c)
		if layout.Shards > 0 {
			playEvents(t, c)
		}
	}
}

func playVerbs(t *testing.T) {
	verb(t, "", "keys", "create")
	verb(t, "value", "set", "name", "--ttl", "1h", "--max-life", "2h")
	for _, args := range [][]string{
		{"get", "name"}, {"ttl", "name"}, {"touch", "name", "--ttl", "1h"}, {"inspect", "--name", "name", "--open"},
		{"scripts", "load"}, {"lock", "run", "name", "--ttl", "10s", "--", "true"}, {"session", "list", "subject"}, {"limit", "check", "name", "--rate", "5/1m"}, {"del", "name"},
	} {
		verb(t, "", args...)
	}
}

func playCache(t *testing.T, at site, file string, l keys.Layout) *securecache.Cache {
	t.Helper()
	ctx := t.Context()
	store, wrapper := keys.NewFile(file), keys.InsecurePlain()
	check(t, keys.Create(ctx, at.namespace, store, wrapper, l))
	k, err := keys.Open(ctx, at.namespace, store, wrapper, nil)
	check(t, err)
	t.Cleanup(func() { check(t, k.Close()) })
	c, err := securecache.Dial(ctx, at.url, at.config, k, &securecache.Options{Batch: true})
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

func playValues(t *testing.T, c *securecache.Cache) {
	ctx := t.Context()
	load := func(context.Context) ([]byte, error) { return []byte("loaded"), nil }
	entries := []securecache.Entry{{Name: "a", Value: []byte("a")}, {Name: "b", Value: []byte("b")}}
	_, err := c.Fetch(ctx, "fetched", time.Hour, load)
	check(t, errors.Join(err, c.Set(ctx, "name", []byte("v"), time.Hour, securecache.MaxLife(2*time.Hour))))
	check(t, errors.Join(c.SetMany(ctx, entries, time.Hour)...))
	for _, r := range c.GetMany(ctx, []string{"a", "b"}) {
		check(t, r.Err)
	}
	item, err := c.Item(ctx, "name")
	check(t, err)
	check(t, c.Replace(ctx, "name", item.ETag, []byte("w"), time.Hour))
	_, err1 := c.Exists(ctx, "name")
	_, err2 := c.TTL(ctx, "name")
	_, err3 := c.Touch(ctx, "name", time.Minute, securecache.Shorten())
	_, err4 := c.Get(ctx, "name")
	_, err5 := c.Delete(ctx, "name")
	check(t, errors.Join(err1, err2, err3, err4, err5))
}

func playSessions(t *testing.T, c *securecache.Cache) {
	ctx := t.Context()
	s, err := session.New(c, codec.Bytes(), nil)
	check(t, err)
	tok, err := s.Create(ctx, "subject", []byte("x"))
	check(t, err)
	found, err := s.Get(ctx, tok)
	check(t, err)
	check(t, s.Update(ctx, found))
	tok, err = s.Regenerate(ctx, tok)
	check(t, err)
	other, err := s.Login(ctx, nil, "subject", []byte("y"))
	check(t, err)
	_, err1 := s.List(ctx, "subject")
	_, err2 := s.RevokeBefore(ctx, "subject", time.Now().Add(-time.Hour))
	check(t, errors.Join(err1, err2, s.Destroy(ctx, tok)))
	found, err = s.Get(ctx, other)
	check(t, err)
	_, err1 = s.Revoke(ctx, "subject", found.ID())
	_, err2 = s.DestroyAll(ctx, "subject")
	check(t, errors.Join(err1, err2))
	web, err := session.NewSCS(c, &session.Options{Realm: "web"})
	check(t, err)
	const id = "Zm9yIHRoZSByZWNvcmRlZCBydW4gb2YgdGhlIEFDTHM"
	check(t, web.CommitCtx(ctx, id, []byte("x"), time.Now().Add(time.Hour)))
	_, _, err = web.FindCtx(ctx, id)
	check(t, errors.Join(err, web.DeleteCtx(ctx, id)))
}

func playTokens(t *testing.T, c *securecache.Cache) {
	ctx := t.Context()
	deny, err := token.NewDenylist(c, &token.Options{Life: time.Hour})
	check(t, err)
	check(t, deny.Revoke(ctx, token.JTI("id"), time.Now().Add(time.Hour)))
	check(t, deny.RevokeSubject(ctx, "subject", time.Now()))
	_, err = deny.Revoked(ctx, token.Token{ID: token.JTI("id"), Subject: "subject"})
	check(t, err)
	once, err := token.NewOnce(c)
	check(t, err)
	code := token.Code{Purpose: "reset", Subject: "subject"}
	code.Text, err = once.Issue(ctx, code, []byte("x"), time.Minute)
	check(t, err)
	_, err1 := once.Consume(ctx, code)
	_, err2 := once.Revoke(ctx, code)
	check(t, errors.Join(err1, err2))
}

func playLocks(t *testing.T, admin *redis.Client, c *securecache.Cache) {
	ctx := t.Context()
	locks, err := lock.New(c, nil)
	check(t, err)
	defer locks.Close()
	held, err := locks.Try(ctx, "name", time.Minute)
	check(t, err)
	check(t, errors.Join(held.Extend(ctx, time.Minute), held.GuardedSet(ctx, "guarded", []byte("x"), time.Minute)))
	waited := make(chan error, 1)
	go func() {
		next, err := locks.Obtain(ctx, "name", time.Minute)
		if err == nil {
			err = next.Release(ctx)
		}
		waited <- err
	}()
	await(t, "a waiter", func() bool { return len(admin.PubSubChannels(ctx, "*").Val()) > 0 })
	check(t, held.Release(ctx))
	check(t, <-waited)
}

func playLimits(t *testing.T, c *securecache.Cache) {
	ctx := t.Context()
	for _, a := range []limit.Algorithm{limit.GCRA, limit.FixedWindow, limit.SlidingWindow} {
		l, err := limit.New(c, limit.Rate{Count: 10, Period: time.Minute}, &limit.Options{Algorithm: a})
		check(t, err)
		_, err1 := l.Allow(ctx, "name")
		_, err2 := l.Peek(ctx, "name")
		check(t, errors.Join(err1, err2, l.Reset(ctx, "name")))
	}
	leases, err := limit.NewLeases(c, 1, time.Minute, nil)
	check(t, err)
	lease, _, err := leases.Acquire(ctx, "leased")
	check(t, err)
	_, err = leases.Peek(ctx, "leased")
	check(t, errors.Join(err, lease.Renew(ctx), lease.Release(ctx)))
}

// playEvents has one event handled, one buried and dropped, and one buried and
// put back.
func playEvents(t *testing.T, c *securecache.Cache) {
	n, err := expiry.New(c, &expiry.Options{MaxClaims: 1, Visibility: 3 * time.Second})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan string, 16), make(chan error, 1)
	go func() {
		ended <- n.Listen(ctx, func(_ context.Context, e expiry.Event) error {
			heard <- e.Name
			if e.Name == "ends" {
				return nil
			}
			return errors.New("not this one")
		})
	}()
	for _, name := range []string{"ends", "fails"} {
		check(t, c.Set(ctx, name, []byte("x"), 500*time.Millisecond))
		for <-heard != name { // those of what came before
		}
	}
	var letters []expiry.DeadLetter
	await(t, "a dead letter", func() bool {
		for letter, err := range n.Dead(ctx) {
			check(t, err)
			letters = append(letters, letter)
		}
		return len(letters) > 0
	})
	_, err1 := n.Requeue(ctx, letters...)
	for <-heard != "fails" {
	}
	_, err2 := n.Drop(ctx, letters...)
	_, err3 := n.Depth(ctx)
	check(t, errors.Join(err1, err2, err3))
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func playOperator(t *testing.T, rig *rig, dir string) {
	check(t, rig.admin.FlushAll(t.Context()).Err()) // records of other keyrings
	t.Setenv(redisEnv, rig.server.OperatorURL())
	t.Setenv("SECURECACHE_KEYRING", "file:"+filepath.Join(dir, "operators.json"))
	verb(t, "", "keys", "create")
	verb(t, "value", "set", "name", "--ttl", "1h")
	for _, args := range [][]string{{"scripts", "load"}, {"inspect", "--name", "name"}, {"reseal"}} {
		verb(t, "", args...)
	}
}

func playDoorbell(t *testing.T, rig *rig, dir string) {
	ctx := t.Context()
	check(t, rig.admin.ConfigSet(ctx, "notify-keyspace-events", "Ex").Err())
	login := setUser(t, rig, hardening.Doorbell)
	check(t, rig.admin.ConfigResetStat(ctx).Err())
	k, err := keys.Open(ctx, "test", keys.NewFile(filepath.Join(dir, "bare")), keys.InsecurePlain(), nil)
	check(t, err)
	defer k.Close()
	c, err := securecache.New(login, k, nil)
	check(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- expiry.Listen(ctx, c, func(context.Context, expiry.Event) error { return nil }, &expiry.Options{Doorbell: true})
	}()
	// It proves to itself that events come, with the last of what it may send.
	await(t, "a bell", func() bool { return strings.Contains(rig.admin.Info(ctx, "commandstats").Val(), "cmdstat_exists:") })
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

const rolePassword = "a password for this test"

// setUser gives the server the user of a role, and returns a client that is
// logged in as it.
func setUser(t *testing.T, rig *rig, role hardening.Role) *redis.Client {
	t.Helper()
	sum := sha256.Sum256([]byte(rolePassword))
	line, err := hardening.ACL(hardening.Profile{
		Role: role, PasswordSHA256: hex.EncodeToString(sum[:]), Namespace: "test", Version: rig.server.Version(),
	})
	check(t, err)
	words := []any{"acl", "setuser"}
	for _, w := range strings.Fields(line)[1:] {
		words = append(words, w)
	}
	check(t, rig.admin.Do(t.Context(), words...).Err())
	o := rig.server.Options()
	o.Username, o.Password = role.String(), rolePassword
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// await calls f until it holds, and fails after half a minute.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within half a minute", what)
		case <-tick.C:
		}
	}
}
