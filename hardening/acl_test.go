package hardening_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/securecache/securecache-go/hardening"
)

var hash = strings.Repeat("ab", 32)

func ExampleACL() {
	line, err := hardening.ACL(hardening.Profile{
		PasswordSHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Namespace:      "shop",
		Version:        "7.0.15",
		NoScriptLoad:   true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.ReplaceAll(line, " -@all", "\n  -@all"))
	// Output:
	// user app reset on #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 ~sc:shop:* resetchannels &sc:shop:*
	//   -@all +hello +auth +ping +client|setname +time +get +getrange +set +del +unlink +exists +pttl +pexpire +evalsha +subscribe +unsubscribe +publish +hdel +hget +hincrby +hlen +hrandfield +hscan +hset +pexpireat +zadd +zcard +zcount +zrange +zrangebyscore +zrem +zscore +zremrangebyscore
}

func TestACLWords(t *testing.T) {
	tests := map[string]struct {
		profile    hardening.Profile
		has, lacks []string
	}{
		"defaults":        {hardening.Profile{}, []string{"user app reset on #" + hash, " ~sc:ns:* resetchannels &sc:ns:* -@all ", "+script|load"}, []string{"setinfo", "cluster|", "+scan", "+asking"}},
		"7.0":             {hardening.Profile{Version: "7.0.15"}, nil, []string{"setinfo"}},
		"7.2":             {hardening.Profile{Version: "7.2.0"}, []string{"+client|setinfo"}, nil},
		"valkey":          {hardening.Profile{Version: "8.0.1"}, []string{"+client|setinfo"}, nil},
		"pre-release":     {hardening.Profile{Version: "8.2-rc1"}, []string{"+client|setinfo"}, nil},
		"unstable":        {hardening.Profile{Version: "255.255.255"}, []string{"+client|setinfo"}, nil},
		"cluster":         {hardening.Profile{Cluster: true}, []string{"+cluster|slots", "+asking", "+readonly"}, []string{"+cluster "}},
		"strict":          {hardening.Profile{NoScriptLoad: true}, []string{"+evalsha"}, []string{"script|"}},
		"operator":        {hardening.Profile{Role: hardening.Operator, NoScriptLoad: true}, []string{"user operator ", " ~sc:ns:* resetchannels &sc:ns:* ", "+scan", "+info", "+script|load", "+evalsha"}, []string{"+dump", "+restore"}},
		"backup":          {hardening.Profile{Role: hardening.Backup, Cluster: true}, []string{"user backup ", " resetkeys resetchannels -@all ", "+psync", "+bgsave"}, []string{"~", "&", "+get", "cluster|", "+save"}},
		"monitor":         {hardening.Profile{Role: hardening.Monitor, Cluster: true}, []string{"user monitor ", " resetkeys resetchannels -@all ", "+info", "+cluster|info", "+latency|latest"}, []string{"~", "&", "+get", "latency|histogram", "client|list", "slowlog|get", "+acl|list"}},
		"monitor of 7.0":  {hardening.Profile{Role: hardening.Monitor, Version: "7.0.15"}, []string{"+latency|histogram"}, nil},
		"doorbell":        {hardening.Profile{Role: hardening.Doorbell, Cluster: true}, []string{"user doorbell ", " ~sc:ns:e:{*}:bell resetchannels &__keyevent@0__:expired -@all ", "+subscribe", "+set", "+exists", "+cluster|slots"}, []string{"~sc:ns:*", "&sc:ns:*", "+get", "+unlink", "evalsha", "script", "+scan", "+publish", "+psubscribe"}},
		"own commands":    {hardening.Profile{Commands: []string{"incrby", "object|freq", "client|tracking"}}, []string{"+incrby", "+object|freq", "+client|tracking"}, nil},
		"prefix and user": {hardening.Profile{Prefix: "cache", User: "Shop-1"}, []string{"user Shop-1 reset", "~cache:ns:*", "&cache:ns:*"}, []string{"sc:"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.profile.Namespace, tt.profile.PasswordSHA256 = "ns", hash
			line, err := hardening.ACL(tt.profile)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.has {
				if !strings.Contains(line+" ", want) {
					t.Errorf("%q lacks %q", line, want)
				}
			}
			for _, bad := range append(tt.lacks, "nopass", "allkeys", "~* ", "&* ", "+@", "+eval ", "+keys", "+config", "\n") {
				if strings.Contains(line+" ", bad) {
					t.Errorf("%q has %q", line, bad)
				}
			}
		})
	}
}

func TestACLRefuses(t *testing.T) {
	good := hardening.Profile{User: "app", PasswordSHA256: hash, Prefix: "sc", Namespace: "ns", Version: "7.0.15"}
	if _, err := hardening.ACL(good); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*hardening.Profile){
		"no such role":             func(p *hardening.Profile) { p.Role = hardening.Doorbell + 1 },
		"negative role":            func(p *hardening.Profile) { p.Role = -1 },
		"space in user":            func(p *hardening.Profile) { p.User = "app on" },
		"newline in user":          func(p *hardening.Profile) { p.User = "app\nuser" },
		"default user":             func(p *hardening.Profile) { p.User = "default" },
		"long user":                func(p *hardening.Profile) { p.User = strings.Repeat("a", 65) },
		"no hash":                  func(p *hardening.Profile) { p.PasswordSHA256 = "" },
		"password as hash":         func(p *hardening.Profile) { p.PasswordSHA256 = "hunter2" },
		"upper-case hash":          func(p *hardening.Profile) { p.PasswordSHA256 = strings.Repeat("AB", 32) },
		"rule behind hash":         func(p *hardening.Profile) { p.PasswordSHA256 = hash + " +@all" },
		"newline behind hash":      func(p *hardening.Profile) { p.PasswordSHA256 = hash + "\n" },
		"no namespace":             func(p *hardening.Profile) { p.Namespace = "" },
		"star in namespace":        func(p *hardening.Profile) { p.Namespace = "*" },
		"class in namespace":       func(p *hardening.Profile) { p.Namespace = "[a-z]" },
		"question mark in prefix":  func(p *hardening.Profile) { p.Prefix = "s?" },
		"colon in namespace":       func(p *hardening.Profile) { p.Namespace = "a:b" },
		"newline behind namespace": func(p *hardening.Profile) { p.Namespace = "ns\n" },
		"upper-case namespace":     func(p *hardening.Profile) { p.Namespace = "NS" },
		"version of words":         func(p *hardening.Profile) { p.Version = "latest" },
		"version with a rule":      func(p *hardening.Profile) { p.Version = "7.2 +@all" },
		"version without channels": func(p *hardening.Profile) { p.Version = "6.0.16" },
		"command with a plus":      func(p *hardening.Profile) { p.Commands = []string{"+get"} },
		"category":                 func(p *hardening.Profile) { p.Commands = []string{"@all"} },
		"two commands in one":      func(p *hardening.Profile) { p.Commands = []string{"get +@all"} },
		"eval":                     func(p *hardening.Profile) { p.Commands = []string{"eval"} },
		"upper-case eval":          func(p *hardening.Profile) { p.Commands = []string{"EVAL"} },
		"all of script":            func(p *hardening.Profile) { p.Commands = []string{"script"} },
		"script flush":             func(p *hardening.Profile) { p.Commands = []string{"script|flush"} },
		"config":                   func(p *hardening.Profile) { p.Commands = []string{"config|set"} },
		"keys":                     func(p *hardening.Profile) { p.Commands = []string{"keys"} },
		"client kill":              func(p *hardening.Profile) { p.Commands = []string{"client|kill"} },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			p := good
			spoil(&p)
			line, err := hardening.ACL(p)
			if err == nil || line != "" {
				t.Fatalf("accepted: %q", line)
			}
			if !strings.HasPrefix(err.Error(), "hardening: ") || strings.Contains(err.Error(), hash) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q", err)
			}
		})
	}
}

