package main

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"testing"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecachetest"
)

// slowNote is a request whose body is still on its way.
type slowNote struct {
	body   *io.PipeWriter
	status chan int
}

// beginNote returns once the handler reads the body, which is when the server
// asks for it.
func (c *client) beginNote(text string) *slowNote {
	c.t.Helper()
	reader, writer := io.Pipe()
	r := c.request("POST", "/notes", reader)
	r.Header.Set("Expect", "100-continue")
	reading := make(chan struct{})
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(reading) }}))
	s := &slowNote{writer, make(chan int, 1)}
	go func() {
		resp, err := c.http.Do(r)
		if err != nil {
			_ = reader.CloseWithError(err)
			s.status <- 0
			return
		}
		defer resp.Body.Close()
		s.status <- resp.StatusCode
	}()
	select {
	case <-reading:
	case status := <-s.status:
		c.t.Fatalf("answered %d before the body was read", status)
	}
	_, err := io.WriteString(writer, text)
	ok(c.t, err)
	return s
}

func (s *slowNote) finish(text string) int {
	_, _ = io.WriteString(s.body, text)
	_ = s.body.Close()
	return <-s.status
}

func TestGuard(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada", "bob"), plenty...)
	ada, phone, bob := s.client(t).logIn("ada"), s.client(t).logIn("ada"), s.client(t).logIn("bob")
	program := s.program(t, ada.token())
	slow := ada.beginNote("half of")
	for _, c := range []*client{phone, program} {
		c.wants(http.StatusConflict, "POST", "/notes", "at the same time")
		c.wants(http.StatusOK, "GET", "/notes", "")
	}
	bob.wants(http.StatusOK, "POST", "/notes", "a note of somebody else")
	if status := slow.finish(" a note"); status != http.StatusOK {
		t.Fatalf("the first is answered %d", status)
	}
	servertest.Eventually(t, "the guard lets go", func() bool {
		resp, _ := phone.ask("POST", "/notes", "afterwards")
		return resp.StatusCode == http.StatusOK
	})
	if got := ada.wants(http.StatusOK, "GET", "/notes", ""); got != `["half of a note","afterwards"]`+"\n" {
		t.Errorf("the notes are %s", got)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t)
	for name, tc := range map[string]struct {
		flag   string
		before func(s *site) *client
		ask    func(c *client) *http.Response
	}{
		"logins": {
			"-logins", func(s *site) *client { return s.client(t) },
			func(c *client) *http.Response { r, _ := c.ask("POST", "/login", form("bob", "guessed")); return r },
		},
		"logins of nobody": {
			"-logins", func(s *site) *client { return s.client(t) },
			func(c *client) *http.Response { r, _ := c.ask("POST", "/login", form("nobody", "guessed")); return r },
		},
		"requests": {
			"-requests", func(s *site) *client { return s.client(t).logIn("ada") },
			func(c *client) *http.Response { r, _ := c.ask("GET", "/notes", ""); return r },
		},
		"addresses": {
			"-addresses", func(s *site) *client { return s.client(t) },
			func(c *client) *http.Response { r, _ := c.ask("GET", "/", ""); return r },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, environOf(t, env), people("ada", "bob"), append(plenty[:len(plenty):len(plenty)], "-patience", "2m", tc.flag, "5/24h")...)
			c := tc.before(s)
			for n := 1; ; n++ {
				resp := tc.ask(c)
				if resp.StatusCode != http.StatusTooManyRequests {
					if n > 5 {
						t.Fatalf("request %d is answered %d", n, resp.StatusCode)
					}
					continue
				}
				after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
				if n != 6 || err != nil || after < 4*3600 || after > 5*3600 {
					t.Errorf("request %d is refused for %q seconds", n, resp.Header.Get("Retry-After"))
				}
				return
			}
		})
	}
}
