package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecache/session"
	"github.com/securecache/securecache-go/securecachetest"
)

// users of the load, each with a browser, in which they do everything there is,
// again and again.
const loaders = 4

// load is users at work while Redis is hurt.
type load struct {
	t    *testing.T
	site *site
	// well is whether all answers have to be those of a service that is well.
	well atomic.Bool
	// lossy is whether a login may be lost, as at a failover.
	lossy   bool
	rounds  [loaders]atomic.Int64 // complete ones, in which everything was well
	refused atomic.Int64          // answers of 503
	stop    chan struct{}
	working sync.WaitGroup

	mu    sync.Mutex
	ended []ended // what was acknowledged as ended
}

// ended is a cookie or a token that must never open anything again.
type ended struct{ cookie, bearer string }

func setToWork(t *testing.T, s *site, lossy bool) *load {
	l := &load{t: t, site: s, lossy: lossy, stop: make(chan struct{})}
	for i := range loaders {
		l.working.Go(func() {
			w := &worker{load: l, user: fmt.Sprintf("user%d", i), client: s.client(t)}
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				if w.round() {
					l.rounds[i].Add(1)
				}
			}
		})
	}
	t.Cleanup(func() {
		l.quit()
		l.working.Wait()
	})
	return l
}

func (l *load) quit() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
}

// goes waits until everybody has completed so many rounds from now on.
func (l *load) goes(n int64) {
	l.t.Helper()
	var from [loaders]int64
	for i := range from {
		from[i] = l.rounds[i].Load()
	}
	servertest.Eventually(l.t, fmt.Sprintf("everybody completes %d rounds", n), func() bool {
		for i := range from {
			if l.rounds[i].Load() < from[i]+n {
				return false
			}
		}
		return true
	})
}

// note remembers what has ended.
func (l *load) note(e ended) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = append(l.ended, e)
}

// stayEnded asks for everything that was ever acknowledged as ended.
func (l *load) stayEnded() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	alive := 0
	for _, e := range l.ended {
		c := l.site.client(l.t)
		if e.bearer != "" {
			c.bearer = e.bearer
		} else {
			c.plant(e.cookie)
		}
		if resp, _ := c.ask("GET", "/notes", ""); resp.StatusCode != http.StatusUnauthorized {
			alive++
			l.t.Errorf("what had ended is answered %d (a token: %t)", resp.StatusCode, e.bearer != "")
		}
		c.http.CloseIdleConnections()
	}
	l.t.Logf("%d logouts and revocations acknowledged, %d lost; %d answers of 503", len(l.ended), alive, l.refused.Load())
}

// worker is one user.
type worker struct {
	load   *load
	user   string
	client *client
}

// round logs in on two devices, works, and ends what it began in all the ways
// there are. It reports whether all of it was answered as it should.
func (w *worker) round() bool {
	phone := &client{t: w.client.t, site: w.client.site, http: &http.Client{Transport: w.client.http.Transport, Jar: jar()}}
	w.client.http.Jar = jar()
	var issued struct{ Token string }
	for _, step := range []func() bool{
		func() bool { _, ok := w.ask(w.client, 204, "POST", "/login", form(w.user, secret)); return ok },
		func() bool { _, ok := w.ask(phone, 204, "POST", "/login", form(w.user, secret)); return ok },
		func() bool { _, ok := w.ask(w.client, 200, "POST", "/notes", "a note"); return ok },
		func() bool {
			text, ok := w.ask(w.client, 200, "POST", "/tokens", "")
			return ok && json.Unmarshal([]byte(text), &issued) == nil
		},
		func() bool { return w.program(issued.Token, 200, "GET", "/notes") },
		func() bool { return w.ends(ended{bearer: issued.Token}, "DELETE", "/tokens", nil) },
		func() bool { return w.program(issued.Token, 401, "GET", "/notes") },
		func() bool { return w.ends(ended{cookie: phone.cookie()}, "POST", "/logout", phone) },
		func() bool { _, ok := w.ask(phone, 401, "GET", "/notes", ""); return ok },
		func() bool { return w.everywhere() },
	} {
		if !step() {
			return false
		}
	}
	return true
}

// everywhere ends a session, and a token issued in it, from another device.
func (w *worker) everywhere() bool {
	text, ok := w.ask(w.client, 200, "POST", "/tokens", "")
	var issued struct{ Token string }
	if !ok || json.Unmarshal([]byte(text), &issued) != nil {
		return false
	}
	cookie := w.client.cookie()
	if _, ok := w.ask(w.client, 204, "POST", "/logout/everywhere", ""); !ok {
		return false
	}
	w.load.note(ended{cookie: cookie})
	w.load.note(ended{bearer: issued.Token})
	return w.program(issued.Token, 401, "GET", "/notes")
}

