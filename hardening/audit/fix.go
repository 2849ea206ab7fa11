package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Fix is a command that mends a finding at once.
type Fix struct {
	Command []string `json:"command"` // its words
	// Held is why [Apply] leaves it alone, "" where it does not: it would cut
	// off this very login or what replicates, or could not be undone.
	Held string `json:"held,omitempty"`
}

// Change is a Fix on one node, and the checks that ask for it.
type Change struct {
	Node   string
	Checks []string
	Fix
}

// Text returns the command as it is typed into redis-cli.
func (c Change) Text() string { return quote(c.Command) }

// Changes returns the fixes of what was found and is not waived, each once, in
// the order of the report. Held ones are among them.
func (r *Report) Changes() (list []Change) {
	for _, one := range r.Results {
		if one.Status != Failed || one.Waived != nil {
			continue
		}
		for _, f := range one.Fixes {
			same := func(c Change) bool { return c.Node == one.Node && slices.Equal(c.Command, f.Command) }
			if i := slices.IndexFunc(list, same); i >= 0 {
				list[i].Checks = append(list[i].Checks, one.Check)
				continue
			}
			list = append(list, Change{Node: one.Node, Checks: []string{one.Check}, Fix: f})
		}
	}
	return list
}

// Applied is what became of the changes of one node.
type Applied struct {
	Node string
	Made []Change
	// Refused are those that the server did not take, or that were taken back
	// because no new connection got in. Their Held says which.
	Refused []Change
	// Kept are the files in which the node finds the changes after a restart:
	// "configuration file", "ACL file".
	Kept []string
	// Why is what the server said where a file could not be written, and Lines
	// what has to go into it by hand. Without a file at all there are Lines alone.
	Why   string
	Lines []string
}

// Apply makes those of the changes that are not held, node by node, and has each
// node write them into its files. It never locks its caller out: after each
// change a new connection has to get in with rdb's address, login and TLS
// configuration; where none does, the change is taken back over a connection
// that was open before. What it returns was done, also beside an error, which is
// that of the first node that could not be reached; those after it are untouched.
func Apply(ctx context.Context, rdb redis.UniversalClient, changes []Change) (done []Applied, err error) {
	places, err := Nodes(ctx, rdb)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	for _, c := range changes {
		if c.Held == "" && !slices.ContainsFunc(places, func(at *redis.Options) bool { return at.Addr == c.Node }) {
			return nil, fmt.Errorf("audit: %s is no longer one of the nodes; audit again", c.Node)
		}
	}
	for _, at := range places {
		of := slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Node != at.Addr || c.Held != "" })
		if len(of) == 0 {
			continue
		}
		one, err := apply(ctx, at, of)
		done = append(done, one)
		if err != nil {
			return done, fmt.Errorf("%w: %s: %w", ErrUnreachable, at.Addr, err)
		}
	}
	return done, nil
}

// fixer changes one node over a connection that it keeps.
type fixer struct {
	ctx  context.Context
	at   *redis.Options
	conn *redis.Conn
	Applied
}

func apply(ctx context.Context, at *redis.Options, changes []Change) (Applied, error) {
	rdb := redis.NewClient(at)
	defer rdb.Close()
	x := &fixer{ctx: ctx, at: at, conn: rdb.Conn(), Applied: Applied{Node: at.Addr}}
	defer x.conn.Close()
	if err := x.conn.Ping(ctx).Err(); err != nil {
		return x.Applied, err
	}
	for _, c := range changes {
		if err := x.change(c); err != nil {
			return x.Applied, err
		}
	}
	return x.Applied, x.keep()
}

// change makes one change. An error means that the server is gone.
func (x *fixer) change(c Change) error {
	back, err := x.undo(c)
	if err == nil {
		err = x.do(c.Command...)
	}
	if err != nil {
		return x.refuse(c, err, "refused: "+err.Error())
	}
	if shut := x.newcomer(); shut != nil {
		if err := x.do(back...); err != nil {
			return fmt.Errorf("%s shut new connections out (%w), and was not taken back: %w", c.Text(), shut, err)
		}
		return x.refuse(c, nil, "taken back: no new connection got in: "+shut.Error())
	}
	x.Made = append(x.Made, c)
	return nil
}

