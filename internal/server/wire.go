package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
)

// Monitor logs in as the administrator and returns what MONITOR prints: a line
// for every command that the server runs from now on, arguments and all, until
// it is closed or the server ends. It has no deadline; close it from another
// goroutine to end a read. The embedded server has no MONITOR.
func (s *Server) Monitor(ctx context.Context) (io.ReadCloser, error) {
	conn, replies, err := converse(ctx, s.Addr(), s.estate.client, s.estate.admin, "MONITOR", "+OK")
	if err != nil {
		return nil, fmt.Errorf("server: MONITOR: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{replies, conn}, nil
}

// ping asks for a PONG over a connection of its own. That the certificate is
// this estate's proves that no other server took the port.
func ping(ctx context.Context, addr string, config *tls.Config, u user) error {
	conn, _, err := converse(ctx, addr, config, u, "PING", "+PONG")
	if err != nil {
		return err
	}
	return conn.Close()
}

// converse connects, logs in and sends one command, which must be answered with
// the line given. go-redis is no use here: its pool retries, logs and waits
// where a refused connection is the usual case, and its MONITOR reads in a
// busy loop.
func converse(ctx context.Context, addr string, config *tls.Config, u user, command, answer string) (net.Conn, *bufio.Reader, error) {
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	// A connection that is closed when ctx ends needs no deadline.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	replies := bufio.NewReader(conn)
	if err := exchange(conn, replies, "AUTH "+u.name+" "+u.password+"\r\n"+command+"\r\n", "+OK", answer); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, replies, nil
}

// exchange sends commands and wants these lines in answer.
func exchange(conn io.Writer, replies *bufio.Reader, commands string, answers ...string) error {
	if _, err := io.WriteString(conn, commands); err != nil {
		return err
	}
	for _, want := range answers {
		got, err := replies.ReadString('\n')
		if err != nil {
			return err
		}
		if got = strings.TrimSpace(got); got != want {
			return fmt.Errorf("answered %q", got)
		}
	}
	return nil
}
