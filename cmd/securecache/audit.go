package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/hardening/audit"
)

// auditing is one call of the verb.
type auditing struct {
	options audit.Options
	waivers string
	failOn  string
	format  string
	fix     bool
	yes     bool
}

const auditHelp = `Check how a server is secured: how it is reached, who may do what, what TLS it
speaks, which of its switches are open, its version, its memory, and a sample of
its keys. Every node of a Cluster, and a master with its replicas and all of its
Sentinels, stand in one report. Without --fix, nothing is changed.

What the login may not see is unknown, with the grant that it lacks, and never
passes. Users that are meant to administer the server are named with --admin, or
they are found to have too many rights. So are the users by which Sentinels talk
to each other. A plaintext server is given as redis://HOST:PORT, and one that
takes clients without a certificate with --tls-ca alone; both are findings.

A Sentinel has users, connections and TLS, but neither data nor CONFIG: of its
settings it tells what INFO has, and the rest is unknown unless --host finds it in
its file. --fix changes nothing on it, and says what to do by hand.

--waivers takes a file with findings that are accepted for a time:

  [{"check": "S12", "reason": "the doorbell of expiry", "until": "2027-01-31"}]

with "node" and "subject" (a user, a CVE, a file) to narrow them.

--host looks at the server's process and files too: its user, who may read its
configuration, its users and its TLS key, whether it serves the certificate that
is in its file, and which weaknesses the changelog of its Debian package says to
have mended; from afar those are possible. That takes Linux, the same machine,
and the rights to look: run it as the server's user or root. What cannot be seen
is unknown.

--fix makes the changes that a running server takes, after it has shown them and
asked: settings and users, which it has the server write into its files. What no
file could be written for it prints as lines. It leaves alone, and says why, what
would cut off this login, its address, its port or the replicas, and takes back
a change after which no new connection gets in. What applications log in as and
whether they all speak TLS it cannot know: read the plan. The report that follows
is of the server as it is then.

Exit status: 0 nothing at or above --fail-on, 3 findings, 4 login refused,
5 a node was not reached.`

func newAuditCmd(a *app) *cobra.Command {
	var u auditing
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check how a server is secured, and say what to type",
		Long:  auditHelp,
		Example: `  securecache audit --admin ops
  securecache audit -o sarif --fail-on medium --waivers waivers.json > audit.sarif
  securecache audit --admin ops --fix`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context(), a) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&u.format, "output", "o", "table", "table, json, sarif or junit")
	flags.StringVar(&u.failOn, "fail-on", audit.High.String(), "exit with 3 from this severity on: info, low, medium, high, critical, or never")
	flags.StringSliceVar(&u.options.Checks, "check", nil, "these checks alone, such as N1,A5")
	flags.StringSliceVar(&u.options.Skip, "skip", nil, "not these checks")
	flags.StringSliceVar(&u.options.Admins, "admin", nil, "users that are meant to administer the server")
	flags.StringSliceVar(&u.options.Expected, "expect", nil, "modules, function libraries and hosts of replicas that are meant to be there")
	flags.BoolVar(&u.options.Host, "host", false, "look at the server's process and files too; for where this runs on its machine")
	flags.StringVar(&u.waivers, "waivers", "", "JSON file with findings that are accepted for a time")
	flags.BoolVar(&u.fix, "fix", false, "change what can be changed while the server runs, after asking")
	flags.BoolVar(&u.yes, "yes", false, "do not ask")
	// They fail for a flag that does not exist only.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "sarif", "junit"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"info", "low", "medium", "high", "critical", "never"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (u *auditing) run(ctx context.Context, a *app) error {
	floor, err := u.floor()
	if err != nil {
		return err
	}
	show, known := auditFormats[u.format]
	if !known {
		return usage("-o must be table, json, sarif or junit")
	}
	if err := u.readWaivers(); err != nil {
		return err
	}
	rdb, err := a.auditClient(&u.options)
	if err != nil {
		return err
	}
	u.options.Timeout = a.timeout
	report, err := audit.Run(ctx, rdb, &u.options)
	if err != nil {
		return unaudited(err)
	}
	if u.fix {
		if report, err = u.mend(ctx, a, rdb, report); err != nil {
			return err
		}
	}
	if err := show(a, report); err != nil {
		return err
	}
	return verdict(report, floor)
}

// never is above every severity.
const never = audit.Critical + 1

func (u *auditing) floor() (s audit.Severity, err error) {
	if u.failOn == "never" {
		return never, nil
	}
	if err := s.UnmarshalText([]byte(u.failOn)); err != nil || s < audit.Info {
		return 0, usage("--fail-on must be info, low, medium, high, critical or never")
	}
	return s, nil
}

