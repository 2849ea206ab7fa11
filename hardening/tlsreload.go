package hardening

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"sync"
	"time"
)

// TLS is a client's certificates as the files hold them. It reads the files
// whenever a connection is made, so that whoever replaces them restarts
// nothing. It runs nothing in the background and need not be closed. Its
// methods may be called concurrently.
type TLS struct {
	files      Files
	serverName string
	options    TLSOptions

	mu      sync.Mutex
	good    *material
	sum     [sha256.Size]byte // of the contents that good was made from
	err     error             // why the files as they are now are not in use
	failing time.Time         // since when
	warned  time.Time
}

// TLSOptions tune [OpenTLS]; nil and the zero value mean the defaults.
type TLSOptions struct {
	// Warn is how long before an end OnWarning is called. 0 means 7 days.
	Warn time.Duration
	// OnWarning is called, once an hour at most, when the files could not be used
	// for 10 seconds, while what they held before serves on, and when something in
	// use ends within Warn, with an [*EndsSoonError]. It runs on a goroutine that
	// makes a connection, perhaps on several, and should be quick.
	OnWarning func(error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// EndsSoonError warns of a certificate or a revocation list in use.
type EndsSoonError struct {
	What string    // "client certificate", "CA" or "revocation list"
	At   time.Time // its end
}

// Error says what ends, and when.
func (e *EndsSoonError) Error() string {
	return "hardening: the " + e.What + " ends on " + e.At.UTC().Format(time.RFC3339) + "; have it issued anew and replace the file"
}

// OpenTLS reads the files. serverName is the name that the server's certificate
// must hold; "" means the host that is dialled, which is what a cluster needs.
//
// A file that is missing, empty, no PEM, out of its validity, of the wrong kind
// or, for the key, readable by others is an error that says what to do. Later
// on it leaves what was there before in use, until all files are good at once:
// half-written files, and a certificate whose key is still to come, are passed
// over.
func OpenTLS(files Files, serverName string, o *TLSOptions) (*TLS, error) {
	t := &TLS{files: files, serverName: serverName}
	if o != nil {
		t.options = *o
	}
	if t.options.Warn < 0 {
		return nil, errors.New("hardening: the warning before an end must not be negative")
	}
	if t.current() == nil {
		return nil, t.err
	}
	return t, nil
}

func (t *TLS) now() time.Time {
	if t.options.Now != nil {
		return t.options.Now()
	}
	return time.Now()
}

// TLSStatus is what is in use.
type TLSStatus struct {
	Certificate time.Time // the client certificate's end, or an earlier one in its chain
	CA          time.Time // the end of the authority that ends last
	CRL         time.Time // the first end of a revocation list; zero without any
	// Err is why the files, as they are now, are not in use; nil where they are.
	Err error
}

// Status reads the files and returns what is in use then. Ends as seconds from
// now make a gauge to alarm on.
func (t *TLS) Status() TLSStatus {
	m := t.current()
	s := m.ends()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Err = t.err
	return s
}

func (m *material) ends() TLSStatus {
	s := TLSStatus{Certificate: chainEnd(m.pair.Certificate)}
	for _, c := range m.cas {
		if c.NotAfter.After(s.CA) {
			s.CA = c.NotAfter
		}
	}
	for _, l := range m.lists {
		if s.CRL.IsZero() || l.NextUpdate.Before(s.CRL) {
			s.CRL = l.NextUpdate
		}
	}
	return s
}

// chainEnd is the earliest end in a chain.
func chainEnd(ders [][]byte) (end time.Time) {
	for _, der := range ders {
		c, err := x509.ParseCertificate(der) // cannot fail: it was parsed before
		if err == nil && (end.IsZero() || c.NotAfter.Before(end)) {
			end = c.NotAfter
		}
	}
	return end
}

// current returns what the files hold, or what they held when they last were good.
func (t *TLS) current() *material {
	t.mu.Lock()
	now := t.now()
	t.reload(now)
	m, warning := t.good, t.due(now)
	t.mu.Unlock()
	if warning != nil && t.options.OnWarning != nil {
		t.options.OnWarning(warning)
	}
	return m
}

// reload takes the files' contents over where they have changed and are good.
// It compares contents, not times: two writes may fall into one tick of the
// file system's clock.
func (t *TLS) reload(now time.Time) {
	text, sum, err := t.files.snapshot(t.sum)
	defer clear(text.key)
	if err == nil && sum != t.sum {
		var m *material
		if m, err = t.files.parse(text, now); err == nil {
			t.good, t.sum, t.warned = m, sum, time.Time{}
		}
	}
	if err != nil && t.err == nil {
		t.failing, t.warned = now, time.Time{}
	}
	t.err = err
}

// errMoving is for files that somebody is in the middle of replacing.
var errMoving = errors.New("hardening: the certificate files are being replaced; they will be read again with the next connection")

// snapshot reads the files until two readings agree, so that what it returns
// was there at one time, whatever a symbolic link pointed to in between. One
// reading is enough for what is in use already.
func (f Files) snapshot(used [sha256.Size]byte) (texts, [sha256.Size]byte, error) {
	var last [sha256.Size]byte
	for range 4 {
		t, err := f.read()
		if err != nil {
			return texts{}, last, err
		}
		sum := t.sum()
		if sum == used || sum == last {
			return t, sum, nil
		}
		clear(t.key)
		last = sum
	}
	return texts{}, last, errMoving
}

func (t texts) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, text := range [][]byte{t.ca, t.cert, t.key, t.crl} {
		one := sha256.Sum256(text)
		h.Write(one[:])
	}
	h.Sum(sum[:0])
	return sum
}

const (
	warnBefore = 7 * 24 * time.Hour
	warnEvery  = time.Hour
	warnAfter  = 10 * time.Second // a replacement takes a moment
)

// due returns the warning that is to be given now, nil for none.
func (t *TLS) due(now time.Time) error {
	if t.good == nil || !t.warned.IsZero() && now.Sub(t.warned) < warnEvery {
		return nil
	}
	warning := t.good.endsSoon(now.Add(cmp.Or(t.options.Warn, warnBefore)))
	if t.err != nil && now.Sub(t.failing) >= warnAfter {
		warning = t.err
	}
	if warning != nil {
		t.warned = now
	}
	return warning
}

func (m *material) endsSoon(by time.Time) error {
	s := m.ends()
	first := &EndsSoonError{What: certFile, At: s.Certificate}
	if s.CA.Before(first.At) {
		first = &EndsSoonError{What: caFile, At: s.CA}
	}
	if !s.CRL.IsZero() && s.CRL.Before(first.At) {
		first = &EndsSoonError{What: crlFile, At: s.CRL}
	}
	if first.At.After(by) {
		return nil
	}
	return first
}