// TestScriptsCallWhatIsGranted reads the scripts' sources: a script runs with the
// rights of who calls it, so that each command it uses has to be in a profile.
func TestScriptsCallWhatIsGranted(t *testing.T) {
	line, err := hardening.ACL(hardening.Profile{PasswordSHA256: hash, Namespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	granted := strings.Fields(line)
	sources, err := filepath.Glob("../scripts/lua/*.lua")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	calls := regexp.MustCompile(`\bp?call\(\s*['"](\w+)['"]`)
	for _, path := range sources {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := calls.FindAllSubmatch(source, -1)
		if len(found) == 0 {
			t.Errorf("%s calls nothing that this test can read", path)
		}
		for _, m := range found {
			if name := strings.ToLower(string(m[1])); !slices.Contains(granted, "+"+name) {
				t.Errorf("%s calls %s, which no profile grants", path, name)
			}
		}
	}
}

// FuzzACL looks for input that smuggles a second rule into the line: whatever is
// accepted has the rules of a fixed shape.
func FuzzACL(f *testing.F) {
	f.Add("app", hash, "sc", "ns", "7.0.15", "incrby")
	f.Add("app\n", hash+" ", "s*", "n s", "7.2", "get|x +@all")
	f.Fuzz(func(t *testing.T, user, hash, prefix, namespace, version, command string) {
		line, err := hardening.ACL(hardening.Profile{
			User: user, PasswordSHA256: hash, Prefix: prefix, Namespace: namespace, Version: version, Commands: []string{command},
		})
		if err != nil {
			return
		}
		words := strings.Fields(line)
		if strings.Join(words, " ") != line {
			t.Fatalf("white space in %q", line)
		}
		for i, w := range words[9:] {
			if w[0] != '+' || strings.ContainsAny(w, "@~&#%*<>()") {
				t.Fatalf("word %d of %q is %q", 9+i, line, w)
			}
		}
		if words[8] != "-@all" || !strings.HasSuffix(words[5], ":*") || strings.Count(line, "*") != 2 {
			t.Fatalf("scope of %q", line)
		}
	})
}
