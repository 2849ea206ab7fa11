package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// formTimeout bounds the forming of a cluster or a Sentinel trio.
const formTimeout = 60 * time.Second

// await asks try every few milliseconds until it returns nil. When ctx ends
// first, the error says what was waited for and what try said last.
func await(ctx context.Context, what string, try func(context.Context) error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("server: waiting until %s: %w; last: %w", what, ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// each calls f for every server at the same time and joins the errors.
func each(servers []*Server, f func(i int, s *Server) error) error {
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { errs[i] = f(i, s) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// running returns the servers that have a process. A paused one has.
func running(servers []*Server) (list []*Server) {
	for _, s := range servers {
		if s.running() {
			list = append(list, s)
		}
	}
	return list
}

func (s *Server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backend.alive()
}

// byAddr returns the server with the address, nil if there is none.
func byAddr(servers []*Server, addr string) *Server {
	for _, s := range servers {
		if s.Addr() == addr {
			return s
		}
	}
	return nil
}

// ask runs f with a client that may do everything and closes it again.
func (s *Server) ask(f func(*redis.Client) error) error {
	o := s.AdminOptions()
	o.PoolSize, o.MaxRetries, o.DialerRetries = 1, -1, 1
	rdb := redis.NewClient(o)
	defer rdb.Close()
	return f(rdb)
}

// info returns the fields of one section of INFO or of CLUSTER INFO.
func info(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// follows reports, as an error, that s is not a replica in step with its master.
func follows(ctx context.Context, s *Server) error {
	return s.ask(func(rdb *redis.Client) error {
		text, err := rdb.Info(ctx, "replication").Result()
		if err != nil {
			return err
		}
		if status := info(text)["master_link_status"]; status != "up" {
			return fmt.Errorf("%s has no link to its master (%q)", s.Addr(), status)
		}
		return nil
	})
}

// closeAll closes every server.
func closeAll(servers []*Server) error {
	return each(servers, func(_ int, s *Server) error {
		if s == nil { // it never started
			return nil
		}
		return s.Close()
	})
}
