package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/token"
)

func newTokenCmd(a *app) *cobra.Command {
	return group("token", "Revoke tokens, and ask whether one is revoked", newTokenRevokeCmd(a), newTokenCheckCmd(a))
}

// tokenFlags say what the text on standard input is.
type tokenFlags struct {
	jti, jwt bool
	subject  string
}

func (f *tokenFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.jti, "jti", false, "what is read is a JWT's jti claim")
	cmd.Flags().BoolVar(&f.jwt, "jwt", false, "what is read is a JWT: it is known by all before its signature")
	cmd.MarkFlagsMutuallyExclusive("jti", "jwt")
}

// id reads a token, less the line's end that echo adds.
func (f *tokenFlags) id(a *app) (token.ID, error) {
	if isTerminal(a.stdin) {
		a.note("Enter the token, and end it with Ctrl-D.")
	}
	text, err := io.ReadAll(io.LimitReader(a.stdin, maxValue))
	if err != nil {
		return token.ID{}, fmt.Errorf("reading the token: %w", err)
	}
	switch text := string(bytes.TrimRight(text, "\r\n")); {
	case f.jti:
		return token.JTI(text), nil
	case f.jwt:
		return token.JWT(text), nil
	default:
		return token.Opaque(text), nil
	}
}

func newTokenRevokeCmd(a *app) *cobra.Command {
	var flags tokenFlags
	var until lifetime
	cmd := &cobra.Command{
		Use:   "revoke --until DURATION",
		Short: "Have a token count as revoked until it ends by itself",
		Long: `Have the token on standard input count as revoked until it would have ended by
itself: give at least that long. An earlier revocation that lasts longer stands.

With --subject, all tokens count as revoked that were issued to the subject
until now, and --until is the longest that a token lives.`,
		Example: `  printf %s "$TOKEN" | securecache token revoke --until 1h
  securecache token revoke --subject user/42 --until 24h`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !until.set {
				return usage("--until is missing")
			}
			return a.withDenylist(cmd, &token.Options{Life: until.Duration}, func(ctx context.Context, d *token.Denylist, now time.Time) error {
				if err := flags.revoke(ctx, a, d, now, until.Duration); err != nil {
					return err
				}
				return a.showRevocation(now.Add(until.Duration))
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.subject, "subject", "", "revoke what was issued to this subject, and read no token")
	cmd.Flags().Var(&until, "until", "for how long: 1h, 30d")
	return cmd
}

func (f *tokenFlags) revoke(ctx context.Context, a *app, d *token.Denylist, now time.Time, life time.Duration) error {
	if f.subject != "" {
		return d.RevokeSubject(ctx, f.subject, now)
	}
	id, err := f.id(a)
	if err != nil {
		return err
	}
	return d.Revoke(ctx, id, now.Add(life))
}

func (a *app) showRevocation(until time.Time) error {
	out := struct {
		Until time.Time `json:"until"`
	}{until}
	return a.show(out, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "revoked until %s\n", moment(until, time.Now()))
		return err
	})
}

func newTokenCheckCmd(a *app) *cobra.Command {
	var flags tokenFlags
	var issued string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Ask whether a token is revoked: exit status 7 if it is",
		Long: `Ask whether the token on standard input is revoked, by itself or, with --subject
and --issued, with all that its subject was issued until some time. The exit
status is 0 for one that is not and 7 for one that is, also where its entry does
not open; without an answer it is 5.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := token.Token{Subject: flags.subject}
			var err error
			if issued != "" {
				if t.Issued, err = time.Parse(time.RFC3339, issued); err != nil {
					return usage("--issued reads like 2006-01-02T15:04:05Z")
				}
			}
			if t.ID, err = flags.id(a); err != nil {
				return err
			}
			return a.withDenylist(cmd, nil, func(ctx context.Context, d *token.Denylist, _ time.Time) error {
				return a.showCheck(d.Revoked(ctx, t))
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.subject, "subject", "", "whom the token was issued to")
	cmd.Flags().StringVar(&issued, "issued", "", "when it was, as 2006-01-02T15:04:05Z; before everything if not given")
	return cmd
}

func (a *app) showCheck(revoked bool, err error) error {
	var refused *securecache.RefusedError
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	if err != nil {
		a.note("Its entry is there and does not open: %v.", err)
	}
	out := struct {
		Revoked bool `json:"revoked"`
	}{revoked}
	text := "not revoked"
	if revoked {
		text = "revoked"
	}
	if err := a.show(out, func(w io.Writer) error { _, err := fmt.Fprintln(w, text); return err }); err != nil || !revoked {
		return err
	}
	return &failure{code: exitNotNow, err: errors.New("the token is revoked")}
}

func (a *app) withDenylist(cmd *cobra.Command, o *token.Options, do func(context.Context, *token.Denylist, time.Time) error) error {
	return a.withCache(cmd, nil, func(ctx context.Context, c *securecache.Cache) error {
		d, err := token.NewDenylist(c, o)
		if err != nil {
			return err
		}
		return do(ctx, d, c.Now())
	})
}
