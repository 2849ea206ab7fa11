package main

import (
	"context"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/internal/vaulttest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

func TestMain(m *testing.M) {
	// The test's own binary stands on the PATH as securecache.
	testscript.Main(servertest.Tests(m), map[string]func(){"securecache": main})
}

// TestScripts runs testdata/script, each file with a server of its own, a
// namespace called test and no keyring yet.
func TestScripts(t *testing.T) {
	// A test can be skipped from its own goroutine only, and the scripts have theirs.
	first := startRig(t, server.Options{}).server
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			rig, err := openRig(t, server.Options{})
			if err != nil {
				return err
			}
			env.Defer(func() {
				if err := rig.server.Close(); err != nil {
					t.Error(err)
				}
			})
			env.Values[rigKey{}] = rig
			env.Setenv("GORACE", os.Getenv("GORACE"))
			for _, v := range rig.environ(env.WorkDir) {
				name, value, _ := strings.Cut(v, "=")
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "redis": redisCmd, "slowclock": slowClock, "flip": flip, "server": serverCmd,
			"key": keyCmd, "keyid": keyID, "login": login, "fill": fill, "password": password, "vault": vaultCmd, "otherca": otherCA,
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "fips":
				return fips140.Enforced(), nil
			case "real": // not the embedded server
				return first.Lacks() == nil, nil
			case "vault":
				return os.Getenv(vaulttest.Variable) != "", nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
	})
}

// rig is a server with an admin's client.
type rig struct {
	server *server.Server
	admin  *redis.Client
	vault  *vaulttest.Server // where a script has started one
}

type rigKey struct{}

// startRig starts whichever server the environment chooses or the machine has,
// the embedded one where there is none. In CI that is a failure, and in FIPS
// 140-only mode the test is skipped.
func startRig(t *testing.T, o server.Options) *rig {
	t.Helper()
	r, err := openRig(t, o)
	switch {
	case errors.Is(err, server.ErrNotInstalled) && os.Getenv("CI") != "true":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	if notice := r.server.Notice(); notice != "" {
		t.Log(notice)
	}
	return r
}

// openRig is startRig for any goroutine.
func openRig(t *testing.T, o server.Options) (*rig, error) {
	o.Namespace, o.Fallback = "test", server.MayFallBack()
	s, err := server.Start(t.Context(), o)
	if err != nil {
		return nil, err
	}
	admin := redis.NewClient(s.AdminOptions())
	t.Cleanup(func() { _ = admin.Close() })
	return &rig{server: s, admin: admin}, nil
}

// environ is what the command needs to work on the server, with its files in
// dir.
func (r *rig) environ(dir string) []string {
	return []string{
		"REDIS_URL=" + r.server.URL(),
		"APP_URL=" + r.server.URL(),
		"OPERATOR_URL=" + r.server.OperatorURL(),
		"ADMIN_URL=" + r.adminURL(),
		"ADDR=" + r.server.Addr(),
		"SECURECACHE_TLS_CA=" + r.server.CAFile(),
		"SECURECACHE_TLS_CERT=" + r.server.CertFile(),
		"SECURECACHE_TLS_KEY=" + r.server.KeyFile(),
		"SECURECACHE_NAMESPACE=test",
		"SECURECACHE_KEYRING=file:" + filepath.Join(dir, "keyring.json"),
		"SECURECACHE_WRAP=insecure-plain",
		"GODEBUG=" + os.Getenv("GODEBUG"),
		"HOME=" + dir,
		"TZ=UTC",
		"ODD=a\x1b[31mname",
	}
}

// exits N COMMAND… runs a command that must end with exit status N.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func rigOf(ts *testscript.TestScript) *rig { return ts.Value(rigKey{}).(*rig) }

// redisCmd sends the words to the server as its admin and prints the reply.
func redisCmd(ts *testscript.TestScript, neg bool, args []string) {
	words := make([]any, len(args))
	for i, a := range args {
		words[i] = a
	}
	reply, err := rigOf(ts).admin.Do(context.Background(), words...).Result()
	if (err != nil) != neg {
		ts.Fatalf("redis %s: %v", args[0], err)
	}
	_, _ = fmt.Fprintln(ts.Stdout(), reply)
}

// slowclock rotates the keyring as a process does whose clock is an hour slow:
// the new key comes right behind the old one and is the primary at once.
func slowClock(ts *testscript.TestScript, neg bool, _ []string) {
	file := strings.TrimPrefix(ts.Getenv("SECURECACHE_KEYRING"), "file:")
	_, err := rotateNow(context.Background(), file)
	ts.Check(err)
}

func rotateNow(ctx context.Context, file string) (keys.ID, error) {
	slow := func() time.Time { return time.Now().Add(-time.Hour) }
	k, err := keys.Open(ctx, "test", keys.NewFile(file), keys.InsecurePlain(), &keys.Options{Now: slow})
	if err != nil {
		return keys.ID{}, err
	}
	defer k.Close()
	info, err := k.Rotate(ctx)
	return info.ID, err
}

// flip KEY BYTE changes one bit of a record; a byte below 0 counts from the end.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(flipBit(context.Background(), rigOf(ts).admin, args[0], at))
}