// ends does what is to end something, and remembers that it was acknowledged.
func (w *worker) ends(e ended, method, path string, by *client) bool {
	if by == nil {
		by = &client{t: w.client.t, site: w.client.site, http: &http.Client{Transport: w.client.http.Transport}, bearer: e.bearer}
	}
	_, ok := w.ask(by, 204, method, path, "")
	if ok {
		w.load.note(e)
	}
	return ok
}

func (w *worker) program(bearer string, status int, method, path string) bool {
	c := &client{t: w.client.t, site: w.client.site, http: &http.Client{Transport: w.client.http.Transport}, bearer: bearer}
	_, ok := w.ask(c, status, method, path, "")
	return ok
}

// ask reports whether the answer is the one of a service that is well. Others
// are errors, unless Redis is not well and it is one that the service's doc
// names.
func (w *worker) ask(c *client, status int, method, path, body string) (string, bool) {
	well := w.load.well.Load()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), time.Minute)
	defer cancel()
	r := c.request(method, path, strings.NewReader(body)).WithContext(ctx)
	resp, err := c.http.Do(r)
	if err != nil {
		w.load.t.Errorf("%s %s: %v", method, path, err)
		return "", false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.load.t.Errorf("%s %s: %v", method, path, err)
	}
	switch {
	case resp.StatusCode == status:
		return string(text), true
	case well && w.load.well.Load():
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		w.load.refused.Add(1)
		return "", false
	case resp.StatusCode == http.StatusConflict && path == "/notes": // a change that was cut off
		return "", false
	case resp.StatusCode == http.StatusUnauthorized && status < 300 && w.load.lossy:
		return "", false
	}
	w.load.t.Errorf("%s %s: %d %s, want %d (all is well: %t)", method, path, resp.StatusCode, text, status, well)
	return "", false
}

// crowd are the users at work.
func crowd() *users {
	names := []string{"somebody else"}
	for i := range loaders {
		names = append(names, fmt.Sprintf("user%d", i))
	}
	return people(names...)
}

// TestAway looks at each answer while there is no server.
func TestAway(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t, securecachetest.WithPersistence())
	s := begin(t, environOf(t, env), people("ada"), plenty...)
	ada := s.client(t).logIn("ada")
	program := s.program(t, ada.token())
	cookie := ada.cookie()
	ok(t, env.Server.Kill())
	for name, ask := range map[string]func() (*http.Response, string){
		"ready":      func() (*http.Response, string) { return s.client(t).ask("GET", "/ready", "") },
		"login":      func() (*http.Response, string) { return s.client(t).ask("POST", "/login", form("ada", secret)) },
		"a session":  func() (*http.Response, string) { return ada.ask("GET", "/notes", "") },
		"a token":    func() (*http.Response, string) { return program.ask("GET", "/notes", "") },
		"a change":   func() (*http.Response, string) { return ada.ask("POST", "/notes", "a note") },
		"logout":     func() (*http.Response, string) { return ada.ask("POST", "/logout", "") },
		"everywhere": func() (*http.Response, string) { return ada.ask("POST", "/logout/everywhere", "") },
		"revocation": func() (*http.Response, string) { return program.ask("DELETE", "/tokens", "") },
	} {
		if resp, text := ask(); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s, Retry-After %q", name, resp.StatusCode, text, resp.Header.Get("Retry-After"))
		}
	}
	s.client(t).wants(http.StatusOK, "GET", "/", "")
	if ada.cookie() != cookie {
		t.Error("the cookie is gone")
	}
	servertest.Real(t, env.Server)
	ok(t, env.Server.Restart(t.Context()))
	servertest.Eventually(t, "it is ready", func() bool {
		resp, _ := s.client(t).ask("GET", "/ready", "")
		return resp.StatusCode == http.StatusNoContent
	})
	servertest.Eventually(t, "the session is there", func() bool {
		resp, _ := ada.ask("GET", "/notes", "")
		return resp.StatusCode == http.StatusOK
	})
}

