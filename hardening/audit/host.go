package audit

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// hostChecks look at the process and the files, where the audit runs beside the
// server.
var hostChecks = []Check{
	{ID: "S8", Title: "the server has a user of its own, and its files are nobody else's", Severity: High, host: true, needs: []source{fromInfo, fromConfig}, look: beside(processAndFiles)},
	{ID: "T13", Title: "the certificate served is the one in the file", Severity: Medium, host: true, needs: []source{fromCertificate, fromConfig, fromInfo}, look: withTLS(beside(servedCertificate))},
}

// beside does not judge a server that is not seen to run on this machine.
func beside(look func(*node) []finding) func(*node) []finding {
	return func(n *node) []finding {
		if why := n.elsewhere(); why != "" {
			return unsure(why)
		}
		return look(n)
	}
}

// elsewhere is why the server is not taken to run here: the number of its
// process means something on its own machine alone, and another in a container.
func (n *node) elsewhere() string {
	if runtime.GOOS != "linux" {
		return "processes and files are looked at on Linux alone"
	}
	if !n.local() && !ownAddress(hostOf(n.at.Addr)) {
		return n.at.Addr + " is no address of this machine: run it beside the server"
	}
	name, err := os.ReadFile(n.proc("comm"))
	if err != nil || !bytes.HasPrefix(name, []byte("redis")) && !bytes.HasPrefix(name, []byte("valkey")) {
		return "process " + n.info["process_id"] + " of this machine is not the server, which may be in a container: run it in there"
	}
	return ""
}

func (n *node) proc(name string) string {
	return filepath.Join("/proc", n.info["process_id"], name)
}

func ownAddress(host string) bool {
	if host == "localhost" || isLoopback(host) {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		own, is := a.(*net.IPNet)
		return is && own.IP.Equal(net.ParseIP(host))
	})
}

func processAndFiles(n *node) []finding {
	uid, err := n.uid()
	if err != nil {
		return unsure("the process's user cannot be seen: " + err.Error())
	}
	var list []finding
	if uid == 0 {
		list = advise("the server runs as root", "give it a user of its own: User= in its systemd unit")
	}
	for _, name := range []string{"config_file", "aclfile", "tls-key-file", "tls-client-key-file", "dir"} {
		if path := n.path(name); path != "" {
			list = append(list, judgeFile(name, path, uid)...)
		}
	}
	return list
}

// uid returns the effective user of the server's process.
func (n *node) uid() (uint32, error) {
	text, err := os.ReadFile(n.proc("status"))
	if err != nil {
		return 0, err
	}
	ids := strings.Fields(pairs(string(text), "\n", ":")["Uid"])
	if len(ids) < 2 {
		return 0, errors.New("no Uid in " + n.proc("status"))
	}
	uid, err := strconv.ParseUint(ids[1], 10, 32)
	return uint32(uid), err
}

// path returns where one of the server's files is, "" where it has none.
func (n *node) path(name string) string {
	path := n.config[name]
	if name == "config_file" {
		path = n.info[name]
	}
	if path != "" && !filepath.IsAbs(path) {
		return filepath.Join(n.config["dir"], path)
	}
	return path
}

// judgeFile reports what others of the machine may do with a file.
func judgeFile(name, path string, uid uint32) []finding {
	about := func(s Severity, what, remedy string) []finding {
		return []finding{{subject: name, severity: s, evidence: name + " " + path + " " + what, remedy: []string{remedy}}}
	}
	info, err := os.Stat(path)
	if err != nil {
		return []finding{{status: Unknown, subject: name, evidence: name + " cannot be looked at: " + cause(err) + "; run it as the server's user or root"}}
	}
	mode := info.Mode().Perm()
	owner, known := info.Sys().(*syscall.Stat_t)
	switch {
	case known && owner.Uid != uid && owner.Uid != 0:
		return about(High, fmt.Sprintf("belongs to user %d, not to the server's or root", owner.Uid), "chown it to the server's user")
	case mode&0o002 != 0:
		return about(High, fmt.Sprintf("may be written by everybody (%03o)", mode), "chmod o-rwx "+path)
	case mode&0o004 != 0 && strings.HasSuffix(name, "key-file"):
		return about(High, fmt.Sprintf("may be read by everybody (%03o)", mode), "chmod o-rwx "+path+"; issue a new key")
	case mode&0o004 != 0 && name == "config_file": // every rewrite gives it the mode anew
		return about(Medium, fmt.Sprintf("may be read by everybody (%03o)", mode), "chmod o-rwx "+path+"; and UMask=0077 in the systemd unit, for when the server rewrites it")
	case mode&0o004 != 0:
		return about(Medium, fmt.Sprintf("may be read by everybody (%03o)", mode), "chmod o-rwx "+path)
	}
	return nil
}

// cause is an error without the path that it is about.
func cause(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

// servedCertificate proposes to have the file read again, unless this very
// connection would not accept what is in it: that could not be taken back.
func servedCertificate(n *node) []finding {
	path := n.path("tls-cert-file")
	text, err := os.ReadFile(path)
	if err != nil {
		return unsure("tls-cert-file cannot be read: " + cause(err) + "; run it as the server's user or root")
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return advise("tls-cert-file holds no certificate: the server will not start again", "put the certificate back")
	}
	filed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return advise("tls-cert-file holds a certificate that does not parse: the server will not start again", "put the certificate back")
	}
	if filed.Equal(n.leaf()) {
		return nil
	}
	if n.sentinel() {
		return advise(fmt.Sprintf("serial %x is served, and %x is in the file", n.leaf().SerialNumber, filed.SerialNumber), "restart the Sentinel")
	}
	evidence := fmt.Sprintf("serial %x is served, and %x is in the file", n.leaf().SerialNumber, filed.SerialNumber)
	config := n.clientTLS()
	if _, err := filed.Verify(x509.VerifyOptions{DNSName: config.ServerName, Roots: config.RootCAs, CurrentTime: n.options.Now(), Intermediates: rest(text)}); err != nil {
		return advise(evidence+", which this connection would refuse", "issue one that clients accept, then: CONFIG SET tls-cert-file "+path)
	}
	return set(evidence, "tls-cert-file", n.config["tls-cert-file"])
}

// rest returns what stands behind the first certificate of a file.
func rest(text []byte) *x509.CertPool {
	pool := x509.NewCertPool()
	_, text = pem.Decode(text)
	pool.AppendCertsFromPEM(text)
	return pool
}
