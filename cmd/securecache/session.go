package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/session"
)

func newSessionCmd(a *app) *cobra.Command {
	return group("session", "List, show and end a subject's sessions",
		newSessionListCmd(a), newSessionShowCmd(a), newSessionDestroyCmd(a))
}

// withSessions has do work on the sessions of a realm, whatever the type of
// their values and the timeouts of the service that they belong to.
func (a *app) withSessions(cmd *cobra.Command, realm string, do func(context.Context, *session.Store[[]byte]) error) error {
	const anyTime = 100 * 365 * 24 * time.Hour // sessions keep their own end
	return a.withCache(cmd, nil, func(ctx context.Context, c *securecache.Cache) error {
		s, err := session.New(c, codec.Bytes(), &session.Options{Idle: time.Minute, Absolute: anyTime, Realm: realm})
		if err != nil {
			return err
		}
		return do(ctx, s)
	})
}

const realmUsage = "realm of the sessions, where the service has given one"

// oneSession is a session as it is printed.
type oneSession struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Written time.Time `json:"written"`
	Ends    time.Time `json:"ends"`
	Size    int       `json:"value_bytes"`
	Value   []byte    `json:"value,omitempty"`
}

func describeSession(s *session.Session[[]byte], value bool) oneSession {
	one := oneSession{ID: s.ID(), Created: s.Created(), Written: s.Written(), Ends: s.Ends(), Size: len(s.Value)}
	if value {
		one.Value = s.Value
	}
	return one
}

func newSessionListCmd(a *app) *cobra.Command {
	var realm string
	cmd := &cobra.Command{
		Use:   "list SUBJECT",
		Short: "List a subject's sessions, the oldest first",
		Long: `List the sessions of a subject, the oldest first. The id of a session is no
token. That there is none is exit status 0 and an empty list.`,
		Args: takes("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSessions(cmd, realm, func(ctx context.Context, s *session.Store[[]byte]) error {
				found, err := s.List(ctx, args[0])
				if err != nil {
					return err
				}
				list := make([]oneSession, len(found))
				for i, one := range found {
					list[i] = describeSession(one, false)
				}
				return a.showSessions(list)
			})
		},
	}
	cmd.Flags().StringVar(&realm, "realm", "", realmUsage)
	return cmd
}

func (a *app) showSessions(list []oneSession) error {
	return a.show(struct {
		Sessions []oneSession `json:"sessions"`
	}{list}, func(w io.Writer) error {
		now, rows := time.Now(), [][]string{{"ID", "CREATED", "WRITTEN", "ENDS AT THE LATEST", "BYTES"}}
		for _, s := range list {
			rows = append(rows, []string{s.ID, moment(s.Created, now), moment(s.Written, now), moment(s.Ends, now), strconv.Itoa(s.Size)})
		}
		return lines(w, rows...)
	})
}

func newSessionShowCmd(a *app) *cobra.Command {
	var realm, id string
	var value bool
	cmd := &cobra.Command{
		Use:   "show SUBJECT",
		Short: "Show what a subject's sessions hold",
		Long: `Show the sessions of a subject one by one, or the one that --id names. What they
hold shows with --show alone, byte for byte; with -o json it is base64. Looking
is no use of a session: it ends no later for it.

Exit status 3 says that there is none.`,
		Args: takes("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSessions(cmd, realm, func(ctx context.Context, s *session.Store[[]byte]) error {
				found, err := s.List(ctx, args[0])
				if err != nil {
					return err
				}
				var list []oneSession
				for _, one := range found {
					if id == "" || one.ID() == id {
						list = append(list, describeSession(one, value))
					}
				}
				if len(list) == 0 {
					return errNoSession()
				}
				return a.showEach(list)
			})
		},
	}
	cmd.Flags().StringVar(&realm, "realm", "", realmUsage)
	cmd.Flags().StringVar(&id, "id", "", "the session with this id alone")
	cmd.Flags().BoolVar(&value, "show", false, "print what the sessions hold as well")
	return cmd
}

func errNoSession() error {
	return &failure{code: exitAbsent, err: securecache.ErrMiss, next: "session list shows the subject's sessions; --namespace and --realm must be those of the service"}
}

func (a *app) showEach(list []oneSession) error {
	return a.show(struct {
		Sessions []oneSession `json:"sessions"`
	}{list}, func(w io.Writer) error {
		now := time.Now()
		for i, s := range list {
			if i > 0 {
				fmt.Fprintln(w)
			}
			err := lines(w, []string{"id", s.ID}, []string{"created", moment(s.Created, now)}, []string{"written", moment(s.Written, now)},
				[]string{"ends at the latest", moment(s.Ends, now)}, []string{"value", strconv.Itoa(s.Size) + " bytes"})
			if err == nil && s.Value != nil {
				_, err = fmt.Fprintf(w, "\n%s\n", s.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func newSessionDestroyCmd(a *app) *cobra.Command {
	var realm, id, before string
	cmd := &cobra.Command{
		Use:   "destroy SUBJECT",
		Short: "End a subject's sessions: log them out everywhere",
		Long: `End all sessions of a subject, the one that --id names, or those that were
created before --before. A token that was issued beside a session, such as a
JWT, is another matter: see token revoke.

Exit status 3 says that there was none.`,
		Args: takes("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var cut time.Time
			if before != "" {
				var err error
				if cut, err = time.Parse(time.RFC3339, before); err != nil {
					return usage("--before reads like 2006-01-02T15:04:05Z")
				}
			}
			return a.withSessions(cmd, realm, func(ctx context.Context, s *session.Store[[]byte]) error {
				n, err := endSessions(ctx, s, args[0], id, cut)
				if err != nil {
					return err
				}
				if n == 0 {
					return errNoSession()
				}
				return a.showEnded(n)
			})
		},
	}
	cmd.Flags().StringVar(&realm, "realm", "", realmUsage)
	cmd.Flags().StringVar(&id, "id", "", "the session with this id alone")
	cmd.Flags().StringVar(&before, "before", "", "sessions created before this time alone, as 2006-01-02T15:04:05Z")
	cmd.MarkFlagsMutuallyExclusive("id", "before")
	return cmd
}

func endSessions(ctx context.Context, s *session.Store[[]byte], subject, id string, before time.Time) (int, error) {
	switch {
	case id != "":
		was, err := s.Revoke(ctx, subject, id)
		if !was {
			return 0, err
		}
		return 1, err
	case !before.IsZero():
		return s.RevokeBefore(ctx, subject, before)
	default:
		return s.DestroyAll(ctx, subject)
	}
}

func (a *app) showEnded(n int) error {
	return a.show(struct {
		Ended int `json:"ended"`
	}{n}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "ended %d\n", n)
		return err
	})
}
