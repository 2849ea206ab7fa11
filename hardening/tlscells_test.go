package hardening_test

import (
	"crypto/fips140"
	"crypto/tls"
	"net"
	"net/url"
	"os"
	"strconv"

	"github.com/securecache/securecache-go/internal/server"
)

func (r *rig) bundle() string {
	r.Helper()
	one, _ := os.ReadFile(r.dir + "/ca.pem")
	two, _ := os.ReadFile(r.dir + "/other-ca.pem")
	write(r.T, r.dir+"/bundle.pem", append(one, two...), 0o600)
	return "bundle.pem"
}

func rollOverServer(r *rig) error {
	f := files(r.dir)
	config := r.client(f, "")
	text, _ := os.ReadFile(r.dir + "/" + r.bundle())
	write(r.T, f.CA, text, 0o600) // underneath the configuration
	r.trust("other-ca-server", "bundle.pem")
	return r.ping(config)
}

func rollOverClient(r *rig) error {
	r.trust("good-server", r.bundle())
	return sends("other-ca")(r)
}

// rotates spoils the client's files underneath a configuration.
func rotates(spoil func(dir string) error) cell {
	return func(r *rig) error {
		config := r.client(files(r.dir), "")
		if err := spoil(r.dir); err != nil {
			r.Fatal(err)
		}
		return r.ping(config)
	}
}

func halve(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text[:len(text)/2], 0o600)
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

func serverMismatch(r *rig) error {
	err := r.set("tls-cert-file", r.dir+"/good-server.pem", "tls-key-file", r.dir+"/ip-only-server-key.pem")
	if err == nil {
		r.Error("the server took a key that is another certificate's")
	}
	return r.ping(r.client(files(r.dir), "localhost"))
}

// resumeServer revokes the server's certificate between two connections that
// share a cache of sessions.
func resumeServer(r *rig) error {
	f := files(r.dir)
	f.CRL = r.dir + "/earlier-crl.pem"
	r.trust("revoked-server", "ca.pem")
	config := r.client(f, "localhost")
	resumed := resume(r, config)
	if err := copyFile(r.dir+"/crl.pem", f.CRL); err != nil {
		r.Fatal(err)
	}
	err := pingAt(r.T, r.server.URL(), config)
	if !*resumed {
		r.Error("the session was not resumed")
	}
	return err
}

// resume pings until a session is resumed, which the returned variable then
// says of each further one.
func resume(r *rig, config *tls.Config) *bool {
	r.Helper()
	resumed := new(bool)
	base, cache := config.GetConfigForClient, tls.NewLRUClientSessionCache(1)
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := base(h)
		now.ClientSessionCache = cache
		verify := now.VerifyConnection
		now.VerifyConnection = func(s tls.ConnectionState) error {
			*resumed = s.DidResume
			return verify(s)
		}
		return now, err
	}
	for range 2 {
		if err := pingAt(r.T, r.server.URL(), config); err != nil {
			r.Fatal(err)
		}
	}
	if !*resumed {
		r.Fatal("the second connection was not resumed")
	}
	return resumed
}

// resumeClient takes the client's authority from the server between two
// connections that share a cache of sessions: the only revocation it knows.
func resumeClient(r *rig) error {
	r.trust("good-server", r.bundle())
	f := files(r.dir)
	f.Cert, f.Key = r.dir+"/other-ca-client.pem", r.dir+"/other-ca-client-key.pem"
	config := r.client(f, "localhost")
	resume(r, config)
	r.trust("good-server", "ca.pem")
	return pingAt(r.T, r.server.URL(), config)
}

func serverTLS11(r *rig) error {
	addr := listen(r.T, r.dir, "good-server", tls.VersionTLS11, nil)
	return pingAt(r.T, "rediss://"+addr, r.client(files(r.dir), ""))
}

func clientTLS11(r *rig) error {
	if fips140.Enforced() {
		r.Skip("Go has no TLS 1.1 under GODEBUG=fips140=only")
	}
	config := r.client(files(r.dir), "")
	config.MinVersion, config.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	return r.ping(config)
}

func serverCBC(r *rig) error {
	if r.version == tls.VersionTLS13 { // which has none
		return r.ping(r.client(files(r.dir), ""))
	}
	defer func() {
		if err := r.set("tls-ciphers", "DEFAULT"); err != nil {
			r.Error(err)
		}
	}()
	if err := r.set("tls-ciphers", "ECDHE-ECDSA-AES128-SHA256"); err != nil {
		r.Fatal(err)
	}
	return r.ping(r.client(files(r.dir), ""))
}

func plaintext(r *rig) error {
	port, err := server.FreePort()
	if err != nil {
		r.Fatal(err)
	}
	if err := r.set("port", port); err != nil {
		r.Fatal(err)
	}
	defer func() {
		if err := r.set("port", 0); err != nil {
			r.Error(err)
		}
	}()
	u, _ := url.Parse(r.server.URL())
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return pingAt(r.T, u.String(), r.client(files(r.dir), ""))
}

const (
	tableBegins = "<!-- The table is written by make matrix. -->\n"
	tableEnds   = "<!-- Here it ends. -->\n"
)
