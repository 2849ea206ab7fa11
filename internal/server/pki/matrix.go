package pki

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net"
	"time"
)

// Host is the name that the matrix' wildcard certificate covers, and WrongHost
// the one that its certificates for another host hold.
const (
	Host      = "cache.securecache.test"
	WrongHost = "elsewhere.securecache.test"
)

// row is one kind of certificate, issued for a server and for a client.
type row struct {
	name   string
	change func(*Request)
	issue  func(Request) (Pair, error)
	server bool // makes sense for a server alone
}

// Matrix makes the good certificates and those that must be refused, as a map
// from file name to PEM text. Every <row>-server and <row>-client has a .pem
// and a -key.pem; ca.pem, other-ca.pem and intermediate-ca.pem are the
// authorities. crl.pem has the lists of ca and intermediate-ca with the revoked
// rows on it, expired-crl.pem the same as they ended an hour ago, and
// earlier-crl.pem those from before anything was revoked. Each is fresh, and valid relative to now. The rows of 1024 bit RSA
// are left out where Go makes no such keys (GODEBUG=fips140=only).
func Matrix() (map[string][]byte, error) {
	ca, err := New("securecache test CA")
	if err != nil {
		return nil, err
	}
	other, err := New("securecache other test CA")
	if err != nil {
		return nil, err
	}
	sub, err := ca.Sub("securecache test intermediate CA")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"ca.pem": ca.PEM(), "other-ca.pem": other.PEM(), "intermediate-ca.pem": sub.PEM()}
	for _, r := range rows(ca, other, sub) {
		if err := r.add(files); err != nil {
			return nil, err
		}
	}
	return files, addLists(files, ca, sub)
}

func addLists(files map[string][]byte, authorities ...*CA) error {
	end := time.Now().Add(Lifetime)
	revoked := []Pair{{Cert: files["revoked-server.pem"]}, {Cert: files["revoked-client.pem"]}}
	for _, ca := range authorities {
		for _, l := range []struct {
			name  string
			end   time.Time
			pairs []Pair
		}{{"crl.pem", end, revoked}, {"expired-crl.pem", time.Now().Add(-time.Hour), revoked}, {"earlier-crl.pem", end.Add(-time.Hour), nil}} {
			list, err := ca.Revoke(l.end, l.pairs...)
			if err != nil {
				return err
			}
			files[l.name] = append(files[l.name], list...)
		}
	}
	return nil
}

func rows(ca, other, sub *CA) []row {
	day := 24 * time.Hour
	now := time.Now()
	list := []row{
		{name: "good", issue: ca.Issue},
		{name: "expired", issue: ca.Issue, change: func(r *Request) { r.NotBefore, r.NotAfter = now.Add(-2*day), now.Add(-day) }},
		{name: "not-yet-valid", issue: ca.Issue, change: func(r *Request) { r.NotBefore = now.Add(day) }},
		{name: "revoked", issue: ca.Issue},
		{name: "other-ca", issue: other.Issue},
		{name: "self-signed", issue: SelfSigned},
		{name: "wrong-usage", issue: ca.Issue, change: swapUsage},
		{name: "intermediate", issue: sub.Issue},
		{name: "missing-intermediate", issue: func(r Request) (Pair, error) {
			p, err := sub.Issue(r)
			if err != nil {
				return Pair{}, err
			}
			return p.Leaf(), nil
		}},
		{name: "cn-only", issue: ca.Issue, server: true, change: func(r *Request) { r.CommonName, r.DNSNames, r.IPs = "localhost", nil, nil }},
		{name: "wildcard", issue: ca.Issue, server: true, change: func(r *Request) { r.DNSNames, r.IPs = []string{"*.securecache.test"}, nil }},
		{name: "ip-only", issue: ca.Issue, server: true, change: func(r *Request) { r.DNSNames, r.IPs = nil, []net.IP{net.IPv4(127, 0, 0, 1)} }},
		{name: "wrong-host", issue: ca.Issue, server: true, change: func(r *Request) { r.DNSNames, r.IPs = []string{WrongHost}, nil }},
	}
	if weak, err := rsa.GenerateKey(rand.Reader, 1024); err == nil {
		list = append(list, row{name: "rsa-1024", issue: ca.Issue, change: func(r *Request) { r.Key = weak }})
	}
	return list
}

// swapUsage makes a server's certificate a client's and the other way round.
func swapUsage(r *Request) {
	if len(r.DNSNames) > 0 {
		r.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	} else {
		r.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
}

func (r row) add(files map[string][]byte) error {
	server := Server()
	server.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} // a matrix server is no cluster node
	requests := map[string]Request{"server": server}
	if !r.server {
		requests["client"] = Client("securecache test client")
	}
	for side, request := range requests {
		if r.change != nil {
			r.change(&request)
		}
		p, err := r.issue(request)
		if err != nil {
			return err
		}
		files[r.name+"-"+side+".pem"], files[r.name+"-"+side+"-key.pem"] = p.Cert, p.Key
	}
	return nil
}
