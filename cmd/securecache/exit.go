package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/keys/vault"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// The exit statuses, as the command's help lists them.
const (
	exitOK = iota
	exitError
	exitUsage
	exitAbsent
	exitLogin
	exitUnreachable
	exitRefused
	exitNotNow
)

// failure is an error with its exit status and what to do about it.
type failure struct {
	code int
	err  error
	next string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usage is a mistake in how the command was called.
func usage(text string) error {
	return &failure{code: exitUsage, err: errors.New(text), next: "see securecache --help"}
}

// quiet silences go-redis, which would write to the terminal beside us: what
// matters of it comes back as an error.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// report prints what happened and what to do next, a line each, and returns the
// exit status.
func (a *app) report(ctx context.Context, err error) int {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.stderr, "securecache: interrupted")
		return exitError
	}
	if status, passes := errors.AsType[passed](err); passes {
		return int(status)
	}
	f := judge(err)
	what, next := apart(f.err)
	if f.next != "" {
		next = f.next
	}
	fmt.Fprintln(a.stderr, "securecache: "+what)
	if next != "" {
		fmt.Fprintln(a.stderr, "next: "+next)
	}
	return f.code
}

// remedied are the sentinels whose text holds a remedy, behind which an error
// that wraps one goes on.
var remedied = []error{keys.ErrNotFound, keys.ErrExists, keys.ErrConflict, keys.ErrDocument, keys.ErrRollback,
	keys.ErrReplaced, keys.ErrScheme, keys.ErrUnwrap, keys.ErrStale}

// apart tells what happened from what to do next, where the library's error
// says both.
func apart(err error) (what, next string) {
	text := err.Error()
	for _, s := range remedied {
		if cause, remedy, found := strings.Cut(s.Error(), "; "); found && errors.Is(err, s) {
			return trimOrigin(strings.Replace(text, s.Error(), cause, 1)), remedy
		}
	}
	what, next, _ = strings.Cut(text, "; ")
	return trimOrigin(what), next
}

// origins stand before the text of an error where it began. They say nothing to
// the user of a command. Vault's is kept: it names the other party.
var origins = []string{"audit: ", "securecache: ", "keys: ", "codec: ", "hardening: ", "handshake: ", "lua: ", "session: ", "token: ", "lock: ", "limit: ", "expiry: "}

// trimOrigin drops them.
func trimOrigin(text string) string {
	for _, p := range origins {
		text = strings.ReplaceAll(strings.TrimPrefix(text, p), ": "+p, ": ")
	}
	return text
}

// judge finds the exit status of an error, and the next step where the error
// does not name it itself.
func judge(err error) *failure {
	var known *failure
	if errors.As(err, &known) {
		return &failure{known.code, err, known.next}
	}
	for _, by := range []func(error) *failure{ofRecords, ofKeys, ofVault, ofLogin, ofTLS, ofFiles, ofNetwork} {
		if f := by(err); f != nil {
			f.err = err
			return f
		}
	}
	return &failure{code: exitError, err: err}
}

func ofRecords(err error) *failure {
	var refused *securecache.RefusedError
	switch {
	case errors.As(err, &refused) && refused.Reason == codec.ReasonUnknownKey:
		return &failure{code: exitRefused, next: "see that --keyring is the keyring it was sealed under; somebody else may have written it"}
	case errors.As(err, &refused):
		return &failure{code: exitRefused, next: "take it as tampered with: find out who writes to the server; inspect shows it, del removes it"}
	case errors.Is(err, securecache.ErrMiss):
		return &failure{code: exitAbsent, next: "--namespace and --tag must be those it was stored under"}
	case errors.Is(err, codec.ErrExpired):
		return &failure{code: exitAbsent, next: "its end has come; the server has not removed it yet"}
	case errors.Is(err, codec.ErrLifetime):
		return &failure{code: exitUsage, next: "keys list shows the namespace's longest life"}
	case errors.Is(err, securecache.ErrNoTTL), errors.Is(err, securecache.ErrName), errors.Is(err, codec.ErrTooLarge):
		return &failure{code: exitUsage}
	case errors.Is(err, codec.ErrNamespace):
		return &failure{code: exitUsage, next: "give the --namespace that stands in the key"}
	case errors.Is(err, securecache.ErrConflict):
		return &failure{code: exitNotNow, next: "try again"}
	}
	return nil
}

func ofKeys(err error) *failure {
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return &failure{code: exitError, next: "check --keyring, or create it: securecache keys create"}
	case errors.Is(err, keys.ErrUnknownKey):
		return &failure{code: exitAbsent, next: "keys list shows the ids"}
	case errors.Is(err, keys.ErrInUse), errors.Is(err, keys.ErrConflict):
		return &failure{code: exitNotNow}
	case errors.Is(err, keys.ErrStale):
		return &failure{code: exitUnreachable}
	case errors.Is(err, lua.ErrNotLoaded):
		f := &failure{code: exitError, next: "an operator loads the scripts: securecache scripts load"}
		if answered(err, "NOPERM") {
			f.code = exitLogin
		}
		return f
	}
	return nil
}

