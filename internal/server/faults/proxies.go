package faults

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

type proxy = toxiproxy.Proxy

// Open puts n proxies before the server. Close ends them.
func (s *Storm) Open(n int) error {
	control := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i := range n {
		p := toxiproxy.NewProxy(control, fmt.Sprint(i), "127.0.0.1:0", s.Server.Addr())
		if err := p.Start(); err != nil {
			return fmt.Errorf("faults: %w", err)
		}
		s.proxies = append(s.proxies, p)
	}
	return nil
}

// Close ends the proxies, with the connections through them.
func (s *Storm) Close() {
	for _, p := range s.proxies {
		p.Stop()
	}
}

// Addr returns where the i-th client connects to: a proxy, in turn, or the server
// itself, whose end by kill -9 resets what is connected to it.
func (s *Storm) Addr(i int) string {
	i %= len(s.proxies) + 1
	if i == len(s.proxies) {
		return s.Server.Addr()
	}
	return s.proxies[i].Listen
}

// cutOne ends what sends something through one proxy, requests on their way to
// the server or replies.
func cutOne(ctx context.Context, s *Storm) error {
	p := s.proxies[s.Rand.IntN(len(s.proxies))]
	direction := [...]string{"upstream", "downstream"}[s.Rand.IntN(2)]
	added, err := p.Toxics.AddToxicJson(strings.NewReader(`{"type": "` + cutType + `", "stream": "` + direction + `"}`))
	if err != nil {
		return err
	}
	Wait(context.Background(), Between(s.Rand, time.Millisecond, 200*time.Millisecond))
	return p.Toxics.RemoveToxic(ctx, added.Name)
}

const cutType = "cut"

func init() { toxics.Register(cutType, new(cut)) }

// cut ends a connection in the place of what it should pass on, and takes what
// comes until the other side knows. Toxiproxy's own reset_peer takes no more:
// what is sent meanwhile finds no reader, and its goroutines stay for good.
type cut struct{}

// Pipe is how toxiproxy runs a toxic.
func (*cut) Pipe(stub *toxics.ToxicStub) {
	select {
	case <-stub.Interrupt:
	case chunk := <-stub.Input:
		stub.Close()
		for chunk != nil {
			chunk = <-stub.Input
		}
	}
}
