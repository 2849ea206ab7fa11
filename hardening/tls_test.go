package hardening_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/handshake"
	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server/pki"
)

func ExampleClientTLS() {
	config, err := hardening.ClientTLS(hardening.Files{
		CA: "/etc/securecache/ca.pem", Cert: "/etc/securecache/client.pem", Key: "/etc/securecache/client-key.pem",
	}, "redis.internal.example")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = redis.NewClient(&redis.Options{Addr: "10.1.2.3:6379", TLSConfig: config, ContextTimeoutEnabled: true})
	// Output: hardening: CA file: open /etc/securecache/ca.pem: no such file or directory
}

var matrix = sync.OnceValues(pki.Matrix)

// certs writes the matrix into a directory of the test's own.
func certs(t *testing.T) string {
	t.Helper()
	files, err := matrix()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text, 0o600)
	}
	return dir
}

func write(t *testing.T, path string, text []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, text, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask may have taken bits away
		t.Fatal(err)
	}
}

// files are the good client's.
func files(dir string) hardening.Files {
	return hardening.Files{CA: dir + "/ca.pem", Cert: dir + "/good-client.pem", Key: dir + "/good-client-key.pem"}
}

func TestClientTLSRefusesFiles(t *testing.T) {
	tests := map[string]struct {
		spoil func(t *testing.T, dir string, f *hardening.Files)
		want  string
	}{
		"good":                {func(*testing.T, string, *hardening.Files) {}, ""},
		"intermediate":        {func(_ *testing.T, dir string, f *hardening.Files) { useClient(dir, f, "intermediate") }, ""},
		"no CA named":         {func(_ *testing.T, _ string, f *hardening.Files) { f.CA = "" }, "no CA file given"},
		"no certificate":      {func(_ *testing.T, _ string, f *hardening.Files) { f.Cert = "" }, "no client certificate file given"},
		"no key":              {func(_ *testing.T, _ string, f *hardening.Files) { f.Key = "" }, "no private key file given"},
		"CA missing":          {func(t *testing.T, _ string, f *hardening.Files) { _ = os.Remove(f.CA) }, "CA file: open"},
		"certificate missing": {func(t *testing.T, _ string, f *hardening.Files) { _ = os.Remove(f.Cert) }, "client certificate file: open"},
		"key missing":         {func(t *testing.T, _ string, f *hardening.Files) { _ = os.Remove(f.Key) }, "private key file: open"},
		"empty CA":            {func(t *testing.T, _ string, f *hardening.Files) { write(t, f.CA, nil, 0o600) }, "holds no certificate"},
		"CA is no PEM":        {func(t *testing.T, _ string, f *hardening.Files) { write(t, f.CA, []byte("hello"), 0o600) }, "must be PEM"},
		"CA is a key":         {func(_ *testing.T, _ string, f *hardening.Files) { f.CA = f.Key }, "holds no certificate"},
		"CA is a leaf":        {func(_ *testing.T, _ string, f *hardening.Files) { f.CA = f.Cert }, "no authority's"},
		"CA is rubbish in PEM": {func(t *testing.T, _ string, f *hardening.Files) {
			write(t, f.CA, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600)
		}, "CA file"},
		"certificate is a directory": {func(_ *testing.T, dir string, f *hardening.Files) { f.Cert = dir }, "client certificate file"},
		"mismatch":                   {func(_ *testing.T, dir string, f *hardening.Files) { f.Key = dir + "/intermediate-client-key.pem" }, "does not match"},
		"expired":                    {func(_ *testing.T, dir string, f *hardening.Files) { useClient(dir, f, "expired") }, "expired on"},
		"not yet valid":              {func(_ *testing.T, dir string, f *hardening.Files) { useClient(dir, f, "not-yet-valid") }, "check this machine's clock"},
		"wrong usage":                {func(_ *testing.T, dir string, f *hardening.Files) { useClient(dir, f, "wrong-usage") }, "clientAuth"},
		"key for the group":          {func(t *testing.T, _ string, f *hardening.Files) { chmod(t, f.Key, 0o640) }, "chmod 600"},
		"key for the world":          {func(t *testing.T, _ string, f *hardening.Files) { chmod(t, f.Key, 0o604) }, "mode 0604"},
		"key for writers":            {func(t *testing.T, _ string, f *hardening.Files) { chmod(t, f.Key, 0o620) }, "mode 0620"},
		"key for the group behind a link": {func(t *testing.T, dir string, f *hardening.Files) {
			chmod(t, f.Key, 0o640)
			link := dir + "/link.pem"
			if err := os.Symlink(f.Key, link); err != nil {
				t.Fatal(err)
			}
			f.Key = link
		}, "mode 0640"},
		"encrypted key": {func(t *testing.T, _ string, f *hardening.Files) {
			write(t, f.Key, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), 0o600)
		}, "is encrypted"},
		"key is a certificate": {func(t *testing.T, _ string, f *hardening.Files) {
			text, _ := os.ReadFile(f.Cert)
			write(t, f.Key, text, 0o600)
		}, "issued together"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := certs(t)
			f := files(dir)
			tt.spoil(t, dir, &f)
			secret, _ := os.ReadFile(dir + "/good-client-key.pem")
			config, err := hardening.ClientTLS(f, "")
			if tt.want == "" {
				if err != nil || config.InsecureSkipVerify || config.RootCAs == nil || config.MinVersion < tls.VersionTLS12 {
					t.Fatalf("%+v, %v", config, err)
				}
				return
			}
			if err == nil || config != nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), "hardening: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q, want %q in it", err, tt.want)
			}
			for line := range strings.Lines(string(secret)) {
				if strings.Contains(err.Error(), strings.TrimSpace(line)) {
					t.Errorf("%q quotes the key", err)
				}
			}
		})
	}
}

