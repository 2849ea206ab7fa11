package hardening_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
)

// TestRevokedClientIsGone takes the authority of a client from the server's
// file. New connections are refused from then on. Those from before, the
// subscription's too, end by themselves within the bound.
func TestRevokedClientIsGone(t *testing.T) {
	t.Parallel()
	servertest.Each(t, func(t *testing.T, binary string) {
		s := newSite(t, binary)
		another, err := pki.New("another client's")
		if err != nil {
			t.Fatal(err)
		}
		rdb, config := s.client()
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		s.serve(another.PEM())

		s.refuses(config)
		servertest.Eventually(t, "the old connections are gone", func() bool {
			_ = rdb.Ping(t.Context()).Err() // keeps the pool from being idle
			list, err := s.admins[0].ClientList(t.Context()).Result()
			if err != nil {
				t.Fatal(err)
			}
			return !strings.Contains(list, "user=app ")
		})
		if e := handshake.Explain(rdb.Ping(t.Context()).Err()); e == nil || e.Cause != handshake.UnknownAuthority {
			t.Errorf("after its connections have ended: %v", e)
		}
	})
}

// client connects as the application, with a pool and a subscription whose
// connections end soon.
func (s *site) client() (redis.UniversalClient, *tls.Config) {
	s.Helper()
	config, err := hardening.ClientTLS(newMount(s.T, s.generation(s.ca.PEM())).files(), "")
	if err != nil {
		s.Fatal(err)
	}
	rdb, err := securecache.Connect(withQuery(s.T, s.url, "conn_max_lifetime", "1s"), config)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = rdb.Close() })
	sub := rdb.Subscribe(s.Context(), "sc:dev:doorbell")
	s.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(s.Context()); err != nil {
		s.Fatal(err)
	}
	return rdb, config
}

// refuses holds that the servers let nobody in with the configuration.
func (s *site) refuses(config *tls.Config) {
	s.Helper()
	fresh, err := securecache.Connect(s.url, config)
	if err != nil {
		s.Fatal(err)
	}
	defer fresh.Close()
	if e := handshake.Explain(fresh.Ping(s.Context()).Err()); e == nil || !e.ByServer || e.Cause != handshake.UnknownAuthority {
		s.Errorf("a new connection: %v", e)
	}
}

// TestKillEndsConnectionsAtOnce is for a client that does not end them itself.
func TestKillEndsConnectionsAtOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		s := newSite(t, binary)
		config, err := hardening.ClientTLS(newMount(t, s.generation(s.ca.PEM())).files(), "")
		if err != nil {
			t.Fatal(err)
		}
		rdb, err := securecache.Connect(s.url, config)
		if err != nil {
			t.Fatal(err)
		}
		defer rdb.Close()
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		for _, words := range [][]any{{"ACL", "SETUSER", "app", "off"}, {"CLIENT", "KILL", "USER", "app"}} {
			if err := s.admins[0].Do(t.Context(), words...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := rdb.Ping(t.Context()).Err(); err == nil {
			t.Error("the client is still in")
		}
	})
}
