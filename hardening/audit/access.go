package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// userChecks look at who may do what.
var userChecks = []Check{
	{ID: "A1", Title: "the default user has no access without a password", Severity: Critical, needs: []source{fromUsers}, look: defaultNoPassword},
	{ID: "A2", Title: "the default user is off or limited", Severity: High, needs: []source{fromUsers}, look: defaultAlmighty},
	{ID: "A3", Title: "every other user has a password or a certificate", Severity: Critical, needs: []source{fromUsers, fromConfig}, look: noPassword},
	{ID: "A4", Title: "users are limited to their keys, channels and commands", Severity: High, needs: []source{fromUsers}, look: wideRules},
	{ID: "A5", Title: "applications have no power over scripts, settings or other tenants", Severity: High, needs: []source{fromUsers}, look: powerful},
	{ID: "A6", Title: "no user has everything but @dangerous", Severity: High, needs: []source{fromUsers}, look: allButDangerous},
	{ID: "A7", Title: "no password stands in a word list", Severity: Critical, needs: []source{fromUsers}, look: knownPassword},
	{ID: "A8", Title: "every user has one password", Severity: Low, needs: []source{fromUsers}, look: severalPasswords},
	{ID: "A9", Title: "what RESTORE is given is checked", Severity: High, needs: []source{fromConfig, fromUsers}, look: unsanitized},
	{ID: "A10", Title: "new users see no channel unless told", Severity: Medium, needs: []source{fromConfig}, look: channelDefault},
	{ID: "A11", Title: "requirepass and aclfile are not mixed", Severity: Medium, needs: []source{fromConfig}, look: mixedUsers},
	{ID: "A12", Title: "nobody was refused of late", Severity: Info, needs: []source{fromDenials}, look: denials},
	{ID: "A13", Title: "changed settings survive a restart", Severity: Medium, needs: []source{fromInfo}, look: noConfigFile},
	{ID: "A14", Title: "no command is renamed", Severity: Info, needs: []source{fromCommands}, look: renamed},
	{ID: "A15", Title: "a replica logs in to its master", Severity: Medium, needs: []source{fromInfo, fromConfig}, look: replicaLogin},
}

// endDefault switches the default user off. It keeps its rights: the server
// replays what scripts have written from its append-only file as this user, and
// what it may not do is dropped. Whoever is logged in as it would be cut off.
func endDefault(n *node, evidence string) []finding {
	f := finding{evidence: evidence, fix: [][]string{{"ACL", "SETUSER", "default", "off", "resetpass"}}}
	if n.whoami == "default" {
		f.remedy = []string{"but first make an administrator (ACL SETUSER NAME on >PASSWORD ~* &* +@all), and log in as it"}
	}
	return []finding{f}
}

func defaultNoPassword(n *node) []finding {
	if d := n.defaultUser(); d.on && d.nopass {
		return endDefault(n, "the default user is on and needs no password")
	}
	return nil
}

func defaultAlmighty(n *node) []finding {
	if d := n.defaultUser(); d.on && d.all() && (d.allKeys() || n.sentinel()) {
		return endDefault(n, "the default user is on, with every command on every key")
	}
	return nil
}

// byCertificate reports whether the server takes the user's name from the
// client's certificate.
func (n *node) byCertificate() bool {
	from := n.config["tls-auth-clients-user"]
	return from != "" && from != "off"
}

func noPassword(n *node) (list []finding) {
	for _, u := range n.users {
		if u.name != "default" && u.on && u.nopass && !n.byCertificate() {
			list = append(list, finding{subject: u.name, evidence: "user " + u.name + " logs in with any password",
				fix: [][]string{{"ACL", "SETUSER", u.name, "resetpass"}}})
		}
	}
	return list
}

func wideRules(n *node) (list []finding) {
	for _, u := range n.applications() {
		var wide []string
		if u.allKeys() && !n.sentinel() {
			wide = append(wide, "~* (every key)")
		}
		if u.allChannels() {
			wide = append(wide, "&* (every channel)")
		}
		if u.all() {
			wide = append(wide, "+@all (every command)")
		}
		if wide != nil {
			list = append(list, finding{subject: u.name, evidence: "user " + u.name + " has " + strings.Join(wide, ", "),
				remedy: []string{"give it what it needs and no more: ACL SETUSER " + u.name + " reset ...; or name it as an administrator, if it is one"}})
		}
	}
	return list
}

// powerful reports what an application should not be able to do. EVALSHA is a
// fault only beside SCRIPT LOAD: the two are as strong as EVAL.
func powerful(n *node) (list []finding) {
	for _, u := range n.applications() {
		may := slices.Clone(n.may[u.name])
		if !slices.Contains(may, "script|load") || !slices.Contains(may, "evalsha") {
			may = slices.DeleteFunc(may, func(c string) bool { return c == "evalsha" || c == "script|load" })
		}
		if len(may) == 0 {
			continue
		}
		words := []string{"ACL", "SETUSER", u.name}
		for _, c := range may {
			if c != "evalsha" {
				words = append(words, "-"+c)
			}
		}
		list = append(list, finding{subject: u.name, evidence: "user " + u.name + " may " + strings.Join(may, ", "), fix: [][]string{words}})
	}
	return list
}

