package hardening_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
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

var update = flag.Bool("update", false, "write the table of docs/tls.md")

const accepted = "accepted"

// rig is a real server whose certificates a cell of the table sets.
type rig struct {
	*testing.T
	server *server.Server
	admin  *redis.Client // over a connection from before, which stays
	dir    string
	// version is the cell's.
	version uint16
}

// cell is one meeting. It returns what PING returned.
type cell func(*rig) error

// matrixRow is one row: what the client says of such a server, and the server
// of such a client. nil is for what does not exist.
type matrixRow struct {
	name           string
	server, client cell
}

var matrixRows = []matrixRow{
	{"good pair", shows("good", ""), sends("good")},
	{"no client certificate", nil, func(r *rig) error { return r.ping(r.clientWith(nil)) }},
	{"expired", shows("expired", ""), sends("expired")},
	{"not yet valid", shows("not-yet-valid", ""), sends("not-yet-valid")},
	{"other authority", shows("other-ca", ""), sends("other-ca")},
	{"self-signed", shows("self-signed", ""), sends("self-signed")},
	{"wrong extended key usage", shows("wrong-usage", ""), sends("wrong-usage")},
	{"RSA of 1024 bits", showsOnGo("rsa-1024"), sends("rsa-1024")},
	{"with its intermediate", shows("intermediate", ""), sends("intermediate")},
	{"missing intermediate", shows("missing-intermediate", ""), sends("missing-intermediate")},
	{"wrong host", shows("wrong-host", "localhost"), nil},
	{"IP address as alternative name", shows("ip-only", ""), nil},
	{"wildcard, name given", shows("wildcard", pki.Host), nil},
	{"wildcard, another name", shows("wildcard", "cache.example"), nil},
	{"common name only", shows("cn-only", "localhost"), nil},
	{"revoked, on the list", withList("revoked", "crl.pem"), sends("revoked")},
	{"good, beside a list", withList("good", "crl.pem"), nil},
	{"its intermediate, beside a list", withList("intermediate", "crl.pem"), nil},
	{"list of another authority", withList("good", "other-crl.pem"), nil},
	{"list that has ended", withList("good", "expired-crl.pem"), nil},
	{"roll-over: both authorities in the bundle", rollOverServer, rollOverClient},
	{"rotation: half-written certificate", nil, rotates(func(dir string) error { return halve(dir + "/good-client.pem") })},
	{"rotation: key of another certificate", serverMismatch, rotates(func(dir string) error {
		return copyFile(dir+"/intermediate-client-key.pem", dir+"/good-client-key.pem")
	})},
	{"rotation: symbolic link swapped", nil, rotates(func(dir string) error {
		return errors.Join(os.Symlink("intermediate-client.pem", dir+"/new"), os.Rename(dir+"/new", dir+"/good-client.pem"),
			os.Symlink("intermediate-client-key.pem", dir+"/new"), os.Rename(dir+"/new", dir+"/good-client-key.pem"))
	})},
	{"resumption after revocation", resumeServer, resumeClient},
	{"TLS 1.1 only", serverTLS11, clientTLS11},
	{"no cipher suite with AEAD", serverCBC, nil},
	{"plaintext port", plaintext, nil},
}

// TestMatrix fills the table of docs/tls.md on every real server and compares.
func TestMatrix(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/tls.md")
	if err != nil {
		t.Fatal(err)
	}
	want := parseTable(string(doc))
	seen := make(chan table, 2)
	t.Run("on", func(t *testing.T) {
		servertest.Each(t, func(t *testing.T, binary string) { seen <- observe(t, binary) })
	})
	close(seen)
	for got := range seen {
		for key, cause := range got {
			if *update {
				want[key] = cause
			} else if want[key] != cause {
				t.Errorf("%s: %q, and docs/tls.md has %q (make matrix writes it)", key, cause, want[key])
			}
		}
	}
	if *update {
		writeTable(t, string(doc), want)
	}
	if !*update && len(want) != 4*len(matrixRows) {
		t.Errorf("docs/tls.md has %d cells, the test %d rows", len(want), len(matrixRows))
	}
}

// table is from row, side and version to what happened.
type table map[string]string

func cellKey(row, side string, version uint16) string {
	return row + " | " + side + " | " + tls.VersionName(version)
}

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

func observe(t *testing.T, binary string) table {
	got := table{}
	s := servertest.Start(t, server.Options{Binary: binary})
	admin := connect(t, s.AdminOptions())
	for _, row := range matrixRows {
		for side, meet := range map[string]cell{"server": row.server, "client": row.client} {
			for _, version := range versions {
				key := cellKey(row.name, side, version)
				if meet == nil {
					got[key] = "–"
					continue
				}
				t.Run(key, func(t *testing.T) {
					r := &rig{T: t, server: s, admin: admin, dir: certs(t), version: version}
					got[key] = r.judge(meet)
				})
			}
		}
	}
	return got
}

// judge has the two meet, and holds what every refusal must: its type, and one
// connection only.
func (r *rig) judge(meet cell) string {
	r.Helper()
	r.trust("good-server", "ca.pem")
	err := meet(r)
	if err == nil {
		return accepted
	}
	var refusal *handshake.Error
	if !errors.As(err, &refusal) {
		r.Fatalf("not a typed error: %v", err)
	}
	if _, network := errors.AsType[net.Error](err); network {
		r.Errorf("%v: would be tried again", err)
	}
	return string(refusal.Cause)
}