func (u *auditing) readWaivers() error {
	if u.waivers == "" {
		return nil
	}
	text, err := os.ReadFile(u.waivers)
	if err != nil {
		return err
	}
	if u.options.Waivers, err = audit.ParseWaivers(text); err != nil {
		return &failure{code: exitUsage, err: err, next: "see securecache audit --help for the file's form"}
	}
	return nil
}

// unaudited is the failure of an audit that did not take place.
func unaudited(err error) error {
	if !errors.Is(err, audit.ErrUnreachable) {
		return &failure{code: exitUsage, err: err, next: "see securecache audit --help"}
	}
	f := judge(err)
	if f.code == exitError {
		f = &failure{code: exitUnreachable, err: err, next: "see that a Redis or Valkey server listens there"}
	}
	return f
}

// verdict is the exit status of a report.
func verdict(r *audit.Report, floor audit.Severity) error {
	switch {
	case len(r.Found(floor)) > 0:
		return passed(exitAbsent)
	case len(r.Unreached()) > 0:
		return passed(exitUnreachable)
	}
	return nil
}

var auditFormats = map[string]func(*app, *audit.Report) error{
	"table": func(a *app, r *audit.Report) error {
		return auditTable(a.stdout, r, isTerminal(a.stdout) && os.Getenv("NO_COLOR") == "")
	},
	"json": func(a *app, r *audit.Report) error {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	},
	"sarif": func(a *app, r *audit.Report) error { return r.SARIF(a.stdout) },
	"junit": func(a *app, r *audit.Report) error { return r.JUnit(a.stdout) },
}

// auditTable writes a report for people: of each node what was found, the worst
// first, with what to type, then what could not be seen.
func auditTable(w io.Writer, r *audit.Report, colour bool) error {
	p := &auditPrinter{w: w, colour: colour}
	found := r.Found(audit.Info)
	for _, n := range r.Nodes {
		p.node(n)
		for _, one := range found {
			if one.Node == n.Addr {
				p.finding(one)
			}
		}
		for _, one := range r.Of(audit.Unknown) {
			if one.Node == n.Addr {
				p.unknown(one)
			}
		}
	}
	p.summary(r, found)
	return p.err
}

type auditPrinter struct {
	w      io.Writer
	colour bool
	err    error
}

func (p *auditPrinter) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// The colours of ECMA-48.
var severityColour = map[audit.Severity]string{
	audit.Info: "36", audit.Low: "34", audit.Medium: "33", audit.High: "31", audit.Critical: "1;31",
}

func (p *auditPrinter) severity(s audit.Severity) string {
	text := fmt.Sprintf("%-8s", s)
	if !p.colour {
		return text
	}
	return "\x1b[" + severityColour[s] + "m" + text + "\x1b[0m"
}

func (p *auditPrinter) node(n audit.Node) {
	p.printf("%s\n", strings.TrimRight(strings.Join([]string{n.Addr, n.Server, n.Version, n.Role}, " "), " "))
	if n.Error != "" {
		p.printf("  not reached: %s\n", n.Error)
	}
}

func (p *auditPrinter) finding(r audit.Result) {
	p.printf("  %s  %-3s  %s\n", p.severity(r.Severity), r.Check, r.Evidence)
	for _, line := range r.Remedy {
		p.printf("%17s%s\n", "", line)
	}
	for _, f := range r.Fixes {
		if f.Held != "" { // who types it has to know
			p.printf("%17smind: %s\n", "", f.Held)
		}
	}
}

func (p *auditPrinter) unknown(r audit.Result) {
	text := r.Evidence
	if r.Needs != "" {
		text += "; grant " + r.Needs
	}
	p.printf("  unknown   %-3s  %s: %s\n", r.Check, r.Title, text)
}

func (p *auditPrinter) summary(r *audit.Report, found []audit.Result) {
	counts := map[audit.Severity]int{}
	for _, one := range found {
		counts[one.Severity]++
	}
	var parts []string
	for s := audit.Critical; s >= audit.Info; s-- {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	if parts == nil {
		parts = []string{"nothing found"}
	}
	waived := len(r.Of(audit.Failed)) - len(found)
	p.printf("\n%s; %d passed, %d unknown, %d waived, %d do not apply\n",
		strings.Join(parts, ", "), len(r.Of(audit.Passed)), len(r.Of(audit.Unknown)), waived, len(r.Of(audit.Skipped)))
}
