package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/securecachetest"
)

func TestLogin(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada"), plenty...)
	var refusals []string
	for name, tc := range map[string]struct {
		body   string
		status int
	}{
		"a wrong password": {form("ada", "guessed"), http.StatusUnauthorized},
		"no such user":     {form("eve", secret), http.StatusUnauthorized},
		"no user":          {form("", secret), http.StatusBadRequest},
		"no JSON":          {"user=ada", http.StatusBadRequest},
		"too long":         {form("ada", strings.Repeat("x", 8<<10)), http.StatusBadRequest},
	} {
		c := s.client(t)
		text := c.wants(tc.status, "POST", "/login", tc.body)
		if tc.status == http.StatusUnauthorized {
			refusals = append(refusals, text)
		}
		if c.cookie() != "" {
			t.Errorf("%s: a cookie", name)
		}
		c.wants(http.StatusUnauthorized, "GET", "/notes", "")
	}
	if refusals[0] != refusals[1] {
		t.Errorf("it can be told whether there is a user: %q", refusals)
	}
	resp, _ := s.client(t).ask("POST", "/login", form("ada", secret))
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusNoContent || len(cookies) != 1 {
		t.Fatalf("%d, cookies %v", resp.StatusCode, cookies)
	}
	c := cookies[0]
	if c.Name != "__Host-session" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("the cookie is %v", c)
	}
	if resp.Header.Get("Cache-Control") == "" || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("headers %v", resp.Header)
	}
}

// TestFixation has a browser log in that holds a cookie which somebody else
// knows: a made-up one, and that of an older session.
func TestFixation(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada", "eve"), plenty...)
	planted := s.client(t).logIn("eve").cookie()
	for name, value := range map[string]string{"made up": strings.Repeat("A", len(planted)), "another's": planted} {
		ada := s.client(t).plant(value).logIn("ada")
		if ada.cookie() == value {
			t.Errorf("%s: the cookie was kept", name)
		}
		s.client(t).plant(value).wants(http.StatusUnauthorized, "GET", "/notes", "")
		first := ada.cookie()
		ada.logIn("ada")
		if ada.cookie() == first {
			t.Errorf("%s: a second login has kept the cookie", name)
		}
		s.client(t).plant(first).wants(http.StatusUnauthorized, "GET", "/notes", "")
		ada.wants(http.StatusOK, "GET", "/notes", "")
	}
}

func TestLogout(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada"), plenty...)
	ada, other := s.client(t).logIn("ada"), s.client(t).logIn("ada")
	was := ada.cookie()
	for range 2 { // a logout may be repeated
		ada.wants(http.StatusNoContent, "POST", "/logout", "")
	}
	if ada.cookie() != "" {
		t.Error("the cookie was left")
	}
	s.client(t).plant(was).wants(http.StatusUnauthorized, "GET", "/notes", "")
	s.client(t).plant(was).wants(http.StatusNoContent, "POST", "/logout", "")
	other.wants(http.StatusOK, "GET", "/notes", "")
	for _, path := range []string{"/sessions", "/notes"} {
		ada.wants(http.StatusUnauthorized, "GET", path, "")
	}
}

func TestLogoutEverywhere(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada", "bob"), plenty...)
	bob := s.client(t).logIn("bob")
	var devices []*client
	for range 3 {
		devices = append(devices, s.client(t).logIn("ada"))
	}
	ofAda, ofBob := s.program(t, devices[0].token()), s.program(t, bob.token())
	ofAda.wants(http.StatusOK, "GET", "/notes", "")
	devices[1].wants(http.StatusNoContent, "POST", "/logout/everywhere", "")
	for _, c := range append(devices, ofAda) {
		c.wants(http.StatusUnauthorized, "GET", "/notes", "")
	}
	bob.wants(http.StatusOK, "GET", "/notes", "")
	ofBob.wants(http.StatusOK, "GET", "/notes", "")
	devices[1].wants(http.StatusUnauthorized, "POST", "/logout/everywhere", "")
	s.client(t).logIn("ada").wants(http.StatusOK, "GET", "/notes", "")
}

func TestSessions(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada", "eve"), plenty...)
	laptop, phone, eve := s.client(t).logIn("ada"), s.client(t).logIn("ada"), s.client(t).logIn("eve")
	var list []sessionView
	ok(t, json.Unmarshal([]byte(laptop.wants(http.StatusOK, "GET", "/sessions", "")), &list))
	if len(list) != 2 || list[0].Current == list[1].Current || !strings.HasPrefix(list[0].Agent, "Go-http-client") {
		t.Fatalf("%+v", list)
	}
	other := list[0].ID
	if list[0].Current {
		other = list[1].ID
	}
	eve.wants(http.StatusNoContent, "DELETE", "/sessions/"+other, "") // which is none of hers
	phone.wants(http.StatusOK, "GET", "/notes", "")
	for range 2 {
		laptop.wants(http.StatusNoContent, "DELETE", "/sessions/"+other, "")
	}
	phone.wants(http.StatusUnauthorized, "GET", "/notes", "")
	laptop.wants(http.StatusOK, "GET", "/notes", "")
}

func TestAnotherSitesPage(t *testing.T) {
	s := begin(t, environOf(t, securecachetest.Start(t)), people("ada"), plenty...)
	ada := s.client(t).logIn("ada")
	for name, header := range map[string]http.Header{
		"by Sec-Fetch-Site": {"Sec-Fetch-Site": {"cross-site"}},
		"by Origin":         {"Origin": {"https://example.org"}},
	} {
		r := ada.request("POST", "/logout/everywhere", nil)
		for field, values := range header {
			r.Header[field] = values
		}
		if resp, _ := ada.do(r); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	ada.wants(http.StatusOK, "GET", "/notes", "")
}

// TestNothingIsLogged looks for what the requests were made of.
func TestNothingIsLogged(t *testing.T) {
	t.Parallel()
	env := securecachetest.Start(t)
	getenv := environOf(t, env)
	s := begin(t, getenv, people("ada-the-user"), plenty...)
	ada := s.client(t).logIn("ada-the-user")
	bearer, cookie := ada.token(), ada.cookie()
	ada.wants(http.StatusOK, "POST", "/notes", "a private note")
	s.program(t, bearer).wants(http.StatusOK, "GET", "/notes", "")
	s.program(t, bearer+"x").wants(http.StatusUnauthorized, "GET", "/notes", "")
	ok(t, env.Server.Stop())
	ada.wants(http.StatusServiceUnavailable, "GET", "/notes", "")
	s.client(t).wants(http.StatusServiceUnavailable, "POST", "/login", form("ada-the-user", secret))
	text := s.log.String()
	if !strings.Contains(text, `"pattern":"POST /notes","status":200`) || !strings.Contains(text, "no answer") {
		t.Errorf("the log says\n%s", text)
	}
	_, password, _ := strings.Cut(strings.TrimPrefix(getenv("REDIS_URL"), "rediss://"), ":")
	password, _, _ = strings.Cut(password, "@")
	for name, word := range map[string]string{
		"name": "ada-the-user", "password": secret, "cookie": cookie, "token": bearer, "note": "private", "Redis' password": password,
	} {
		if strings.Contains(text, word) {
			t.Errorf("the %s is in the log:\n%s", name, text)
		}
	}
}