func allButDangerous(n *node) (list []finding) {
	for _, u := range n.applications() {
		if slices.Contains(u.rules, "+@all") && slices.Contains(u.rules, "-@dangerous") {
			list = append(list, finding{subject: u.name,
				evidence: "user " + u.name + " has +@all -@dangerous, which leaves EVAL, SCRIPT FLUSH, FUNCTION, SCAN and DUMP",
				remedy:   []string{"start from nothing instead: ACL SETUSER " + u.name + " -@all +COMMAND ..."}})
		}
	}
	return list
}

func knownPassword(n *node) (list []finding) {
	hashes := map[string]bool{}
	for _, word := range slices.Concat(commonPasswords, n.options.Passwords) {
		hashes[hashOf(word)] = true
	}
	for _, u := range n.users {
		for _, own := range []string{u.name, u.name + "123", n.host()} {
			hashes[hashOf(own)] = true
		}
		if slices.ContainsFunc(u.hashes, func(h string) bool { return hashes[h] }) {
			list = append(list, finding{subject: u.name, evidence: "a password of user " + u.name + " stands in a list of common ones",
				remedy: []string{"ACL SETUSER " + u.name + " resetpass #SHA256-OF-A-NEW-ONE (openssl rand -base64 32), and change it in its clients"}})
		}
	}
	return list
}

func hashOf(word string) string {
	sum := sha256.Sum256([]byte(word))
	return hex.EncodeToString(sum[:])
}

func severalPasswords(n *node) (list []finding) {
	for _, u := range n.users {
		if u.on && len(u.hashes) > 1 {
			list = append(list, finding{subject: u.name, evidence: fmt.Sprintf("user %s has %d passwords", u.name, len(u.hashes)),
				remedy: []string{"ACL GETUSER " + u.name + " shows their hashes; take the old one away: ACL SETUSER " + u.name + " !HASH"}})
		}
	}
	return list
}

func unsanitized(n *node) []finding {
	if n.config["sanitize-dump-payload"] != "no" {
		return nil
	}
	var who []string
	for _, u := range n.users {
		if u.on && u.allows("restore", "keyspace", "write", "slow", "dangerous") {
			who = append(who, u.name)
		}
	}
	if who == nil {
		return nil
	}
	return set("sanitize-dump-payload is no, and RESTORE is open to "+strings.Join(who, ", "), "sanitize-dump-payload", "yes")
}

func channelDefault(n *node) []finding {
	if n.config["acl-pubsub-default"] != "allchannels" {
		return nil
	}
	return set("acl-pubsub-default is allchannels", "acl-pubsub-default", "resetchannels")
}

func mixedUsers(n *node) []finding {
	if n.config["aclfile"] == "" || n.config["requirepass"] == "" {
		return nil
	}
	return advise("both are set; with an ACL file the server does not read requirepass, which looks safe and is not",
		"take requirepass out of the server's configuration file; the ACL file says who logs in")
}

func denials(n *node) []finding {
	if len(n.denials) == 0 {
		return nil
	}
	var counts []string
	for _, reason := range slices.Sorted(maps.Keys(n.denials)) {
		counts = append(counts, fmt.Sprintf("%s %d", reason, n.denials[reason]))
	}
	return advise("the newest refusals by reason: "+strings.Join(counts, ", "), "ACL LOG")
}

func noConfigFile(n *node) []finding {
	path, known := n.info["config_file"]
	switch {
	case !known:
		return unsure("INFO does not tell of a configuration file")
	case path != "":
		return nil
	}
	return advise("the server runs without a configuration file: CONFIG SET is forgotten at a restart", "start it with a configuration file")
}

func renamed(n *node) []finding {
	if len(n.renamed) == 0 {
		return nil
	}
	return advise("not known under their names: "+strings.Join(n.renamed, ", "), "take the commands away by ACL in place of rename-command")
}

func replicaLogin(n *node) []finding {
	if n.info["role"] != "slave" {
		return skip("no replica")
	}
	var lacks []string
	for _, name := range []string{"masteruser", "masterauth"} {
		if n.config[name] == "" {
			lacks = append(lacks, name)
		}
	}
	if lacks == nil {
		return nil
	}
	return advise("a replica without "+strings.Join(lacks, " and "), "CONFIG SET masteruser NAME, CONFIG SET masterauth PASSWORD, of a user with +psync +replconf +ping alone")
}

// commonPasswords are what is tried first: the heads of published lists, and
// what examples for Redis use.
var commonPasswords = strings.Fields(`123456 123456789 12345678 12345 1234567 1234567890 1234 123123 111111 000000
	password Password password1 Password1 password123 passw0rd p@ssw0rd P@ssw0rd P@ssword qwerty qwerty123 abc123 admin admin123
	administrator root toor letmein welcome welcome1 iloveyou monkey dragon secret changeme changeit change-me default guest test test123
	testing temp demo example user master hunter2 sunshine princess football baseball superman trustno1 login pass pass123
	redis Redis redis123 Redis123 redispass redispassword redis-password redis_password redispw redis1234 valkey valkey123
	valkeypassword foobared foobar foo bar mypass mypassword mysecret mysecretpassword supersecret s3cret s3cr3t strongpassword yourpassword
	your_password your-password yourpasswordhere sOmE_sEcUrE_pAsS bitnami docker kubernetes sentinel replica cache session app application
	prod production staging dev development local localhost vagrant azerty 1q2w3e4r 1qaz2wsx zaq12wsx qazwsx asdfgh asdf1234
	zxcvbnm q1w2e3r4 aa123456 a123456 123qwe 654321 666666 888888 987654321 121212 112233 11111111 00000000 88888888 none null`)
