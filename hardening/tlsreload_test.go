package hardening_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/pki"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache"
)

// clock is set by the test.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

func TestStatusAndWarnings(t *testing.T) {
	dir, at := certs(t), &clock{}
	var warnings []error
	f := files(dir)
	f.CRL = dir + "/crl.pem"
	creds, err := hardening.OpenTLS(f, "", &hardening.TLSOptions{Now: at.now, OnWarning: func(err error) { warnings = append(warnings, err) }})
	if err != nil {
		t.Fatal(err)
	}
	s := creds.Status()
	for name, end := range map[string]time.Time{"certificate": s.Certificate, "CA": s.CA, "revocation list": s.CRL} {
		if left := time.Until(end); left < pki.Lifetime-2*time.Hour || left > pki.Lifetime {
			t.Errorf("%s: ends in %v", name, left)
		}
	}
	if s.Err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", s.Err, warnings)
	}

	good, _ := os.ReadFile(f.Cert)
	if err := halve(f.Cert); err != nil {
		t.Fatal(err)
	}
	if got := creds.Status(); got.Err == nil || got.Certificate != s.Certificate {
		t.Errorf("%+v: what was good before is to serve on, with the reason why", got)
	}
	if len(warnings) > 0 {
		t.Errorf("%v: a replacement takes a moment", warnings)
	}
	at.advance(11 * time.Second)
	for range 3 {
		creds.Status()
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "client certificate file") {
		t.Errorf("%v, want one warning", warnings)
	}
	write(t, f.Cert, good, 0o600)
	if got := creds.Status(); got.Err != nil {
		t.Error(got.Err)
	}

	at.advance(pki.Lifetime - 6*24*time.Hour)
	for range 3 {
		creds.Status()
	}
	at.advance(2 * time.Hour)
	creds.Status()
	if len(warnings) != 3 {
		t.Fatalf("%v, want one an hour", warnings)
	}
	soon, ok := errors.AsType[*hardening.EndsSoonError](warnings[2])
	if !ok || soon.What != "revocation list" && soon.What != "client certificate" && soon.What != "CA" || !strings.Contains(soon.Error(), "replace the file") {
		t.Errorf("%v", warnings[2])
	}
	if _, err := hardening.OpenTLS(f, "", &hardening.TLSOptions{Warn: -1}); err == nil {
		t.Error("a negative warning was accepted")
	}
}

// TestListThatEndsInUse refuses on, rather than to take silence for an answer.
func TestListThatEndsInUse(t *testing.T) {
	dir := certs(t)
	f := files(dir)
	f.CRL = dir + "/crl.pem"
	creds, err := hardening.OpenTLS(f, "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	config := creds.Config()
	addr := listen(t, dir, "good-server", 0, nil)
	if err := meet(t, addr, config); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(dir+"/expired-crl.pem", f.CRL); err != nil {
		t.Fatal(err)
	}
	if err := creds.Status().Err; handshake.Explain(err) == nil {
		t.Errorf("%v, want the list's end", err)
	}
	if err := meet(t, addr, config); err != nil { // the list that was there before is still current
		t.Error(err)
	}
}

func TestRevocationListFilesRefused(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"empty":     {"", "revocation list"},
		"rubbish":   {"hello", "BEGIN X509 CRL"},
		"no list":   {"-----BEGIN X-----\nAAAA\n-----END X-----\n", "holds no list"},
		"truncated": {"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "BEGIN X509 CRL"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := certs(t)
			f := files(dir)
			f.CRL = dir + "/list.pem"
			write(t, f.CRL, []byte(tt.text), 0o600)
			if _, err := hardening.ClientTLS(f, ""); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
		})
	}
}

// mount is a directory as Kubernetes mounts secrets: links to a link to a
// directory that is exchanged whole.
type mount struct {
	*testing.T
	dir string
	n   int
}

