package audit

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// maintained is a maker's list of the branches that it mends, with the day from
// which each is mended no more, "" where none is published. What is older than
// the newest of the list and not in it is not maintained; of what is newer the
// list says nothing.
type maintained struct {
	source, read string // where, and when it was read there
	until        map[string]string
}

var makersLists = map[string]maintained{
	"redis": {source: "https://redis.io/docs/latest/operate/oss_and_stack/install/version-mgmt/", read: "August 2026", until: map[string]string{
		"6.2": "2027-04-01", "7.2": "2029-12-01", "7.4": "2029-12-01", "8.0": "2026-12-01", "8.2": "2030-09-01",
		"8.4": "", "8.6": "", "8.8": "", "8.10": "",
	}},
	// The end of security support, which for some is later than that of other mending.
	"valkey": {source: "https://valkey.io/topics/releases/", read: "June 2026", until: map[string]string{
		"7.2": "2029-04-16", "8.0": "2027-09-15", "8.1": "2030-03-31", "9.0": "2028-10-21",
	}},
}

// endsSoon is how long before a branch's end it is told.
const endsSoon = 90 * 24 * time.Hour

func branchEnded(n *node) []finding {
	if n.version == "" {
		return unsure("the server does not tell its version")
	}
	list, known := makersLists[n.server]
	if !known {
		return unsure("nothing is known of " + n.server + "'s branches")
	}
	about := n.server + " " + branch(n.version)
	from := fmt.Sprintf(" (%s, as of %s)", list.source, list.read)
	until, listed := list.until[branch(n.version)]
	switch {
	case !listed && compare(n.version, slices.MaxFunc(slices.Collect(maps.Keys(list.until)), compare)) < 0:
		return []finding{n.origin().judge(n, finding{remedy: []string{"update to a maintained branch"},
			evidence: about + " is not among the branches that its maker maintains" + from}, anyWeakness)}
	case until == "":
		return unsure("until when " + about + " is maintained is not published" + from)
	}
	end, err := time.Parse(time.DateOnly, until)
	switch left := end.Sub(n.options.Now()); {
	case err != nil:
		return unsure("until when " + about + " is maintained cannot be read: " + until)
	case left <= 0:
		return []finding{n.origin().judge(n, finding{remedy: []string{"update to a maintained branch"},
			evidence: about + " is not maintained since " + until + from}, anyWeakness)}
	case left < endsSoon:
		return []finding{{severity: Low, evidence: about + " is maintained until " + until + from, remedy: []string{"plan the update to a newer branch"}}}
	}
	return nil
}
