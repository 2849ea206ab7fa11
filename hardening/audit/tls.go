package audit

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tlsChecks look at what the server speaks and shows, by connections of the
// audit's own.
var tlsChecks = []Check{
	{ID: "T1", Title: "the server speaks TLS", Severity: High, look: noTLS},
	{ID: "T2", Title: "nothing is answered without a client certificate", Severity: High, needs: []source{fromBare}, look: withTLS(noClientCertificate)},
	{ID: "T3", Title: "TLS 1.0 and 1.1 are refused", Severity: High, needs: []source{fromOldTLS}, look: withTLS(oldTLS)},
	{ID: "T4", Title: "cipher suites authenticate and have forward secrecy", Severity: Medium, needs: []source{fromWeakTLS}, look: withTLS(weakCiphers)},
	{ID: "T5", Title: "the server's certificate is valid for a while", Severity: Critical, needs: []source{fromCertificate}, look: withTLS(certificateEnd)},
	{ID: "T6", Title: "the server's certificate names the server", Severity: High, needs: []source{fromCertificate}, look: withTLS(certificateName)},
	{ID: "T7", Title: "the server's key and signature are strong", Severity: High, needs: []source{fromCertificate}, look: withTLS(certificateStrength)},
	{ID: "T8", Title: "the server's certificate is for servers", Severity: Medium, needs: []source{fromCertificate}, look: withTLS(certificateUsage)},
	{ID: "T9", Title: "client certificates come from an authority of one's own", Severity: Critical, needs: []source{fromConfig}, look: withTLS(publicAuthority)},
	{ID: "T10", Title: "replication and the cluster bus are encrypted", Severity: High, needs: []source{fromConfig, fromInfo}, look: withTLS(plainReplication)},
	{ID: "T11", Title: "who has a certificate for no user gets no user", Severity: High, needs: []source{fromConfig, fromUsers}, look: withTLS(certificateUser)},
	{ID: "T12", Title: "revoked client certificates are refused", Severity: Info, look: withTLS(noRevocation)},
}

// withTLS skips a check where there is none, which is T1's to report.
func withTLS(look func(*node) []finding) func(*node) []finding {
	return func(n *node) []finding {
		if n.at.TLSConfig == nil {
			return skip("this connection is not TLS; see T1")
		}
		return look(n)
	}
}

func noTLS(n *node) []finding {
	if n.at.TLSConfig != nil {
		return nil
	}
	if n.sentinel() {
		return plaintextSentinel(n)
	}
	if gap, missing := n.missing[fromConfig]; missing {
		return unsure("this connection is not TLS, and whether there is a TLS port cannot be seen: " + gap.why)
	}
	if n.config["tls-port"] != "" && n.config["tls-port"] != "0" {
		return nil
	}
	return line("the server has no TLS port", "tls-port 6380", "tls-cert-file PATH", "tls-key-file PATH", "tls-ca-cert-file PATH", "tls-auth-clients yes", "port 0")
}

func noClientCertificate(n *node) []finding {
	if n.dials.bare == "" {
		return nil
	}
	return set("PING was answered over TLS without a client certificate", "tls-auth-clients", "yes")
}

func oldTLS(n *node) []finding {
	if n.dials.old == 0 {
		return nil
	}
	return set(tls.VersionName(n.dials.old)+" was accepted", "tls-protocols", "TLSv1.2 TLSv1.3")
}

const goodCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20"

func weakCiphers(n *node) []finding {
	if n.dials.weak == 0 {
		return nil
	}
	return set(tls.CipherSuiteName(n.dials.weak)+" was accepted", "tls-ciphers", goodCiphers)
}

const (
	soon     = 30 * 24 * time.Hour
	verySoon = 7 * 24 * time.Hour
)

func certificateEnd(n *node) []finding {
	end, now := n.leaf().NotAfter, n.options.Now()
	left := end.Sub(now)
	if left >= soon {
		return nil
	}
	load := "CONFIG SET tls-cert-file PATH (the same path loads it)"
	if n.sentinel() {
		load = "restart the Sentinel"
	}
	f := advise("the certificate ends on "+end.UTC().Format(time.DateOnly), "issue a new one over the same files, then: "+load)
	if left >= verySoon {
		f[0].severity = Medium
	}
	return f
}