func flipBit(ctx context.Context, admin *redis.Client, key string, at int) error {
	record, err := admin.Get(ctx, key).Bytes()
	if err != nil {
		return err
	}
	record = slices.Clone(record)
	if at < 0 {
		at += len(record)
	}
	record[at] ^= 1
	return admin.Set(ctx, key, record, redis.KeepTTL).Err()
}

// serverCmd brings a fault upon the server: pause, resume or kill.
func serverCmd(ts *testscript.TestScript, neg bool, args []string) {
	s := rigOf(ts).server
	for name, do := range map[string]func() error{"pause": s.Pause, "resume": s.Resume, "kill": s.Kill} {
		if args[0] == name {
			ts.Check(do())
			return
		}
	}
	ts.Fatalf("server %s is not known", args[0])
}

// keyCmd NAME sets $KEY to the Redis key of a name.
func keyCmd(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(ts.Exec("securecache", "inspect", "--name", args[0], "-o", "json"))
	var found finding
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &found))
	ts.Setenv("KEY", found.Key)
}

// keyid sets $ID to the id of the first key that the last output lists.
func keyID(ts *testscript.TestScript, neg bool, _ []string) {
	var l list
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &l))
	ts.Setenv("ID", l.Keys[0].ID.String())
}

// fill N stores records called record/0 and so on, for an hour.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	file := strings.TrimPrefix(ts.Getenv("SECURECACHE_KEYRING"), "file:")
	c, stop, err := openCache(context.Background(), rigOf(ts).server, file)
	ts.Check(err)
	defer stop()
	ts.Check(store(context.Background(), c, n))
}

func openCache(ctx context.Context, s *server.Server, file string) (_ *securecache.Cache, stop func(), err error) {
	k, err := keys.Open(ctx, "test", keys.NewFile(file), keys.InsecurePlain(), nil)
	if err != nil {
		return nil, nil, err
	}
	c, err := securecache.Dial(ctx, s.URL(), s.TLS(), k, nil)
	if err != nil {
		return nil, nil, errors.Join(err, k.Close())
	}
	return c, func() { _, _ = c.Close(), k.Close() }, nil
}

func recordName(i int) string { return "record/" + strconv.Itoa(i) }

// store writes n records whose value is their name.
func store(ctx context.Context, c *securecache.Cache, n int) error {
	for at := 0; at < n; at += 1000 {
		var entries []securecache.Entry
		for i := at; i < min(n, at+1000); i++ {
			entries = append(entries, securecache.Entry{Name: recordName(i), Value: []byte(recordName(i))})
		}
		if err := errors.Join(c.SetMany(ctx, entries, time.Hour)...); err != nil {
			return err
		}
	}
	return nil
}

// password writes the application's password into the file password.
func password(ts *testscript.TestScript, neg bool, _ []string) {
	text := rigOf(ts).server.Options().Password + "\n"
	ts.Check(os.WriteFile(ts.MkAbs("password"), []byte(text), 0o600))
}

// otherca writes the certificate of an authority that signed nothing here.
func otherCA(ts *testscript.TestScript, neg bool, _ []string) {
	ca, err := pki.New("another CA")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("other-ca.pem"), ca.PEM(), 0o600))
}

// vaultCmd starts a Vault with a transit key called test and sets the VAULT_
// variables. With words, it works on that Vault as root: seal, unseal, mount
// PATH, write PATH NAME=VALUE, or login FILE, which sets VAULT_TOKEN to a token
// with the policy in the file.
func vaultCmd(ts *testscript.TestScript, neg bool, args []string) {
	ctx, rig := context.Background(), rigOf(ts)
	switch {
	case len(args) == 0:
		startVault(ctx, ts, rig)
	case args[0] == "seal":
		ts.Check(rig.vault.Seal(ctx))
	case args[0] == "unseal":
		ts.Check(rig.vault.Unseal(ctx))
	case args[0] == "mount":
		ts.Check(rig.vault.MountKV(ctx, args[1]))
	case args[0] == "write":
		name, value, _ := strings.Cut(args[2], "=")
		_, err := rig.vault.Write(ctx, args[1], map[string]any{name: value})
		ts.Check(err)
	case args[0] == "login":
		_, err := rig.vault.Write(ctx, "sys/policies/acl/script", map[string]any{"policy": ts.ReadFile(args[1])})
		ts.Check(err)
		made, err := rig.vault.Admin().Auth().Token().CreateOrphanWithContext(ctx, &api.TokenCreateRequest{Policies: []string{"script"}})
		ts.Check(err)
		ts.Setenv("VAULT_TOKEN", made.Auth.ClientToken)
	default:
		ts.Fatalf("vault %s is not known", args[0])
	}
}

func startVault(ctx context.Context, ts *testscript.TestScript, rig *rig) {
	v, err := vaulttest.Start(ctx, os.Getenv(vaulttest.Variable))
	ts.Check(err)
	ts.Defer(func() { ts.Check(v.Close()) })
	_, err = v.Write(ctx, "transit/keys/test", nil)
	ts.Check(err)
	rig.vault = v
	ts.Setenv("VAULT_ADDR", v.Address)
	ts.Setenv("VAULT_CACERT", v.CACert)
	ts.Setenv("VAULT_TOKEN", v.Admin().Token())
}
