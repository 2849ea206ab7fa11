package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// recorder passes connections on to a server and keeps what goes either way,
// as whoever listens on the wire.
type recorder struct {
	listener net.Listener
	upstream string
	running  sync.WaitGroup

	mu      sync.Mutex
	streams []*bytes.Buffer // one a connection and direction
	conns   []net.Conn
	closed  bool
}

func startRecorder(t *testing.T, upstream string) *recorder {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{listener: l, upstream: upstream}
	r.running.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *recorder) addr() string { return r.listener.Addr().String() }

func (r *recorder) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !r.keep(client, server) {
			return
		}
		r.running.Go(func() { r.pass(client, server) })
		r.running.Go(func() { r.pass(server, client) })
	}
}

// keep remembers connections to close, or closes them where all is over.
func (r *recorder) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, conns...)
	if r.closed {
		closeAll(conns)
	}
	return !r.closed
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// pass copies from one connection to the other until either ends.
func (r *recorder) pass(from, to net.Conn) {
	defer closeAll([]net.Conn{from, to})
	stream := new(bytes.Buffer)
	r.mu.Lock()
	r.streams = append(r.streams, stream)
	r.mu.Unlock()
	chunk := make([]byte, 32<<10)
	for {
		n, err := from.Read(chunk)
		r.mu.Lock()
		stream.Write(chunk[:n])
		r.mu.Unlock()
		if _, writeErr := to.Write(chunk[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

func (r *recorder) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	closeAll(r.conns)
	r.mu.Unlock()
	r.running.Wait()
}

// recorded returns the streams, once close has ended them.
func (r *recorder) recorded() [][]byte {
	r.close()
	all := make([][]byte, len(r.streams))
	for i, s := range r.streams {
		all[i] = s.Bytes()
	}
	return all
}

// monitor is the server's log of the commands that it is sent.
type monitor struct {
	conn *tls.Conn
	log  bytes.Buffer
	done chan error
}

// startMonitor returns once the server writes its log.
func startMonitor(t *testing.T, o *redis.Options) *monitor {
	conn, err := tls.Dial("tcp", o.Addr, o.TLSConfig)
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{conn: conn, done: make(chan error, 1)}
	replies := bufio.NewReader(conn)
	if _, err := fmt.Fprintf(conn, "AUTH %s %s\r\nMONITOR\r\n", o.Username, o.Password); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if reply, err := replies.ReadString('\n'); err != nil || reply != "+OK\r\n" {
			t.Fatalf("MONITOR: %q, %v", reply, err)
		}
	}
	go func() {
		_, err := m.log.ReadFrom(replies)
		m.done <- err
	}()
	t.Cleanup(func() { _ = conn.Close() })
	return m
}

// stop asks for the rest of the log by ending the connection's own side, and
// returns it.
func (m *monitor) stop(t *testing.T) []byte {
	t.Helper()
	if _, err := io.WriteString(m.conn, "QUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-m.done; err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return m.log.Bytes()
}
