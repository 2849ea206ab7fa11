package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"time"
)

// tour serves on a free port, under a certificate of the moment, and is its own
// client.
func tour(ctx context.Context, b *backend, c config, log *slog.Logger, out io.Writer) error {
	password := rand.Text()
	h, err := newService(b, newUsers(map[string]string{"ada": hashPassword(password)}), c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	pair, roots, err := certificateOfTheMoment()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := newServer(h)
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	ctx, stop := context.WithCancel(ctx)
	walked := make(chan error, 1)
	go func() {
		defer stop()
		walked <- walk(ctx, "https://"+listener.Addr().String(), roots, password, out)
	}()
	err = serveUntil(ctx, server, func() error { return server.ServeTLS(listener, "", "") })
	return errors.Join(<-walked, err)
}

// browser is a client with cookies of its own.
type browser struct {
	base string
	http *http.Client
	out  io.Writer
}

func newBrowser(base string, roots *x509.CertPool, out io.Writer) *browser {
	jar, _ := cookiejar.New(nil) // never fails
	return &browser{base, &http.Client{Jar: jar, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ForceAttemptHTTP2: true,
	}}, out}
}

// ask prints what is asked and answered, without the secrets.
func (b *browser) ask(ctx context.Context, what, method, path, body, bearer string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, b.base+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	fmt.Fprintf(b.out, "%-6s %-20s %-34s %s\n", method, path, what, resp.Status)
	return string(text), err
}

func walk(ctx context.Context, base string, roots *x509.CertPool, password string, out io.Writer) error {
	laptop, phone := newBrowser(base, roots, out), newBrowser(base, roots, out)
	defer laptop.http.CloseIdleConnections()
	defer phone.http.CloseIdleConnections()
	form := func(password string) string {
		text, _ := json.Marshal(map[string]string{"user": "ada", "password": password})
		return string(text)
	}
	var bearer struct{ Token string }
	for _, step := range []struct {
		by                       *browser
		what, method, path, body string
		token                    bool
	}{
		{laptop, "nobody yet", "GET", "/notes", "", false},
		{laptop, "a wrong password", "POST", "/login", form("guessed"), false},
		{laptop, "ada, on her laptop", "POST", "/login", form(password), false},
		{phone, "ada, on her phone", "POST", "/login", form(password), false},
		{laptop, "one change at a time", "POST", "/notes", "buy milk", false},
		{phone, "the phone sees it", "GET", "/notes", "", false},
		{laptop, "a token for a program", "POST", "/tokens", "", false},
		{phone, "the program, by its token", "GET", "/notes", "", true},
		{laptop, "the phone was stolen", "POST", "/logout/everywhere", "", false},
		{phone, "the phone, afterwards", "GET", "/notes", "", false},
		{phone, "the program, afterwards", "GET", "/notes", "", true},
	} {
		with := ""
		if step.token {
			with = bearer.Token
		}
		text, err := step.by.ask(ctx, step.what, step.method, step.path, step.body, with)
		if err != nil {
			return err
		}
		if step.path == "/tokens" {
			if err := json.Unmarshal([]byte(text), &bearer); err != nil {
				return err
			}
		}
	}
	return nil
}

// certificateOfTheMoment is for 127.0.0.1 and its own authority.
func certificateOfTheMoment() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots, nil
}
