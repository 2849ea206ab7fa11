package server

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/securecache/securecache-go/hardening"
	"github.com/securecache/securecache-go/internal/server/pki"
)

// The files of a server's directory.
const (
	caFile         = "ca.pem"
	serverCertFile = "server.pem"
	serverKeyFile  = "server-key.pem"
	clientCertFile = "client.pem"
	clientKeyFile  = "client-key.pem"
	aclFile        = "users.acl"
	confFile       = "server.conf"
	logFile        = "server.log"
)

// user is a login with a random password.
type user struct{ name, password string }

func newUser(name string) user { return user{name: name, password: rand.Text()} }

// hash returns the password in the form that an ACL file holds.
func (u user) hash() string {
	sum := sha256.Sum256([]byte(u.password))
	return hex.EncodeToString(sum[:])
}

// estate is what the servers of one installation share: an authority, one
// certificate for servers and one for clients, and the users.
type estate struct {
	options                                 Options
	ca                                      *pki.CA
	serverPair, clientPair                  pki.Pair
	client                                  *tls.Config
	app, operator, admin, replica, sentinel user
}

func newEstate(o Options) (*estate, error) {
	if o.Namespace == "" {
		o.Namespace = "dev"
	}
	for _, line := range o.Config {
		if strings.ContainsAny(line, "\r\n\x00") {
			return nil, errors.New("server: a line of configuration is one line")
		}
	}
	e := &estate{
		options: o,
		app:     newUser("app"), operator: newUser("operator"), admin: newUser("admin"),
		replica: newUser("replica"), sentinel: newUser("sentinel"),
	}
	return e, e.certify()
}

func (e *estate) certify() (err error) {
	if e.ca, err = pki.New("securecache throw-away CA"); err != nil {
		return err
	}
	if e.serverPair, err = e.ca.Issue(pki.Server()); err != nil {
		return err
	}
	if e.clientPair, err = e.ca.Issue(pki.Client("securecache client")); err != nil {
		return err
	}
	certificate, err := e.clientPair.TLS()
	if err != nil {
		return err
	}
	e.client = &tls.Config{
		MinVersion:   tls.VersionTLS12,
		RootCAs:      e.ca.Pool(),
		Certificates: []tls.Certificate{certificate},
	}
	return nil
}

// acl renders the users of a server of the given version and role.
func (e *estate) acl(version string, r role) (string, error) {
	lines := []string{
		// Off, so nobody logs in as it, but not without rights: it is as this user
		// that a server replays what a script has written from its append-only
		// file, and what the user may not do is dropped (redis#14541, valkey#3983).
		"user default reset off ~* &* +@all",
		"user " + e.admin.name + " reset on #" + e.admin.hash() + " ~* &* +@all",
	}
	if r == sentinelNode {
		lines = append(lines, e.sentinelUsers()...)
		return strings.Join(lines, "\n") + "\n", nil
	}
	profile := hardening.Profile{
		User: e.app.name, PasswordSHA256: e.app.hash(),
		Prefix: e.options.Prefix, Namespace: e.options.Namespace, Version: version,
		Cluster: r == clusterNode, NoScriptLoad: e.options.NoScriptLoad, Commands: e.options.Commands,
	}
	app, err := hardening.ACL(profile)
	if err != nil {
		return "", err
	}
	profile.Role, profile.User, profile.PasswordSHA256 = hardening.Operator, e.operator.name, e.operator.hash()
	operator, err := hardening.ACL(profile)
	if err != nil {
		return "", err
	}
	lines = append(lines, app, operator,
		"user "+e.replica.name+" reset on #"+e.replica.hash()+" -@all +psync +replconf +ping")
	if r == watchedNode {
		lines = append(lines, e.watchingUser())
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// write lays out a server's directory.
func (e *estate) write(dir, version string, r role) error {
	acl, err := e.acl(version, r)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		caFile:         e.ca.PEM(),
		serverCertFile: e.serverPair.Cert, serverKeyFile: e.serverPair.Key,
		clientCertFile: e.clientPair.Cert, clientKeyFile: e.clientPair.Key,
		aclFile: []byte(acl),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return fmt.Errorf("server: %w", err)
		}
	}
	return nil
}