// trust gives the server a pair and the authorities that it takes.
func (r *rig) trust(pair, ca string) {
	r.Helper()
	if err := r.set("tls-ca-cert-file", r.dir+"/"+ca, "tls-cert-file", r.dir+"/"+pair+".pem", "tls-key-file", r.dir+"/"+pair+"-key.pem"); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) set(pairs ...any) error {
	return r.admin.Do(r.Context(), append([]any{"CONFIG", "SET"}, pairs...)...).Err()
}

// client is a configuration from files of the rig's.
func (r *rig) client(f hardening.Files, name string) *tls.Config {
	r.Helper()
	config, err := hardening.ClientTLS(f, name)
	if err != nil {
		r.Fatal(err)
	}
	config.MinVersion, config.MaxVersion = r.version, r.version
	return config
}

// clientWith shows a certificate that ClientTLS would not load, nil for none.
func (r *rig) clientWith(pair *tls.Certificate) *tls.Config {
	config := r.client(files(r.dir), "")
	config.GetConfigForClient, config.GetClientCertificate = nil, nil
	if pair != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return config
}

// ping is what an application does, and counts the connections that it takes.
func (r *rig) ping(config *tls.Config) error {
	r.Helper()
	base, made := config.GetConfigForClient, 0
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		made++
		if base != nil {
			return base(h)
		}
		return nil, nil
	}
	err := pingAt(r.T, r.server.URL(), config)
	if made != 1 {
		r.Errorf("%d connections: %v", made, err)
	}
	return err
}

func pingAt(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	rdb, err := securecache.Connect(address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return rdb.Ping(ctx).Err()
}

// shows has the server show a row of the matrix of certificates.
func shows(row, name string) cell {
	return func(r *rig) error {
		r.trust(row+"-server", "ca.pem")
		return r.ping(r.client(files(r.dir), name))
	}
}

// showsOnGo does so where OpenSSL loads no such certificate: on a server in Go.
func showsOnGo(row string) cell {
	return func(r *rig) error {
		if _, err := os.Stat(r.dir + "/" + row + "-server.pem"); err != nil {
			r.Skip("Go makes no RSA keys of 1024 bits under GODEBUG=fips140=only")
		}
		addr := listen(r.T, r.dir, row+"-server", r.version, nil)
		return pingAt(r.T, "rediss://"+addr, r.client(files(r.dir), ""))
	}
}

// sends has the client show a row.
func sends(row string) cell {
	return func(r *rig) error {
		pair, err := tls.LoadX509KeyPair(r.dir+"/"+row+"-client.pem", r.dir+"/"+row+"-client-key.pem")
		if errors.Is(err, fs.ErrNotExist) {
			r.Skip("Go makes no RSA keys of 1024 bits under GODEBUG=fips140=only")
		}
		if err != nil {
			r.Fatal(err)
		}
		return r.ping(r.clientWith(&pair))
	}
}

// withList has the client look at a revocation list, which need not be current
// any more when the server is met.
func withList(row, list string) cell {
	return func(r *rig) error {
		r.trust(row+"-server", "ca.pem")
		f := files(r.dir)
		f.CRL = r.dir + "/" + list
		if list == "other-crl.pem" {
			other, err := pki.New("securecache other test CA")
			if err != nil {
				r.Fatal(err)
			}
			text, err := other.Revoke(time.Now().Add(time.Hour))
			if err != nil {
				r.Fatal(err)
			}
			write(r.T, f.CRL, text, 0o600)
		}
		config, err := hardening.ClientTLS(f, "")
		if err != nil { // an ended list is refused at once
			return err
		}
		config.MinVersion, config.MaxVersion = r.version, r.version
		return r.ping(config)
	}
}

func parseTable(doc string) table {
	out := table{}
	_, rest, _ := strings.Cut(doc, tableBegins)
	text, _, _ := strings.Cut(rest, tableEnds)
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[0]) == "" {
			continue
		}
		for i, key := range cellKeys(strings.TrimSpace(cells[0])) {
			out[key] = strings.TrimSpace(cells[i+1])
		}
	}
	return out
}

func cellKeys(row string) []string {
	return []string{
		cellKey(row, "server", tls.VersionTLS12), cellKey(row, "server", tls.VersionTLS13),
		cellKey(row, "client", tls.VersionTLS12), cellKey(row, "client", tls.VersionTLS13),
	}
}

func writeTable(t *testing.T, doc string, cells table) {
	t.Helper()
	var out strings.Builder
	out.WriteString("| | server, TLS 1.2 | server, TLS 1.3 | client, TLS 1.2 | client, TLS 1.3 |\n|---|---|---|---|---|\n")
	for _, row := range matrixRows {
		fmt.Fprintf(&out, "| %s |", row.name)
		for _, key := range cellKeys(row.name) {
			fmt.Fprintf(&out, " %s |", cells[key])
		}
		out.WriteString("\n")
	}
	before, rest, _ := strings.Cut(doc, tableBegins)
	_, after, _ := strings.Cut(rest, tableEnds)
	write(t, "../docs/tls.md", []byte(before+tableBegins+out.String()+tableEnds+after), 0o644)
}
