package hardening

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/securecache/securecache-go/handshake"
)

// parseLists returns every revocation list of a PEM file, one at least, or the
// one of a DER file (RFC 5280, section 5).
func parseLists(text []byte, path string, now time.Time) (lists []*x509.RevocationList, err error) {
	ders := [][]byte{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "X509 CRL" {
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) == 0 && !bytes.Contains(text, []byte("-----BEGIN")) {
		ders = append(ders, text)
	}
	for _, der := range ders {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("hardening: revocation list file %s: %w; it must be PEM (BEGIN X509 CRL) or DER", path, err)
		}
		if err := checkList(list, path, now); err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("hardening: revocation list file %s holds no list; it must be PEM (BEGIN X509 CRL) or DER", path)
	}
	return lists, nil
}

func checkList(list *x509.RevocationList, path string, now time.Time) error {
	if now.After(list.NextUpdate) {
		return &handshake.Error{Cause: handshake.NotOnCRL,
			Err: fmt.Errorf("revocation list file %s ended on %s; fetch the authority's newest", path, list.NextUpdate.UTC().Format(time.RFC3339))}
	}
	for _, e := range list.Extensions {
		// Delta lists, and lists of a part of the certificates, would pass for whole.
		if e.Critical {
			return fmt.Errorf("hardening: revocation list file %s: it is not a whole list of one authority (extension %v); give that one", path, e.Id)
		}
	}
	return nil
}

// revoked passes if one of the chains holds no revoked certificate.
func (m *material) revoked(chains [][]*x509.Certificate, now time.Time) (err error) {
	if m.lists == nil {
		return nil
	}
	for _, chain := range chains {
		if err = m.chainRevoked(chain, now); err == nil {
			return nil
		}
	}
	return err
}

func (m *material) chainRevoked(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain[:len(chain)-1] {
		list := m.listOf(chain[i+1])
		if list == nil || now.After(list.NextUpdate) {
			return &handshake.Error{Cause: handshake.NotOnCRL,
				Err: errors.New("the revocation list file has none that is current for its authority; fetch the newest")}
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return &handshake.Error{Cause: handshake.Revoked,
					Err: fmt.Errorf("its authority revoked it on %s", entry.RevocationTime.UTC().Format(time.RFC3339))}
			}
		}
	}
	return nil
}

// listOf returns the newest list that the authority has signed, nil without one.
func (m *material) listOf(authority *x509.Certificate) (newest *x509.RevocationList) {
	for _, list := range m.lists {
		if bytes.Equal(list.RawIssuer, authority.RawSubject) && list.CheckSignatureFrom(authority) == nil &&
			(newest == nil || list.ThisUpdate.After(newest.ThisUpdate)) {
			newest = list
		}
	}
	return newest
}
