package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certs is a throw-away CA with a server and a client certificate of its own.
type certs struct {
	ca                                *x509.CertPool
	server                            tls.Certificate
	caFile, clientFile, clientKeyFile string
}

// writeCerts makes the certificates and writes into dir what clients need.
// They are valid for a week, and from an hour ago for clocks that differ.
func writeCerts(dir string) (certs, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certs{}, err
	}
	caCert := template("vaultdev CA")
	caCert.IsCA, caCert.BasicConstraintsValid, caCert.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, caCert, caCert, caKey.Public(), caKey)
	if err != nil {
		return certs{}, err
	}
	if caCert, err = x509.ParseCertificate(caDER); err != nil {
		return certs{}, err
	}
	out := certs{ca: x509.NewCertPool(), caFile: filepath.Join(dir, "ca.pem")}
	out.ca.AddCert(caCert)
	if err := writePEM(out.caFile, "CERTIFICATE", caDER); err != nil {
		return certs{}, err
	}
	server := template("vaultdev")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.DNSNames, server.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if out.server, err = issue(server, caCert, caKey); err != nil {
		return certs{}, err
	}
	client := template("vaultdev client")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	pair, err := issue(client, caCert, caKey)
	if err != nil {
		return certs{}, err
	}
	out.clientFile, out.clientKeyFile = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	return out, writePair(out.clientFile, out.clientKeyFile, pair)
}

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(7 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func issue(leaf, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func writePair(certFile, keyFile string, pair tls.Certificate) error {
	if err := writePEM(certFile, "CERTIFICATE", pair.Certificate[0]); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return err
	}
	return writePEM(keyFile, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
