package main

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestPlaintextURLs are read as securecache.Connect reads those of TLS.
func TestPlaintextURLs(t *testing.T) {
	for address, is := range map[string]func(redis.UniversalClient) bool{
		"redis://app:secret@127.0.0.1:1/":                 func(c redis.UniversalClient) bool { return c.(*redis.Client).Options().Addr == "127.0.0.1:1" },
		"redis://app:secret@127.0.0.1:1/?cluster=true":    func(c redis.UniversalClient) bool { _, is := c.(*redis.ClusterClient); return is },
		"redis://app:secret@127.0.0.1:1/?master_name=one": func(c redis.UniversalClient) bool { return c.(*redis.Client).Options().Username == "app" },
	} {
		rdb, err := plaintext(address)
		check(t, err)
		if !is(rdb) {
			t.Errorf("%s: %T", address, rdb)
		}
		check(t, rdb.Close())
	}
	for _, address := range []string{"redis://app:secret@127.0.0.1:x", "redis://app:secret@127.0.0.1:1/?cluster=true&strange=1", "redis://app:secret@127.0.0.1:1/?master_name=one&strange=1"} {
		if _, err := plaintext(address); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
}
