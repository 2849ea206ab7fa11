package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/hardening/audit"
)

// installed says what became of a user on one node.
type installed struct {
	Node string `json:"node"`
	// Kept is where the node finds the user after a restart: "ACL file",
	// "configuration file", or "" for nowhere. Then Why has the server's words.
	Kept string `json:"kept"`
	Why  string `json:"why,omitempty"`
}

func (d installed) sentence(user string) string {
	if d.Kept == "" {
		return user + " is there until the server restarts: " + d.Why
	}
	return user + " is there and in the " + d.Kept
}

// install shows the line, asks, and gives every node the user. What it returns
// was done, also beside an error.
func (o *aclOptions) install(ctx context.Context, a *app, rdb redis.UniversalClient, line string) ([]installed, error) {
	replaces, err := o.replaces(ctx, a, rdb)
	if err != nil {
		return nil, err
	}
	a.note("%s", line)
	question := "Create the user " + o.profile.User + "?"
	if replaces {
		question = "Replace the user " + o.profile.User + ", its password and all its rights?"
	}
	if err := a.confirm(o.yes, question); err != nil {
		return nil, err
	}
	done, err := a.giveEach(ctx, rdb, line)
	if slices.ContainsFunc(done, func(d installed) bool { return d.Kept == "" }) {
		a.note("next: put the line above into the server's ACL file, or its configuration file where it has none")
	}
	return done, err
}

// replaces reports whether the user exists. It refuses the one that this
// connection is logged in as: with its rights gone, nothing could be put right.
func (o *aclOptions) replaces(ctx context.Context, a *app, rdb redis.UniversalClient) (bool, error) {
	ctx, cancel := a.within(ctx)
	defer cancel()
	self, err := rdb.Do(ctx, "acl", "whoami").Text()
	if err != nil {
		return false, err
	}
	if self == o.profile.User {
		return false, &failure{code: exitUsage, err: fmt.Errorf("this is logged in as %s, and would take its own rights away", self),
			next: "log in as an administrator, or choose another name with --user"}
	}
	err = rdb.Do(ctx, "acl", "getuser", o.profile.User).Err()
	if err == redis.Nil {
		return false, nil
	}
	return err == nil, err
}

// giveEach gives every node the user, replicas too: users are not replicated.
// One that is down does not keep the others from it.
func (a *app) giveEach(ctx context.Context, rdb redis.UniversalClient, line string) (done []installed, err error) {
	asking, cancel := a.within(ctx)
	defer cancel()
	nodes, err := audit.Nodes(asking, rdb)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, at := range nodes {
		kept, err := a.giveUser(ctx, at, line)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s does not have the user: %w", at.Addr, err))
			continue
		}
		done = append(done, kept)
	}
	return done, errors.Join(failed...)
}

// giveUser creates or replaces the user, and has the node keep it.
func (a *app) giveUser(ctx context.Context, at *redis.Options, line string) (installed, error) {
	ctx, cancel := a.within(ctx)
	defer cancel()
	node := redis.NewClient(at)
	defer node.Close()
	words := []any{"acl", "setuser"}
	for _, w := range strings.Fields(line)[1:] {
		words = append(words, w)
	}
	done := installed{Node: at.Addr, Kept: "ACL file"}
	if err := node.Do(ctx, words...).Err(); err != nil {
		return done, err
	}
	err := node.Do(ctx, "acl", "save").Err()
	// Only then: a server that has an ACL file rewrites its configuration
	// without the users, and calls that a success.
	if err != nil && strings.Contains(err.Error(), "not configured to use an ACL file") {
		done.Kept, err = "configuration file", node.Do(ctx, "config", "rewrite").Err()
	}
	var refused redis.Error
	if errors.As(err, &refused) {
		done.Kept, done.Why = "", refused.Error()
		return done, nil
	}
	return done, err
}
