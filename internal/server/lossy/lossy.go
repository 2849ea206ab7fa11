// Package lossy lies between a client and its server and loses replies: the
// server has run the command, and nobody hears of it.
package lossy

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Proxy passes on what it is sent, until it is told to lose a reply: it then
// ends that connection in the reply's place. Safe for concurrent use.
type Proxy struct {
	listener net.Listener
	server   string
	lose     func() bool
	lost     atomic.Int64
	wg       sync.WaitGroup
}

// Start listens on a free port of the loopback interface. lose is asked, from
// any goroutine, whether what the server has just answered is to be lost.
func Start(server string, lose func() bool) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, server: server, lose: lose}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr returns where clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Lost returns how many replies have been lost.
func (p *Proxy) Lost() int64 { return p.lost.Load() }

// Close ends the listening and waits for the connections, which their clients
// have to close.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		down, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(down) })
	}
}

func (p *Proxy) serve(down net.Conn) {
	defer down.Close()
	up, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer up.Close()
	p.wg.Go(func() {
		_, _ = io.Copy(up, down)
		_ = up.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := up.Read(buf)
		if err != nil {
			return
		}
		if p.lose() {
			p.lost.Add(1)
			return
		}
		if _, err := down.Write(buf[:n]); err != nil {
			return
		}
	}
}
