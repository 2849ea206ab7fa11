package audit

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// origin is where a server's program comes from, as far as that can be seen. A
// distribution mends weaknesses without a new version; neither INFO nor the
// build's number says so.
type origin struct {
	packaged bool     // it may be a distribution's
	name     string   // whose changelog was read, "" where none was
	named    []string // the weaknesses in it
	restart  bool     // the program on the disk is another by now
}

// origin is read once, for all that ask.
func (n *node) origin() origin {
	if n.program == nil {
		o := n.findOrigin()
		n.program = &o
	}
	return *n.program
}

// findOrigin looks at the process where the audit runs beside it. From afar there
// is only the path that the server was started by, which a package's unit gives
// in full; a bare name is shown in the directory that the server was started in
// and tells nothing, and counts as no package's: rather one finding too severe.
func (n *node) findOrigin() origin {
	path := n.info["executable"]
	o := origin{packaged: path == "" || inPackage(path)}
	if !n.options.Host || n.elsewhere() != "" {
		return o
	}
	path, err := os.Readlink(n.proc("exe"))
	if err != nil {
		return o
	}
	path, o.restart = strings.CutSuffix(path, " (deleted)")
	if o.packaged = inPackage(path); o.packaged && !o.restart && installed(n.server, path) {
		if o.named, err = changelog(n.server + "-server"); err == nil {
			o.name = n.server + "-server"
		}
	}
	return o
}

func inPackage(path string) bool {
	return strings.HasPrefix(path, "/usr/bin/") || strings.HasPrefix(path, "/usr/sbin/")
}

// installed reports whether one of Debian's packages of this server brought the
// file.
func installed(server, path string) bool {
	return slices.ContainsFunc([]string{server + "-server", server + "-tools"}, func(name string) bool {
		text, err := os.ReadFile(filepath.Join("/var/lib/dpkg/info", name+".list"))
		return err == nil && slices.Contains(strings.Split(string(text), "\n"), path)
	})
}

var advisoryID = regexp.MustCompile(`CVE-\d{4}-\d{4,}|GHSA(-[a-z0-9]{4}){3}`)

// changelog returns the weaknesses that a package's changelog names.
func changelog(name string) ([]string, error) {
	file, err := os.Open(filepath.Join("/usr/share/doc", name, "changelog.Debian.gz"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, 16<<20))
	return advisoryID.FindAllString(string(text), -1), err
}

// mends reports whether the package is known to have the weakness mended.
func (o origin) mends(id string) bool { return slices.Contains(o.named, id) }

// judge lowers what a distribution may have mended, unless its changelog was
// read and says nothing of it.
func (o origin) judge(n *node, f finding, what string) finding {
	if f.severity == 0 {
		f.severity = High
	}
	if o.name != "" && what != anyWeakness {
		f.evidence += "; the changelog of the package " + o.name + " does not name it"
		return f
	}
	if !o.packaged {
		return f
	}
	f.possible, f.severity = true, min(f.severity, Medium)
	f.evidence = "possible: " + f.evidence + "; a distribution's package may have it mended"
	f.remedy = append(f.remedy, "or see whether the package has it: apt-get changelog "+n.server+"-server | grep "+what)
	if o.restart {
		f.evidence += ", and the program that runs is no longer the one on the disk"
		f.remedy = append(f.remedy, "then restart the server, which was updated under it")
	}
	return f
}

// anyWeakness begins the number of each.
const anyWeakness = "CVE-"
