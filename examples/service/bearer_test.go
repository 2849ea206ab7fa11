package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server/servertest"
	"github.com/securecache/securecache-go/securecachetest"
)

func TestBearer(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada"), plenty...)
	ada := s.client(t).logIn("ada")
	first, second := ada.token(), ada.token()
	program := s.program(t, first)
	program.wants(http.StatusOK, "POST", "/notes", "by program")
	if got := ada.wants(http.StatusOK, "GET", "/notes", ""); !strings.Contains(got, "by program") {
		t.Errorf("its user sees %s", got)
	}
	for _, path := range []string{"/tokens", "/logout/everywhere"} { // a session's alone
		program.wants(http.StatusUnauthorized, "POST", path, "")
	}
	for name, text := range map[string]string{
		"none": " ", "garbage": "garbage", "a letter changed": flip(first), "cut off": first[:len(first)-2],
		"a cookie": ada.cookie(), "endless": strings.Repeat("A", 8<<10),
	} {
		resp, _ := s.program(t, text).ask("GET", "/notes", "")
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	s.client(t).plant(first).wants(http.StatusUnauthorized, "GET", "/notes", "")
	for range 2 {
		program.wants(http.StatusNoContent, "DELETE", "/tokens", "")
	}
	program.wants(http.StatusUnauthorized, "GET", "/notes", "")
	s.program(t, second).wants(http.StatusOK, "GET", "/notes", "")
	if n := s.backend.cache.Stats().Refused; n != 0 {
		t.Errorf("what clients made up counts as %d records that were tampered with", n)
	}
}

// flip changes a letter in the middle.
func flip(text string) string {
	b := []byte(text)
	b[len(b)/2] ^= 1
	return string(b)
}

// TestBearerOfASessionThatIsEnded issues a token when its session has been ended
// everywhere, as a request does that began before.
func TestBearerOfASessionThatIsEnded(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada"), plenty...)
	b, err := newBearers(s.backend, 20*time.Second)
	ok(t, err)
	ada := s.client(t).logIn("ada")
	var list []sessionView
	ok(t, json.Unmarshal([]byte(ada.wants(http.StatusOK, "GET", "/sessions", "")), &list))
	ada.wants(http.StatusNoContent, "POST", "/logout/everywhere", "")
	late, _, err := b.issue("user/ada", list[0].Created)
	ok(t, err)
	s.program(t, late).wants(http.StatusUnauthorized, "GET", "/notes", "")
	anew, _, err := b.issue("user/ada", time.Now().Add(time.Second))
	ok(t, err)
	s.program(t, anew).wants(http.StatusOK, "GET", "/notes", "")
}

// TestBearerEnds looks at a token when its time is over.
func TestBearerEnds(t *testing.T) {
	t.Parallel()
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada"), plenty...)
	b, err := newBearers(s.backend, time.Second)
	ok(t, err)
	b.now = func() time.Time { return time.Now().Add(50*time.Millisecond - bearerLife) }
	text, _, err := b.issue("user/ada", time.Now())
	ok(t, err)
	servertest.Eventually(t, "it ends", func() bool {
		_, err := b.check(t.Context(), text)
		return errors.Is(err, errLogin)
	})
}