func newMount(t *testing.T, generation map[string][]byte) *mount {
	t.Helper()
	m := &mount{T: t, dir: t.TempDir()}
	m.swap(generation)
	for name := range generation {
		if err := os.Symlink("..data/"+name, filepath.Join(m.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *mount) files() hardening.Files {
	return hardening.Files{CA: m.dir + "/ca.pem", Cert: m.dir + "/client.pem", Key: m.dir + "/client-key.pem"}
}

// swap exchanges all files at once.
func (m *mount) swap(generation map[string][]byte) {
	m.Helper()
	m.n++
	next := filepath.Join(m.dir, "..generation"+strconv.Itoa(m.n))
	if err := os.Mkdir(next, 0o700); err != nil {
		m.Fatal(err)
	}
	for name, text := range generation {
		write(m.T, filepath.Join(next, name), text, 0o600)
	}
	link := filepath.Join(m.dir, "..new")
	if err := errors.Join(os.Symlink(filepath.Base(next), link), os.Rename(link, filepath.Join(m.dir, "..data"))); err != nil {
		m.Fatal(err)
	}
}

// overwrite replaces the files one by one and in two halves each, which leaves
// half a certificate, and then one without its key, for others to see.
func (m *mount) overwrite(generation map[string][]byte, between func()) {
	m.Helper()
	for _, name := range []string{"ca.pem", "client.pem", "client-key.pem"} {
		f, err := os.OpenFile(filepath.Join(m.dir, name), os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			m.Fatal(err)
		}
		half := len(generation[name]) / 2
		_, err1 := f.Write(generation[name][:half])
		if name == "client.pem" {
			between()
		}
		_, err2 := f.Write(generation[name][half:])
		if err := errors.Join(err1, err2, f.Close()); err != nil {
			m.Fatal(err)
		}
		if name == "client.pem" {
			between()
		}
	}
}

// traffic is 64 goroutines that write and read.
type traffic struct {
	rdb    redis.UniversalClient
	done   []atomic.Int64
	failed atomic.Pointer[error]
	stop   context.CancelFunc
	wait   sync.WaitGroup
}

func startTraffic(t *testing.T, rdb redis.UniversalClient) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	tr := &traffic{rdb: rdb, done: make([]atomic.Int64, 64), stop: stop}
	for i := range tr.done {
		tr.wait.Go(func() {
			key := "sc:dev:v:" + strconv.Itoa(i)
			for ctx.Err() == nil {
				text := strconv.FormatInt(tr.done[i].Load(), 10)
				err := rdb.Set(context.WithoutCancel(ctx), key, text, time.Minute).Err()
				if got, err2 := rdb.Get(context.WithoutCancel(ctx), key).Result(); err == nil && (err2 != nil || got != text) {
					err = errors.Join(err2, errors.New("read "+got+" and not "+text))
				}
				if err != nil {
					tr.failed.CompareAndSwap(nil, &err)
				}
				tr.done[i].Add(1)
			}
		})
	}
	return tr
}

// settle waits until each goroutine has begun and ended an operation, so that
// none goes on that began before, and until there is a new connection.
func (tr *traffic) settle(t *testing.T) {
	t.Helper()
	var before [64]int64
	for i := range tr.done {
		before[i] = tr.done[i].Load()
	}
	made := tr.rdb.PoolStats().Misses
	servertest.Eventually(t, "traffic goes on", func() bool {
		for i := range tr.done {
			if tr.done[i].Load() < before[i]+2 {
				return false
			}
		}
		return tr.rdb.PoolStats().Misses > made
	})
}

// site is what both sides of a rotation show and trust.
type site struct {
	*testing.T
	url    string
	admins []*redis.Client // of each server that takes new files while it runs
	// base is trusted by both sides all the time, for what the servers of a
	// topology show each other; nil for one server.
	base      []byte
	sentinels *server.Sentinel // which read their files when they start, nil without
	dir       string
	ca        *pki.CA
	n         int
	ends      time.Time // of the client's newest certificate, which tells it from others
}

func (s *site) generation(trusted []byte) map[string][]byte {
	s.Helper()
	s.n++
	r := pki.Client("application")
	s.ends = time.Now().Add(pki.Lifetime - time.Duration(s.n)*time.Minute)
	r.NotAfter = s.ends
	p, err := s.ca.Issue(r)
	if err != nil {
		s.Fatal(err)
	}
	return map[string][]byte{"ca.pem": slices.Concat(s.base, trusted), "client.pem": p.Cert, "client-key.pem": p.Key}
}

// serve has the servers show a new certificate and trust these authorities.
func (s *site) serve(trusted []byte) {
	s.Helper()
	p, err := s.ca.Issue(pki.Server())
	if err != nil {
		s.Fatal(err)
	}
	write(s.T, s.dir+"/server.pem", p.Cert, 0o600)
	write(s.T, s.dir+"/server-key.pem", p.Key, 0o600)
	s.trust(trusted, "tls-cert-file", s.dir+"/server.pem", "tls-key-file", s.dir+"/server-key.pem")
}

// trust has the servers trust these authorities, and changes other settings with
// them.
func (s *site) trust(trusted []byte, settings ...any) {
	s.Helper()
	write(s.T, s.dir+"/ca.pem", slices.Concat(s.base, trusted), 0o600)
	words := append([]any{"CONFIG", "SET", "tls-ca-cert-file", s.dir + "/ca.pem"}, settings...)
	for _, admin := range s.admins {
		if err := admin.Do(s.Context(), words...).Err(); err != nil {
			s.Fatal(err)
		}
	}
	if s.sentinels != nil {
		s.restartSentinels()
	}
}

// withQuery adds options to a URL.
func withQuery(t *testing.T, raw string, pairs ...string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func newSite(t *testing.T, binary string) *site {
	t.Helper()
	s := servertest.Start(t, server.Options{Binary: binary})
	ca, err := pki.New("first")
	if err != nil {
		t.Fatal(err)
	}
	st := &site{T: t, url: s.URL(), admins: []*redis.Client{connect(t, s.AdminOptions())}, dir: t.TempDir(), ca: ca}
	st.serve(ca.PEM())
	return st
}

// TestRotationUnderTraffic replaces the client's certificate and key, and every
// fifth time both sides' authority, while 64 goroutines work on connections
// that live for 150 ms.
func TestRotationUnderTraffic(t *testing.T) {
	t.Parallel()
	servertest.Each(t, func(t *testing.T, binary string) {
		rotations := 5
		if os.Getenv("SECURECACHE_LONG") != "" && filepath.Base(binary) == "redis-server" {
			rotations = 100 // on one of them: it takes a minute
		}
		newSite(t, binary).rotate(rotations)
	})
}

// rotate does so many rotations under traffic.
func (s *site) rotate(rotations int) {
	s.Helper()
	m := newMount(s.T, s.generation(s.ca.PEM()))
	creds, err := hardening.OpenTLS(m.files(), "", nil)
	if err != nil {
		s.Fatal(err)
	}
	rdb, err := securecache.Connect(withQuery(s.T, s.url, "conn_max_lifetime", "150ms", "pool_size", "8", "pool_timeout", "30s"), creds.Config())
	if err != nil {
		s.Fatal(err)
	}
	defer rdb.Close()
	tr := startTraffic(s.T, rdb)
	defer tr.wait.Wait()
	defer tr.stop()
	for i := range rotations {
		switch {
		case i%5 == 4:
			s.rollOver(m, tr)
		case i%2 == 0:
			m.swap(s.generation(s.ca.PEM()))
		default:
			m.overwrite(s.generation(s.ca.PEM()), func() { tr.settle(s.T) })
		}
		tr.settle(s.T)
		status := creds.Status()
		if want := s.ends.Truncate(time.Second); status.Err != nil || !status.Certificate.Equal(want) {
			s.Fatalf("rotation %d: %+v, want a certificate until %v", i, status, want)
		}
		if failed := tr.failed.Load(); failed != nil {
			s.Fatalf("rotation %d: %v", i, *failed)
		}
	}
	total := int64(0)
	for i := range tr.done {
		total += tr.done[i].Load()
	}
	s.Logf("%d rotations, %d operations on %d connections, none failed", rotations, 2*total, rdb.PoolStats().Misses)
}

// rollOver goes from one authority to the next, in the order that a site has to:
// both trust both, then both show the new one's, then both trust that alone.
func (s *site) rollOver(m *mount, tr *traffic) {
	s.Helper()
	old := s.ca.PEM()
	next, err := pki.New("next")
	if err != nil {
		s.Fatal(err)
	}
	both := slices.Concat(old, next.PEM())
	m.swap(s.generation(both))
	s.serve(both)
	tr.settle(s.T)
	s.ca = next
	m.swap(s.generation(both))
	s.serve(both)
	tr.settle(s.T)
	m.swap(s.generation(next.PEM()))
	s.serve(next.PEM())
}