// TestRestart kills the server and starts it again, with its data.
func TestRestart(t *testing.T) {
	env := securecachetest.Start(t, securecachetest.WithPersistence())
	servertest.Real(t, env.Server)
	s := begin(t, environOf(t, env), crowd(), plenty...)
	kept := s.client(t).logIn("somebody else")
	l := setToWork(t, s, false)
	times := 1
	if servertest.Long() {
		times = 2
	}
	for range times {
		l.well.Store(true)
		l.goes(2)
		l.well.Store(false)
		ok(t, env.Server.Kill())
		was := l.refused.Load()
		servertest.Eventually(t, "it is noticed", func() bool { return l.refused.Load() >= was+2*loaders })
		s.client(t).wants(http.StatusOK, "GET", "/", "")
		ok(t, env.Server.Restart(t.Context()))
		l.goes(1)
	}
	l.well.Store(true)
	l.goes(2)
	l.quit()
	l.working.Wait()
	l.stayEnded()
	kept.wants(http.StatusOK, "GET", "/notes", "")
}

// TestFailover kills the master under Sentinel, and has every replica asked for
// each logout.
func TestFailover(t *testing.T) {
	if !servertest.Long() {
		t.Skip("a failover takes half a minute: set SECURECACHE_LONG=1")
	}
	env := securecachetest.StartSentinel(t, securecachetest.WithCommands("wait"))
	getenv := environ(t, env.URL, env.Namespace, env.Files)
	s := begin(t, getenv, crowd(), append(plenty[:len(plenty):len(plenty)], "-replicas", "2")...)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	t.Run("a replica behind", func(t *testing.T) { replicaBehind(ctx, t, env, s, getenv) })
	l := setToWork(t, s, true)
	for _, fault := range []struct {
		name       string
		hurt, mend func(*securecachetest.Server) error
	}{
		{"killed", (*securecachetest.Server).Kill, func(n *securecachetest.Server) error { return n.Restart(ctx) }},
		// It comes back as the master that it was, for a moment.
		{"paused", (*securecachetest.Server).Pause, (*securecachetest.Server).Resume},
	} {
		l.well.Store(true)
		l.goes(2)
		l.well.Store(false)
		was := l.refused.Load()
		master, err := env.Master(ctx)
		ok(t, err)
		ok(t, fault.hurt(master))
		ok(t, env.AwaitTakeover(ctx, master))
		ok(t, fault.mend(master))
		ok(t, env.Ready(ctx))
		l.goes(1)
		t.Logf("%s: %d answers of 503", fault.name, l.refused.Load()-was)
	}
	l.well.Store(true)
	l.goes(2)
	l.quit()
	l.working.Wait()
	l.stayEnded()
}

// replicaBehind has one of two replicas stand still, with which a logout could
// not be kept through every failover: it is not acknowledged, however often it
// is asked for, and all else goes on.
func replicaBehind(ctx context.Context, t *testing.T, env *securecachetest.Sentinel, s *site, getenv func(string) string) {
	ada := s.client(t).logIn("somebody else")
	bearer, cookie := ada.token(), ada.cookie()
	program := s.program(t, bearer)
	ok(t, env.Nodes[2].Pause())
	for range 2 { // the second finds nothing to write
		for _, ask := range []func() (*http.Response, string){
			func() (*http.Response, string) { return program.ask("DELETE", "/tokens", "") },
			func() (*http.Response, string) { return ada.ask("POST", "/logout", "") },
		} {
			resp, text := ask()
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("with a replica behind it is answered %d %s", resp.StatusCode, text)
			}
		}
		if ada.cookie() != cookie {
			t.Error("the cookie is gone: nobody can ask again")
		}
	}
	// Another process finds nothing to write either, on a connection that has
	// written nothing yet.
	c, err := configure([]string{"-replicas", "2"}, getenv)
	ok(t, err)
	other, err := open(ctx, c, slog.New(slog.DiscardHandler))
	ok(t, err)
	defer func() { ok(t, other.Close()) }()
	sessions, err := session.New(other.cache, codec.JSON[device](), nil)
	ok(t, err)
	if err := sessions.Destroy(lasting(ctx), cookie); !errors.Is(err, errReplicas) {
		t.Errorf("another process: %v", err)
	}
	bob := s.client(t).logIn("user0")
	bob.wants(http.StatusOK, "POST", "/notes", "a note")
	ok(t, env.Nodes[2].Resume())
	ok(t, env.Ready(ctx))
	servertest.Eventually(t, "the logout is acknowledged", func() bool {
		resp, _ := ada.ask("POST", "/logout", "")
		return resp.StatusCode == http.StatusNoContent
	})
	program.wants(http.StatusNoContent, "DELETE", "/tokens", "")
	program.wants(http.StatusUnauthorized, "GET", "/notes", "")
	s.client(t).plant(cookie).wants(http.StatusUnauthorized, "GET", "/notes", "")
}
