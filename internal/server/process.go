package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// role is what a server process is for.
type role int

const (
	alone role = iota
	clusterNode
	watchedNode // under Sentinel
	sentinelNode
)

// process is the backend that runs a program.
type process struct {
	dir     string
	program program
	role    role
	estate  *estate
	config  []string
	port    int
	child   *child
}

func (p *process) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

func (p *process) alive() bool { return p.child != nil && p.child.alive() }

func (p *process) stop() { p.child.stop() }

func (p *process) kill() { p.child.kill() }

func (p *process) signal(s syscall.Signal) error { return p.child.signal(s) }

// launch starts the process for the first time. A port that was free a moment
// ago may be taken by now, so it tries several.
func (p *process) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		if err := p.configure(); err != nil {
			return err
		}
		err := p.run(ctx)
		if err == nil || !errors.Is(err, errPortTaken) || attempt == 5 {
			return err
		}
	}
}

func (p *process) run(ctx context.Context) (err error) {
	args := []string{filepath.Join(p.dir, confFile)}
	if p.role == sentinelNode {
		args = append(args, "--sentinel")
	}
	log := filepath.Join(p.dir, logFile)
	_ = os.Remove(log)
	if p.child, err = spawn(p.dir, log, p.program.path, args...); err != nil {
		return err
	}
	if err := p.ready(ctx); err != nil {
		p.child.kill()
		return p.explain(err)
	}
	return nil
}

var errPortTaken = errors.New("the port was taken")

// explain adds the end of the log to an error of the start.
func (p *process) explain(err error) error {
	text := strings.TrimSpace(tail(filepath.Join(p.dir, logFile)))
	if strings.Contains(text, "Address already in use") {
		err = fmt.Errorf("%w (%w)", err, errPortTaken)
	}
	return fmt.Errorf("server: %s did not start: %w; its log ends:\n%s", p.program.path, err, text)
}

// ready waits until the server answers a PING, asking every few milliseconds.
func (p *process) ready(ctx context.Context) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ping(ctx, p.addr(), p.estate.client, p.estate.admin)
		if err == nil {
			return nil
		}
		select {
		case <-p.child.done:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("no answer in time (%w); last: %w", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// configure picks a port and writes the configuration file.
func (p *process) configure() (err error) {
	if p.port, err = freePort(p.role == clusterNode); err != nil {
		return err
	}
	lines := p.lines()
	if err := os.WriteFile(filepath.Join(p.dir, confFile), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

func (p *process) lines() []string {
	file := func(name string) string { return strconv.Quote(filepath.Join(p.dir, name)) }
	lines := []string{
		"bind 127.0.0.1",
		"port 0",
		"tls-port " + strconv.Itoa(p.port),
		"tls-cert-file " + file(serverCertFile),
		"tls-key-file " + file(serverKeyFile),
		"tls-ca-cert-file " + file(caFile),
		"tls-auth-clients yes",
		`tls-protocols "TLSv1.2 TLSv1.3"`,
		"tls-replication yes",
		"aclfile " + file(aclFile),
		"dir " + strconv.Quote(p.dir),
	}
	if p.role != sentinelNode {
		lines = append(lines, p.dataLines()...)
	}
	return append(lines, p.config...)
}

func (p *process) dataLines() []string {
	lines := []string{
		`save ""`,
		"masteruser " + p.estate.replica.name,
		"masterauth " + p.estate.replica.password,
	}
	if p.estate.options.Persist {
		lines = append(lines, "appendonly yes", "appendfsync always")
	}
	return lines
}

// The ports that are tried lie below those that Linux and macOS hand out for
// outgoing connections: a client that keeps trying to reach a server that is
// down would sooner or later be given the server's own port, and keep it.
const (
	lowestPort  = 10240
	highestPort = 32767
	busOffset   = 10000 // from a node's port to its cluster bus
)

// given are the ports that this process has handed out last. One of them may
// seem to be free because its server has been killed and is to come back.
var given struct {
	sync.Mutex
	ports [2048]int
	n     int
}

// FreePort returns a port that nobody listens on, and that this process has not
// been given of late.
func FreePort() (int, error) { return freePort(false) }

// freePort is FreePort where, for a node of a cluster, the bus port has to be
// free too.
func freePort(bus bool) (int, error) {
	span, offsets := highestPort+1-lowestPort, []int{0}
	if bus {
		span, offsets = span-busOffset, []int{0, busOffset}
	}
	given.Lock()
	defer given.Unlock()
	for range 1000 {
		port := lowestPort + rand.IntN(span)
		if slices.ContainsFunc(offsets, func(o int) bool { return slices.Contains(given.ports[:], port+o) || !portFree(port+o) }) {
			continue
		}
		for _, o := range offsets {
			given.ports[given.n%len(given.ports)] = port + o
			given.n++
		}
		return port, nil
	}
	return 0, errors.New("server: no free port found")
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