// leaf is the server's certificate. Without one the dial has failed, and the
// checks that want it are not run.
func (n *node) leaf() *x509.Certificate { return n.dials.chain[0] }

func certificateName(n *node) []finding {
	leaf, name := n.leaf(), n.clientTLS().ServerName
	switch {
	case n.network() == "unix":
		return skip("a Unix socket has no name")
	case len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
		return advise("the certificate has a common name and no subject alternative name", "issue one with the server's names and addresses as subject alternative names")
	case leaf.VerifyHostname(name) != nil:
		return advise("the certificate does not name "+name, "issue one that does, as a subject alternative name")
	}
	return nil
}

const minRSA = 2048 // bits; NIST SP 800-131A

func certificateStrength(n *node) (list []finding) {
	for _, c := range n.dials.chain {
		if key, is := c.PublicKey.(*rsa.PublicKey); is && key.N.BitLen() < minRSA {
			list = append(list, advise(fmt.Sprintf("an RSA key of %d bits", key.N.BitLen()), "issue one with ECDSA P-256 or RSA of 3072 bits")...)
		}
		if bytes.Equal(c.RawIssuer, c.RawSubject) && c.IsCA {
			continue // nobody relies on what an authority has signed of itself
		}
		if slices.Contains([]x509.SignatureAlgorithm{x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, x509.MD5WithRSA}, c.SignatureAlgorithm) {
			list = append(list, advise("a certificate signed with "+c.SignatureAlgorithm.String(), "issue one signed with SHA-256")...)
		}
	}
	return list
}

func certificateUsage(n *node) []finding {
	leaf := n.leaf()
	if slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return nil
	}
	return advise("the certificate is not for server authentication (extended key usage)", "issue one with serverAuth, and clientAuth beside it where the server replicates")
}

// bundles are where systems keep the authorities of the whole web.
var bundles = []string{"/etc/ssl/certs", "/etc/pki/", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/usr/share/ca-certificates", "/usr/local/share/certs", "/var/lib/ca-certificates"}

func publicAuthority(n *node) []finding {
	for _, name := range []string{"tls-ca-cert-file", "tls-ca-cert-dir"} {
		for _, b := range bundles {
			if path := n.config[name]; strings.HasPrefix(path, b) && !strings.HasPrefix(path, "/etc/pki/redis") && !strings.HasPrefix(path, "/etc/pki/valkey") {
				return advise(name+" is "+path+": anybody with a certificate of a public authority is let in", "CONFIG SET "+name+" PATH-OF-YOUR-OWN-CA")
			}
		}
	}
	return nil
}

func plainReplication(n *node) (list []finding) {
	replicates := n.info["role"] == "slave" || n.info["connected_slaves"] != "0" || n.config["cluster-enabled"] == "yes"
	if replicates && n.config["tls-replication"] == "no" {
		list = append(list, set("tls-replication is no", "tls-replication", "yes")...)
	}
	if n.config["cluster-enabled"] == "yes" && n.config["tls-cluster"] == "no" {
		list = append(list, set("tls-cluster is no", "tls-cluster", "yes")...)
	}
	return list
}

func certificateUser(n *node) []finding {
	if !n.defaultUser().on {
		return nil
	}
	if _, missing := n.missing[fromConfig]; missing {
		return unsure("tls-auth-clients-user cannot be seen, and the default user is on")
	}
	if !n.byCertificate() {
		return nil
	}
	return endDefault(n, "a certificate whose name is no user's is the default user, which is on")
}

func noRevocation(*node) []finding {
	return advise("servers look at no revocation list: a lost client certificate works until it ends",
		"issue client certificates for days, not years; a new CA file ends them all, with CONFIG SET tls-ca-cert-file PATH or, on a Sentinel, a restart")
}