func useClient(dir string, f *hardening.Files, row string) {
	f.Cert, f.Key = dir+"/"+row+"-client.pem", dir+"/"+row+"-client-key.pem"
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestCABundleMayHoldAnOldAuthority is the roll-over: the new authority beside
// the one that has ended.
func TestCABundleMayHoldAnOldAuthority(t *testing.T) {
	dir := certs(t)
	f := files(dir)
	one, _ := os.ReadFile(dir + "/other-ca.pem")
	two, _ := os.ReadFile(f.CA)
	write(t, f.CA, append(one, two...), 0o600)
	config, err := hardening.ClientTLS(f, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"good", "other-ca"} {
		addr := listen(t, dir, row+"-server", tls.VersionTLS13, nil)
		if err := meet(t, addr, config); err != nil {
			t.Errorf("%s: %v", row, err)
		}
	}
}

func TestOtherNamesAndVersionsAreRefused(t *testing.T) {
	dir := certs(t)
	for name, serverName := range map[string]string{"another host": "elsewhere.example", "another address": "127.0.0.2"} {
		config, err := hardening.ClientTLS(files(dir), serverName)
		if err != nil {
			t.Fatal(err)
		}
		if err := meet(t, listen(t, dir, "good-server", tls.VersionTLS13, nil), config); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	config, err := hardening.ClientTLS(files(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := meet(t, listen(t, dir, "good-server", tls.VersionTLS11, nil), config); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
}

// TestResumedSessionsAreVerified resumes a session, and then with a clock past
// the certificates' end, with another authority and under another name.
func TestResumedSessionsAreVerified(t *testing.T) {
	dir := certs(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			addr := listen(t, dir, "good-server", version, nil)
			config, err := hardening.ClientTLS(files(dir), "localhost")
			if err != nil {
				t.Fatal(err)
			}
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			verify := config.VerifyConnection
			var resumed bool
			config.VerifyConnection = func(s tls.ConnectionState) error {
				resumed = s.DidResume
				return verify(s)
			}
			for range 2 {
				if err := meet(t, addr, config); err != nil {
					t.Fatal(err)
				}
			}
			if !resumed {
				t.Fatal("the second connection did not resume")
			}
			state := resumedState(t, addr, config)
			other := files(dir)
			other.CA = dir + "/other-ca.pem"
			for name, spoil := range map[string]func() (*tls.Config, error){
				"after its end": func() (*tls.Config, error) {
					c, err := hardening.ClientTLS(files(dir), "localhost")
					c.Time = func() time.Time { return time.Now().Add(2 * pki.Lifetime) }
					return c, err
				},
				"another authority": func() (*tls.Config, error) { return hardening.ClientTLS(other, "localhost") },
				"another name":      func() (*tls.Config, error) { return hardening.ClientTLS(files(dir), "elsewhere.example") },
			} {
				c, err := spoil()
				if err != nil {
					t.Fatal(err)
				}
				if err := c.VerifyConnection(state); handshake.Explain(err) == nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := config.VerifyConnection(tls.ConnectionState{}); err == nil {
				t.Error("a server without a certificate was accepted")
			}
		})
	}
}

// resumedState returns the state of one more resumed connection.
func resumedState(t *testing.T, addr string, config *tls.Config) (state tls.ConnectionState) {
	t.Helper()
	c := config.Clone()
	c.VerifyConnection = func(s tls.ConnectionState) error {
		state = s
		return nil
	}
	if err := meet(t, addr, c); err != nil {
		t.Fatal(err)
	}
	if !state.DidResume {
		t.Fatal("the connection did not resume")
	}
	return state
}

// TestWeakSuitesAreNotOffered meets a server that has only suites without AEAD.
func TestWeakSuitesAreNotOffered(t *testing.T) {
	dir := certs(t)
	config, err := hardening.ClientTLS(files(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, dir, "good-server", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA})
	if err := meet(t, addr, config); err == nil || !strings.Contains(err.Error(), "handshake failure") {
		t.Errorf("a CBC suite: %v", err)
	}
}

// listen runs a server that asks for a client certificate and answers every
// connection with one line. It speaks one version of TLS.
func listen(t *testing.T, dir, pair string, version uint16, suites []uint16) string {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(dir+"/"+pair+".pem", dir+"/"+pair+"-key.pem")
	if err != nil {
		t.Fatal(err)
	}
	authorities, _ := os.ReadFile(dir + "/ca.pem")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authorities)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: version, MaxVersion: version, CipherSuites: suites,
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			_, _ = conn.Write([]byte("hello\n"))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// meet connects and reads: in TLS 1.3 a client certificate's refusal, and
// the session ticket, come with the first read.
func meet(t *testing.T, addr string, config *tls.Config) error {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	line := make([]byte, 6)
	if _, err := io.ReadFull(conn, line); err != nil {
		return err
	}
	if !bytes.Equal(line, []byte("hello\n")) {
		return fmt.Errorf("read %q", line)
	}
	return nil
}
