package servertest

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Patient is a server that can be made ill.
type Patient struct {
	Server interface {
		Kill() error
		Restart(ctx context.Context) error
		Pause() error
		Resume() error
	}
	Admin *redis.Client // may do everything
	App   string        // the application's user
}

// Ill is a way in which a server may be unable to serve, and the way back.
type Ill struct {
	Says      string // what its errors begin with, "" where it says nothing
	Ail, Mend func(ctx context.Context, p Patient) error
}

// Ills are those that a real server can be given. What it keeps has to survive
// "away": start it with persistence.
var Ills = map[string]Ill{
	"away": {
		Ail:  func(_ context.Context, p Patient) error { return p.Server.Kill() },
		Mend: func(ctx context.Context, p Patient) error { return p.Server.Restart(ctx) },
	},
	"slow": {
		Ail:  func(_ context.Context, p Patient) error { return p.Server.Pause() },
		Mend: func(_ context.Context, p Patient) error { return p.Server.Resume() },
	},
	"busy": {Says: "BUSY", Ail: occupy, Mend: told("script", "kill")},
	// A replica of nobody's: it serves what it has, and takes no writes.
	"read-only":     {Says: "READONLY", Ail: told("replicaof", "127.0.0.1", "1"), Mend: told("replicaof", "no", "one")},
	"out of memory": {Says: "OOM", Ail: told("config", "set", "maxmemory", "1"), Mend: told("config", "set", "maxmemory", "0")},
	"not permitted": {Says: "NOPERM", Ail: allowed("-evalsha", "-get"), Mend: allowed("+evalsha", "+get")},
}

func told(words ...any) func(context.Context, Patient) error {
	return func(ctx context.Context, p Patient) error { return p.Admin.Do(ctx, words...).Err() }
}

func allowed(rules ...string) func(context.Context, Patient) error {
	return func(ctx context.Context, p Patient) error { return p.Admin.ACLSetUser(ctx, p.App, rules...).Err() }
}

// occupy has the server run a script without end, until SCRIPT KILL.
func occupy(ctx context.Context, p Patient) error {
	if err := p.Admin.ConfigSet(ctx, "lua-time-limit", "20").Err(); err != nil {
		return err
	}
	o := *p.Admin.Options()
	o.MaxRetries, o.ReadTimeout = -1, time.Minute
	loop := redis.NewClient(&o)
	go func() {
		defer loop.Close()
		_ = loop.Eval(context.Background(), "while true do end", nil).Err() // that it was killed
	}()
	return Until(ctx, "the server is busy", func() bool { return redis.HasErrorPrefix(p.Admin.Ping(ctx).Err(), "BUSY") })
}

// Replies are what a server says that cannot be made to by a test in little time.
var Replies = map[string]string{
	"loading":       "LOADING Redis is loading the dataset in memory",
	"busy":          "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
	"master down":   "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	"misconfigured": "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
}
