// Command service is an HTTP service with logins: sessions in a cookie, bearer
// tokens that can be revoked, logout everywhere, one change of a user's at a
// time, and rate limits. What it keeps lies sealed in Redis, behind mutual TLS.
//
//	securecache dev -- go run ./examples/service
//
// starts it for a moment and shows what it answers. With -addr it serves:
//
//	service -hash ada < password >> users
//	service -addr :8443 -cert cert.pem -key key.pem -users users
//
// Server and keyring come from the environment that `securecache dev` prints.
//
// # What is answered
//
//	401  no session and no token, or one that has ended or was revoked; a wrong password
//	403  a change that another site's page asked for
//	409  another change of the same user is under way; or a change was overtaken
//	429  more requests than the limit allows; Retry-After says when
//	503  no answer from Redis in time, or no turn to have a password hashed;
//	     Retry-After says when to try again
//
// # When Redis is away
//
// Nobody is let in without an answer. Sessions, revocations, logins and the
// one-at-a-time guard fail closed, with 503. The limits on requests are counted
// in this process against its share, so that an outage is no way around them;
// what needs nothing else, as GET /, is served all along. After a restart each
// pooled connection may cost one more 503, and a user whose change was cut off
// may be told 409 until the guard's lock ends, 5 seconds later.
//
// # What a logout is worth
//
// 204 says that the session, or the token, is dead for every process that asks
// the same server, and remains so when that server comes back with its data:
// run it with appendfsync always. A server that restarts without them has logged
// everybody out, and has forgotten which tokens were revoked; those live for 15
// minutes at most.
//
// Replication is asynchronous: a failover may take back what the last instant
// has written, a logout among it. -replicas N has every logout and revocation
// wait until N replicas have it, and be a 503, to be repeated, where they do
// not say so in time. With all of them a logout outlives the loss of the master,
// whoever is promoted, and none is acknowledged while a replica is missing. With
// fewer it outlives it as long as Sentinel promotes the replica that is furthest
// ahead, which it does as far as it has heard. Neither helps against a master
// that is cut off together with some of the service's processes: these go on
// trusting it until they are told of the new one. A login does not wait, and may
// be lost: its user logs in again.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(ctx, log, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Error("ended", "error", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger, args []string) (err error) {
	c, err := configure(args, os.Getenv)
	if err != nil {
		return err
	}
	if c.hash != "" {
		return printHash(os.Stdin, os.Stdout, c.hash)
	}
	b, err := open(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if c.addr == "" {
		return tour(ctx, b, c, log, os.Stdout)
	}
	users, err := readUsers(c.users)
	if err != nil {
		return err
	}
	s, err := newService(b, users, c, log)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	log.Info("serving", "address", listener.Addr().String())
	server := newServer(s)
	return serveUntil(ctx, server, func() error { return server.ServeTLS(listener, c.cert, c.key) })
}

// newServer has a limit on everything that a client could take its time with.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// serveUntil serves until ctx ends, and then as long as the requests under way
// take, within reason.
func serveUntil(ctx context.Context, server *http.Server, serve func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	err := server.Shutdown(last)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