// refuse notes a change that was not made, unless the error is not the server's
// answer.
func (x *fixer) refuse(c Change, err error, why string) error {
	var answer redis.Error
	if err != nil && !errors.As(err, &answer) {
		return err
	}
	c.Held = why
	x.Refused = append(x.Refused, c)
	return nil
}

func (x *fixer) do(words ...string) error { return x.conn.Do(x.ctx, every(words)...).Err() }

// newcomer is why a new connection does not get in.
func (x *fixer) newcomer() error {
	rdb := redis.NewClient(x.at)
	defer rdb.Close()
	return rdb.Ping(x.ctx).Err()
}

// undo returns the command that brings back what the change overwrites.
func (x *fixer) undo(c Change) ([]string, error) {
	if user := userOf(c.Command); user != "" {
		lines, err := x.conn.Do(x.ctx, "ACL", "LIST").StringSlice()
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			if rules, is := strings.CutPrefix(l, "user "+user+" "); is {
				return append([]string{"ACL", "SETUSER", user, "reset"}, strings.Fields(rules)...), nil
			}
		}
		return []string{"ACL", "DELUSER", user}, nil
	}
	name, _ := setting(c.Command)
	cmd := x.conn.Do(x.ctx, "CONFIG", "GET", name)
	return []string{"CONFIG", "SET", name, flat(cmd)[name]}, cmd.Err()
}

// keep has the server write its files, and collects the lines of what it could
// not write.
func (x *fixer) keep() error {
	var users, settings []Change
	for _, c := range x.Made {
		if userOf(c.Command) != "" {
			users = append(users, c)
		} else {
			settings = append(settings, c)
		}
	}
	if len(users) > 0 {
		err := x.do("ACL", "SAVE")
		// Only then: a server that has an ACL file leaves the users out of its
		// configuration file, and calls that a success.
		if err != nil && strings.Contains(err.Error(), "not configured to use an ACL file") {
			settings = append(settings, users...)
		} else if err := x.kept("ACL file", users, err); err != nil {
			return err
		}
	}
	if len(settings) == 0 {
		return nil
	}
	return x.kept("configuration file", settings, x.do("CONFIG", "REWRITE"))
}

func (x *fixer) kept(file string, changes []Change, err error) error {
	var answer redis.Error
	switch {
	case err == nil:
		x.Kept = append(x.Kept, file)
		return nil
	case !errors.As(err, &answer):
		return err
	}
	x.Why = answer.Error()
	for _, c := range changes {
		x.Lines = append(x.Lines, c.lines()...)
	}
	return nil
}

// userOf returns the user that a command changes, "" for one that changes none.
func userOf(words []string) string {
	if len(words) > 3 && words[0] == "ACL" && words[1] == "SETUSER" {
		return words[2]
	}
	return ""
}

// setting returns the name and the value that a CONFIG SET gives it.
func setting(words []string) (name, value string) {
	if len(words) == 4 && words[0] == "CONFIG" && words[1] == "SET" {
		return words[2], words[3]
	}
	return "", ""
}

// lines returns what has the effect of the change in a file.
func (c Change) lines() []string {
	name, value := setting(c.Command)
	switch user := userOf(c.Command); {
	case user == "default": // whose line starts from nothing
		return []string{"user default off resetpass ~* &* +@all"}
	case user != "":
		return []string{"at the end of the line of user " + user + ": " + strings.Join(c.Command[3:], " ")}
	case name == "bind":
		return []string{"bind " + value}
	case name == "client-output-buffer-limit":
		var list []string
		for limit := range slices.Chunk(strings.Fields(value), 4) {
			list = append(list, name+" "+strings.Join(limit, " "))
		}
		return list
	}
	return []string{quote([]string{name, value})}
}
