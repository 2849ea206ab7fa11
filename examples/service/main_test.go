package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestMain(m *testing.M) {
	servertest.Main(m)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// secret is everybody's password.
const secret = "correct horse battery staple"

var secretHash = sync.OnceValue(func() string { return hashPassword(secret) })

// people are the users of the tests.
func people(names ...string) *users {
	hashes := make(map[string]string)
	for _, name := range names {
		hashes[name] = secretHash()
	}
	return newUsers(hashes)
}

// plenty are limits that are not what a test is about, and a patience for a
// machine whose cores are all taken.
var plenty = []string{"-patience", "20s", "-logins", "100000/1s", "-addresses", "100000/1s", "-requests", "100000/1s"}

// environ is what `securecache dev` would print.
func environ(t *testing.T, url, namespace string, files hardening.Files) func(string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring.json")
	ok(t, keys.Create(t.Context(), namespace, keys.NewFile(path), keys.InsecurePlain(), keys.Layout{}))
	values := map[string]string{
		"REDIS_URL": url, "SECURECACHE_NAMESPACE": namespace,
		"SECURECACHE_TLS_CA": files.CA, "SECURECACHE_TLS_CERT": files.Cert, "SECURECACHE_TLS_KEY": files.Key,
		"SECURECACHE_KEYRING": "file:" + path, "SECURECACHE_WRAP": "insecure-plain",
	}
	return func(name string) string { return values[name] }
}

func environOf(t *testing.T, env *securecachetest.Env) func(string) string {
	return environ(t, env.Server.URL(), env.Namespace, env.Files)
}

// site is a service that runs.
type site struct {
	url     string
	roots   *x509.CertPool
	backend *backend
	log     *record
	stop    context.CancelFunc
	ended   chan error
}

// begin runs the service as main does, but for the listener and the users.
func begin(t *testing.T, getenv func(string) string, u *users, args ...string) *site {
	t.Helper()
	c, err := configure(args, getenv)
	ok(t, err)
	s := &site{log: new(record), ended: make(chan error, 1)}
	log := slog.New(slog.NewJSONHandler(s.log, nil))
	s.backend, err = open(t.Context(), c, log)
	ok(t, err)
	t.Cleanup(func() { ok(t, s.backend.Close()) })
	h, err := newService(s.backend, u, c, log)
	ok(t, err)
	pair, roots, err := certificateOfTheMoment()
	ok(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	ok(t, err)
	s.url, s.roots = "https://"+listener.Addr().String(), roots
	server := newServer(h)
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s.stop = stop
	go func() { s.ended <- serveUntil(ctx, server, func() error { return server.ServeTLS(listener, "", "") }) }()
	t.Cleanup(func() {
		stop()
		ok(t, <-s.ended)
		s.ended <- nil
	})
	return s
}

// record is a log that can be read while it is written.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// client is a browser, or a program.
type client struct {
	t      *testing.T
	site   *site
	http   *http.Client
	bearer string
}

func (s *site) client(t *testing.T) *client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.roots},
		ForceAttemptHTTP2: true, ExpectContinueTimeout: time.Minute,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, site: s, http: &http.Client{Jar: jar(), Transport: transport}}
}

func jar() http.CookieJar {
	j, _ := cookiejar.New(nil) // never fails
	return j
}

// program is a client with a bearer token and no cookies.
func (s *site) program(t *testing.T, bearer string) *client {
	c := s.client(t)
	c.bearer = bearer
	return c
}

func (c *client) request(method, path string, body io.Reader) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.site.url+path, body)
	ok(c.t, err)
	if c.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	return r
}

// do returns an answer and its body.
func (c *client) do(r *http.Request) (*http.Response, string) {
	c.t.Helper()
	resp, err := c.http.Do(r)
	ok(c.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ok(c.t, err)
	return resp, string(body)
}

func (c *client) ask(method, path, body string) (*http.Response, string) {
	c.t.Helper()
	return c.do(c.request(method, path, strings.NewReader(body)))
}

// wants fails the test unless the status is that.
func (c *client) wants(status int, method, path, body string) string {
	c.t.Helper()
	resp, text := c.ask(method, path, body)
	if resp.StatusCode != status {
		c.t.Fatalf("%s %s: %d %s, want %d", method, path, resp.StatusCode, text, status)
	}
	return text
}

func form(user, password string) string {
	text, _ := json.Marshal(map[string]string{"user": user, "password": password})
	return string(text)
}

func (c *client) logIn(user string) *client {
	c.t.Helper()
	c.wants(http.StatusNoContent, "POST", "/login", form(user, secret))
	return c
}

// token is a bearer token of the one who is logged in.
func (c *client) token() string {
	c.t.Helper()
	var got struct{ Token string }
	ok(c.t, json.Unmarshal([]byte(c.wants(http.StatusOK, "POST", "/tokens", "")), &got))
	return got.Token
}

// cookie is the session's token, "" without one.
func (c *client) cookie() string {
	u, err := url.Parse(c.site.url)
	ok(c.t, err)
	for _, found := range c.http.Jar.Cookies(u) {
		if found.Name == "__Host-session" {
			return found.Value
		}
	}
	return ""
}

// plant has the browser hold a cookie.
func (c *client) plant(value string) *client {
	u, err := url.Parse(c.site.url)
	ok(c.t, err)
	c.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-session", Value: value, Path: "/", Secure: true}})
	return c
}

func TestTour(t *testing.T) {
	env := securecachetest.Start(t)
	c, err := configure([]string{"-patience", "2m"}, environOf(t, env))
	ok(t, err)
	b, err := open(t.Context(), c, slog.New(slog.DiscardHandler))
	ok(t, err)
	defer func() { ok(t, b.Close()) }()
	var out bytes.Buffer
	ok(t, tour(t.Context(), b, c, slog.New(slog.DiscardHandler), &out))
	var got []string
	for line := range strings.Lines(out.String()) {
		words := strings.Fields(line)
		got = append(got, words[0]+" "+words[1]+" "+strings.Join(strings.Fields(line[61:])[:1], ""))
	}
	want := []string{
		"GET /notes 401", "POST /login 401", "POST /login 204", "POST /login 204", "POST /notes 200", "GET /notes 200",
		"POST /tokens 200", "GET /notes 200", "POST /logout/everywhere 204", "GET /notes 401", "GET /notes 401",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the tour went\n%s", out.String())
	}
}

// TestShutdown ends the service while a request is under way, which it finishes.
func TestShutdown(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada"), plenty...)
	ada := s.client(t).logIn("ada")
	slow := ada.beginNote("half of")
	s.stop()
	unreachable := func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "https://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}
	servertest.Eventually(t, "nobody new is let in", unreachable)
	if status := slow.finish(" a note"); status != http.StatusOK {
		t.Errorf("the request under way was answered %d", status)
	}
}
