package audit

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/codec"
)

// dataChecks look at a sample of the keys.
var dataChecks = []Check{
	{ID: "P1", Title: "records are sealed", Severity: Critical, needs: []source{fromKeys}, look: unsealed},
	{ID: "P2", Title: "key names tell nothing", Severity: Medium, needs: []source{fromKeys}, look: tellingNames},
	{ID: "P3", Title: "every key ends", Severity: Low, needs: []source{fromKeys}, look: endless},
}

// sample is what was seen of the keys: counts, no names and no values.
type sample struct {
	seen     int
	kinds    map[string]int // of records, by the letter in their key
	read     int            // records of which the beginning was read
	unsealed map[string]int // by kind
	telling  map[string]int // by what the name looks like
	endless  int
	untold   int // keys whose end was not told
	opaque   int // records of which nothing could be read
}

// stringKinds hold a record as the whole value of a string, stateKinds no
// records at all but the state of scripts, which has its own end or none.
const (
	stringKinds = "vsdo"
	stateKinds  = "lrue"
)

// whole reports whether a key is a record's own: a companion of the same name
// has a part behind a colon, and holds what its script needs.
func whole(name string) bool { return strings.Count(name, ":") == 3 }

// takeSample scans for keys and looks at each: its name, its end, and of a
// record the first bytes.
func (n *node) takeSample() {
	n.sample = sample{kinds: map[string]int{}, unsealed: map[string]int{}, telling: map[string]int{}}
	names, err := n.scan()
	if err != nil {
		g := gap{why: "SCAN was not answered: " + firstWord(err)}
		if redis.HasErrorPrefix(err, "NOPERM") {
			g = gap{why: "SCAN was refused", denied: true}
		}
		n.missing[fromKeys] = g
		return
	}
	var cmds []redis.Cmder
	ttls, heads := make([]*redis.DurationCmd, len(names)), make([]*redis.Cmd, len(names))
	for i, name := range names {
		ttls[i] = redis.NewDurationCmd(n.ctx, time.Millisecond, "PTTL", name)
		switch kind := n.kind(name); {
		case kind == "" || !whole(name):
		case strings.Contains(stringKinds, kind):
			heads[i] = redis.NewCmd(n.ctx, "GETRANGE", name, 0, codec.Overhead-1)
		case kind == "h":
			heads[i] = redis.NewCmd(n.ctx, "HRANDFIELD", name, 1, "WITHVALUES")
		}
		if cmds = append(cmds, ttls[i]); heads[i] != nil {
			cmds = append(cmds, heads[i])
		}
	}
	n.send(cmds)
	for i, name := range names {
		n.note(name, ttls[i], heads[i])
	}
}

// scan returns up to Options.Sample names. It gives up after as many rounds:
// a big and sparse keyspace would keep it.
func (n *node) scan() (names []string, err error) {
	var cursor uint64
	for range 20 {
		var page []string
		if page, cursor, err = n.rdb.Scan(n.ctx, cursor, "", int64(n.options.Sample)).Result(); err != nil {
			return nil, err
		}
		if names = append(names, page...); cursor == 0 || len(names) >= n.options.Sample {
			break
		}
	}
	return names[:min(len(names), n.options.Sample)], nil
}

// kind returns the letter of a record's kind, "" for a key that is none.
func (n *node) kind(name string) string {
	rest, ours := strings.CutPrefix(name, n.options.Prefix+":")
	parts := strings.SplitN(rest, ":", 3)
	if !ours || len(parts) < 3 {
		return ""
	}
	if _, err := codec.ParseKind(parts[1]); err != nil {
		return ""
	}
	return parts[1]
}

func (n *node) note(name string, ttl *redis.DurationCmd, head *redis.Cmd) {
	s, kind := &n.sample, n.kind(name)
	s.seen++
	switch left, err := ttl.Result(); {
	case err != nil:
		s.untold++
	case left == -1 && (kind == "" || !strings.Contains(stateKinds, kind)): // go-redis leaves it as it came
		s.endless++
	}
	if kind != "" {
		s.kinds[kind]++
	}
	if what := telling(name); what != "" {
		s.telling[what]++
	}
	if head == nil {
		return
	}
	text := firstBytes(head)
	if text == "" { // another type, no right to it, or gone since
		if err := head.Err(); err != nil && err != redis.Nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			s.opaque++
		}
		return
	}
	s.read++
	if _, err := codec.ParseHeader([]byte(text)); err != nil {
		s.unsealed[kind]++
	}
}

// firstBytes returns the beginning of a string, or a value of a hash.
func firstBytes(head *redis.Cmd) string {
	if fields, err := head.StringSlice(); err == nil && len(fields) == 2 {
		return fields[1]
	}
	text, _ := head.Text()
	return text
}

// tells are what names look like that should not be in the open.
var tells = []struct {
	what string
	form *regexp.Regexp
}{
	{"an e-mail address", regexp.MustCompile(`[A-Za-z0-9._+-]+(@|%40)[A-Za-z0-9-]+\.[A-Za-z]{2,}`)},
	{"a JSON web token", regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}`)},
	{"a card number", regexp.MustCompile(`(^|\D)\d{13,16}(\D|$)`)},
	{"a telephone number", regexp.MustCompile(`(^|[^0-9A-Za-z])\+\d{8,15}(\D|$)`)},
	{"a session or token", regexp.MustCompile(`(?i)(sess(ion)?|token|sid|auth|bearer|apikey)[:/_-][A-Za-z0-9+/=_-]{16,}`)},
}

func telling(name string) string {
	for _, t := range tells {
		if t.form.MatchString(name) {
			return t.what
		}
	}
	return ""
}

func unsealed(n *node) []finding {
	s := n.sample
	if len(s.unsealed) > 0 {
		return advise(fmt.Sprintf("%s of %d records are no sealed records", counted(s.unsealed, "of kind "), s.read),
			"find out who writes them; del removes them, and the library refuses them")
	}
	if s.read == 0 && s.opaque+s.untold > 0 {
		return unsure("not one record could be read: " + fromKeys.grant() + " or ~" + n.options.Prefix + ":* is missing")
	}
	return nil
}

func tellingNames(n *node) []finding {
	if len(n.sample.telling) == 0 {
		return nil
	}
	return advise(fmt.Sprintf("of %d names, %s", n.sample.seen, counted(n.sample.telling, "look like ")), "store them by this library, which blinds names")
}

func endless(n *node) []finding {
	switch s := n.sample; {
	case s.endless == 0 && s.untold > 0:
		return unsure(fmt.Sprintf("the end of %d of %d keys was not told: +pttl or their pattern is missing", s.untold, s.seen))
	case s.endless == 0:
		return nil
	}
	return advise(fmt.Sprintf("%d of %d keys have no end", n.sample.endless, n.sample.seen), "give them one where they are written; PEXPIRE mends what is there")
}

// counted writes counts in the order of their names.
func counted(counts map[string]int, before string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s%s", counts[name], before, name))
	}
	return strings.Join(parts, ", ")
}