func ofVault(err error) *failure {
	switch {
	case errors.Is(err, vault.ErrDenied):
		return &failure{code: exitLogin, next: "see who you are with vault token lookup, and what you may do with vault token capabilities PATH"}
	case errors.Is(err, vault.ErrUnavailable) && strings.Contains(err.Error(), "; "):
		return &failure{code: exitUnreachable}
	case errors.Is(err, vault.ErrUnavailable):
		return &failure{code: exitUnreachable, next: "check VAULT_ADDR and VAULT_CACERT with vault status"}
	}
	return nil
}

// refusedCommand finds the command in the server's NOPERM.
var refusedCommand = regexp.MustCompile(`'([a-z|-]+)'`)

func ofLogin(err error) *failure {
	switch {
	case answered(err, "NOAUTH"):
		return &failure{code: exitLogin, next: "put user and password into REDIS_URL, or the password into --redis-password-file"}
	case answered(err, "WRONGPASS", "ERR AUTH"):
		return &failure{code: exitLogin, next: "check user and password in REDIS_URL or --redis-password-file"}
	case answered(err, "NOPERM", "ERR The user executing the script can't run this command"):
		next := "an operator extends the user's ACL: its commands, or its key pattern ~PREFIX:NAMESPACE:*"
		if m := refusedCommand.FindStringSubmatch(err.Error()); m != nil {
			next = "an operator grants the user the command: ACL SETUSER USER +" + m[1]
		}
		return &failure{code: exitLogin, next: next}
	}
	return nil
}

// answered reports whether the server sent an error that begins with one of
// these.
func answered(err error, beginnings ...string) bool {
	var reply redis.Error
	return errors.As(err, &reply) && slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(reply.Error(), b) })
}

func ofTLS(err error) *failure {
	e := handshake.Explain(err)
	if e == nil {
		return nil
	}
	if e.ByServer && e.Cause != handshake.NoCommonVersion && e.Cause != handshake.NoCommonSuite {
		return &failure{code: exitLogin, next: "the server refused the client's certificate: give one that is valid now, for client authentication and of an authority that it trusts, with --tls-cert and --tls-key"}
	}
	return &failure{code: exitUnreachable, next: remedies[e.Cause]}
}

// remedies are for what the client refused, and for what it has not in common
// with the server.
var remedies = map[handshake.Cause]string{
	handshake.UnknownAuthority: "give the authority that signed the server's certificate with --tls-ca; if it did, the server's file lacks the intermediate",
	handshake.SelfSigned:       "have an authority sign the server's certificate, and give its certificate with --tls-ca",
	handshake.WrongName:        "connect by a name in the certificate, or give that name with --tls-server-name",
	handshake.CommonNameOnly:   "have the server's certificate issued with its name as a subject alternative name",
	handshake.Expired:          "have the server's certificate issued anew; check this machine's clock too",
	handshake.NotYetValid:      "check this machine's clock",
	handshake.WrongUsage:       "have the server's certificate issued for server authentication",
	handshake.Weak:             "have the server's certificate issued with ECDSA P-256, or RSA of 2048 bits",
	handshake.Revoked:          "do not use this server until it has another certificate: its authority has revoked this one",
	handshake.NotOnCRL:         "fetch the newest revocation list of each authority into the file of --tls-crl",
	handshake.NoCommonVersion:  "have the server offer TLS 1.2 or 1.3: tls-protocols",
	handshake.NoCommonSuite:    "have the server offer suites with ECDHE and AES-GCM or ChaCha20: tls-ciphers",
	handshake.Plaintext:        "the port does not speak TLS: give the server's tls-port",
	handshake.BadCertificate:   "look at the server's certificate: securecache tls check",
}

func ofNetwork(err error) *failure {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &failure{code: exitUnreachable, next: "see that the server runs and is not busy, or wait longer with --timeout"}
	case errors.As(err, &timeout), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, redis.ErrClosed):
		return &failure{code: exitUnreachable, next: "see that the server runs and that its address and port are right"}
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return &failure{code: exitUnreachable, next: "see that the server runs and answers, or raise pool_size and max_active_conns in its URL"}
	case answered(err, "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "TRYAGAIN", "ERR max number of clients"):
		return &failure{code: exitUnreachable, next: "the server is there and not ready: try again"}
	}
	return nil
}

func ofFiles(err error) *failure {
	var path *fs.PathError
	switch {
	case !errors.As(err, &path):
		return nil
	case errors.Is(err, os.ErrNotExist):
		return &failure{code: exitError, next: "check the path " + path.Path}
	case errors.Is(err, os.ErrPermission):
		return &failure{code: exitError, next: "run this as the owner of " + path.Path}
	}
	return nil
}
