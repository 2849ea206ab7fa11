package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// reply is an error as the server sends it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

var _ redis.Error = reply("")

func TestExitStatus(t *testing.T) {
	refused := func(r codec.Reason) error { return &securecache.RefusedError{Reason: r} }
	for name, tc := range map[string]struct {
		err  error
		want int
		next string // a part of what the second line says
	}{
		"anything":               {errors.New("x"), exitError, ""},
		"usage":                  {usage("x"), exitUsage, "--help"},
		"no TTL":                 {securecache.ErrNoTTL, exitUsage, ""},
		"no name":                {securecache.ErrName, exitUsage, ""},
		"too long a life":        {codec.ErrLifetime, exitUsage, "keys list"},
		"too large":              {codec.ErrTooLarge, exitUsage, ""},
		"another namespace":      {codec.ErrNamespace, exitUsage, "--namespace"},
		"a miss":                 {securecache.ErrMiss, exitAbsent, "--tag"},
		"past its end":           {codec.ErrExpired, exitAbsent, "its end has come"},
		"no such key":            {keys.ErrUnknownKey, exitAbsent, "keys list"},
		"no password":            {reply("NOAUTH Authentication required."), exitLogin, "REDIS_URL"},
		"wrong password":         {reply("WRONGPASS invalid username-password pair or user is disabled."), exitLogin, "--redis-password-file"},
		"no right, 7.0":          {reply("NOPERM User app has no permissions to run the 'scan' command"), exitLogin, "+scan"},
		"no right, 6.2":          {reply("NOPERM this user has no permissions to run the 'set' command or its subcommand"), exitLogin, "+set"},
		"no right to a key":      {reply("NOPERM No permissions to access a key"), exitLogin, "~PREFIX:NAMESPACE:*"},
		"no right in a script":   {reply("ERR The user executing the script can't run this command or subcommand script: x"), exitLogin, "ACL"},
		"Vault denies":           {fmt.Errorf("%w on x", vault.ErrDenied), exitLogin, "vault token"},
		"certificate refused":    {&net.OpError{Op: "remote error", Err: tls.AlertError(116)}, exitLogin, "--tls-cert"},
		"no such server":         {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, exitUnreachable, "address and port"},
		"a deadline":             {context.DeadlineExceeded, exitUnreachable, "--timeout"},
		"a broken connection":    {fmt.Errorf("x: %w", io.EOF), exitUnreachable, "address and port"},
		"a busy pool":            {redis.ErrPoolTimeout, exitUnreachable, "server runs"},
		"no more connections":    {redis.ErrPoolExhausted, exitUnreachable, "max_active_conns"},
		"a cluster that is down": {reply("CLUSTERDOWN The cluster is down"), exitUnreachable, "try again"},
		"a server that loads":    {reply("LOADING Redis is loading the dataset in memory"), exitUnreachable, "try again"},
		"an unknown authority":   {x509.UnknownAuthorityError{}, exitUnreachable, "--tls-ca"},
		"another host":           {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, exitUnreachable, "--tls-server-name"},
		"an expired server":      {x509.CertificateInvalidError{Reason: x509.Expired}, exitUnreachable, "clock"},
		"a plaintext port":       {&handshake.Error{Cause: handshake.Plaintext, Err: io.EOF}, exitUnreachable, "tls-port"},
		"a revoked server":       {&handshake.Error{Cause: handshake.Revoked, Err: io.EOF}, exitUnreachable, "do not use"},
		"another version":        {&handshake.Error{Cause: handshake.NoCommonVersion, ByServer: true, Err: io.EOF}, exitUnreachable, "tls-protocols"},
		"a stale keyring":        {keys.ErrStale, exitUnreachable, "can be reached"},
		"Vault sealed":           {fmt.Errorf("%w: x is sealed; unseal it: vault operator unseal", vault.ErrUnavailable), exitUnreachable, "unseal it"},
		"Vault away":             {fmt.Errorf("%w: x", vault.ErrUnavailable), exitUnreachable, "VAULT_ADDR"},
		"tampered with":          {refused(codec.ReasonAuthentication), exitRefused, "tampered"},
		"an unknown key":         {refused(codec.ReasonUnknownKey), exitRefused, "--keyring"},
		"a key in use":           {fmt.Errorf("%w: it seals; rotate first", keys.ErrInUse), exitNotNow, "rotate first"},
		"a change underneath":    {keys.ErrConflict, exitNotNow, "try again"},
		"a value changed":        {securecache.ErrConflict, exitNotNow, "try again"},
		"no keyring":             {fmt.Errorf("%w (file)", keys.ErrNotFound), exitError, "keys create"},
		"a keyring already":      {keys.ErrExists, exitError, "choose another place"},
		"a forged keyring":       {fmt.Errorf("%w: its mac", keys.ErrDocument), exitError, "restore it"},
		"scripts not loaded":     {lua.ErrNotLoaded, exitError, "scripts load"},
		"nor may they be":        {fmt.Errorf("%w: %w", lua.ErrNotLoaded, reply("NOPERM x")), exitLogin, "scripts load"},
		"no such file":           {&os.PathError{Op: "open", Path: "f", Err: os.ErrNotExist}, exitError, "check the path f"},
		"a file of others":       {&os.PathError{Op: "open", Path: "f", Err: os.ErrPermission}, exitError, "owner of f"},
		"a failure, wrapped":     {fmt.Errorf("x: %w", &failure{code: exitNotNow, err: errors.New("y"), next: "z"}), exitNotNow, "z"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			a := &app{stderr: &stderr}
			if got := a.report(t.Context(), fmt.Errorf("outer: %w", tc.err)); got != tc.want {
				t.Errorf("exit status %d, want %d", got, tc.want)
			}
			what, next, _ := strings.Cut(stderr.String(), "\n")
			if !strings.HasPrefix(what, "securecache: outer: ") {
				t.Errorf("the first line is %q", what)
			}
			if tc.next != "" && (!strings.HasPrefix(next, "next: ") || !strings.Contains(next, tc.next)) {
				t.Errorf("the second line is %q, want it to say %q", next, tc.next)
			}
			for _, p := range origins {
				if strings.Contains(what, ": "+p) {
					t.Errorf("the first line names a package: %q", what)
				}
			}
		})
	}
}

func TestInterruptedSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr strings.Builder
	a := &app{stderr: &stderr}
	if got := a.report(ctx, ctx.Err()); got != exitError || stderr.String() != "securecache: interrupted\n" {
		t.Errorf("%d, %q", got, stderr.String())
	}
}

// TestNoSecretInArguments goes over every flag of every verb: none takes a
// secret or a value, since arguments are seen by every user of the machine.
func TestNoSecretInArguments(t *testing.T) {
	suspect := []string{"password", "passphrase", "secret", "token", "value", "key", "content"}
	fine := map[string]string{
		"redis-password-file": "names a file",
		"tls-key":             "names a file",
		"keyring":             "names a file or a path in Vault",
	}
	seen := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		check := func(f *pflag.Flag) {
			seen++
			for _, word := range suspect {
				if strings.Contains(f.Name, word) && fine[f.Name] == "" {
					t.Errorf("%s has a flag --%s", cmd.CommandPath(), f.Name)
				}
			}
		}
		cmd.LocalFlags().VisitAll(check)
		for _, child := range cmd.Commands() {
			visit(child)
		}
	}
	visit(newRootCmd(&app{}))
	if seen < 30 {
		t.Errorf("only %d flags were looked at", seen)
	}
}

func TestPasswordInURL(t *testing.T) {
	for raw, want := range map[string]bool{
		"rediss://app@host:1":                        false,
		"rediss://host:1/0?pool_size=3":              false,
		"unix:///run/redis.sock":                     false,
		"rediss://app:x@host":                        true,
		"rediss://:x@host":                           true,
		"rediss://app:@host":                         true,
		"rediss://host?master_name=m&password=x":     true,
		"rediss://host?Sentinel_Password=x":          true,
		"rediss://%zz:x@host":                        true,
		"app:x@host":                                 true,
		"rediss://host:99999999/%":                   false,
		"unix:///run/redis.sock?username=a&password": true,
	} {
		if got := holdsPassword(raw); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
}
