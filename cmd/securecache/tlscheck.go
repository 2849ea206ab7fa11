package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/hardening"
)

func newTLSCheckCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Show what TLS the server offers, and whether the pair is accepted",
		Long: `Show the versions of TLS and the cipher suites that the server offers, its
certificates, whether it demands one of its clients, and whether it and the
given pair accept each other. Every node that the URL names is tried, on some 30
connections, without a login.

Exit status: 0 where all is well, 3 where something is weak, 4 where the server
refuses the pair, 5 where the client refuses the server or cannot reach it.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.checkTLS(cmd.Context()) },
	}
}

func (a *app) checkTLS(ctx context.Context) error {
	hosts, err := a.hosts()
	if err != nil {
		return err
	}
	config, err := a.tls()
	if err != nil {
		return err
	}
	var reports []*hardening.TLSReport
	for _, host := range hosts {
		ctx, cancel := a.within(ctx)
		defer cancel()
		r, err := hardening.CheckTLS(ctx, host, config)
		if err != nil {
			return fmt.Errorf("the server at %s: %w", host, err)
		}
		reports = append(reports, r)
	}
	err = a.show(reports, func(w io.Writer) error {
		for _, r := range reports {
			if err := printTLS(w, r, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, judgeTLS(reports))
}

// hosts are those of the URL.
func (a *app) hosts() ([]string, error) {
	if a.redis == "" {
		_, err := a.redisURL()
		return nil, err
	}
	u, err := url.Parse(a.redis)
	if err != nil || u.Host == "" {
		return nil, usage("TLS is checked at a host: give rediss://HOST:PORT")
	}
	hosts := append([]string{u.Host}, u.Query()["addr"]...)
	for i, h := range hosts {
		if _, _, err := net.SplitHostPort(h); err != nil {
			hosts[i] = net.JoinHostPort(strings.Trim(h, "[]"), "6379")
		}
	}
	return hosts, nil
}

func printTLS(w io.Writer, r *hardening.TLSReport, now time.Time) error {
	verdict := "accepted on both sides"
	switch {
	case r.ByServer:
		verdict = "refused by the server: " + string(r.Refused)
	case r.Refused != "":
		verdict = "refused by the client: " + string(r.Refused)
	}
	rows := [][]string{{r.Address, verdict}, {"client certificate", r.ClientCertificate}}
	for _, v := range r.Versions {
		rows = append(rows, []string{v.Version, offered(v)})
		for _, s := range v.Suites {
			rows = append(rows, []string{"", s})
		}
	}
	for _, c := range r.Chain {
		rows = append(rows, []string{"certificate", c.Subject}, []string{"  issued by", c.Issuer})
		if len(c.Names) > 0 {
			rows = append(rows, []string{"  names", strings.Join(c.Names, ", ")})
		}
		rows = append(rows, []string{"  ends", moment(c.NotAfter, now)}, []string{"  key", c.Key + ", signed with " + c.Signature})
	}
	for _, f := range r.Findings {
		rows = append(rows, []string{"weak", f})
	}
	return lines(w, rows...)
}

func offered(v hardening.TLSVersion) string {
	switch {
	case v.Untried:
		return "not tried: FIPS mode has no such version"
	case v.Offered:
		return "offered"
	}
	return "not offered"
}

// judgeTLS returns the worst of what was found.
func judgeTLS(reports []*hardening.TLSReport) error {
	weak := false
	for _, r := range reports {
		if r.Refused != "" {
			return &handshake.Error{Cause: r.Refused, ByServer: r.ByServer, Err: fmt.Errorf("the server at %s", r.Address)}
		}
		weak = weak || len(r.Findings) > 0
	}
	if weak {
		return &failure{code: exitAbsent, err: errors.New("something is weak"), next: "change them with CONFIG SET, and CONFIG REWRITE to keep them"}
	}
	return nil
}
