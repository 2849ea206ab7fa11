package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// compared are the modules whose versions matter to a reader of the figures.
var compared = []string{
	"github.com/redis/go-redis/v9",
	"github.com/go-redis/cache/v9",
	"github.com/tink-crypto/tink-go/v2",
	"github.com/redis/rueidis",
	"github.com/alexedwards/scs/goredisstore",
	"github.com/bsm/redislock",
	"github.com/go-redis/redis_rate/v10",
	"github.com/fernet/fernet-go",
	"github.com/hashicorp/vault/api",
	"github.com/klauspost/compress",
}

// report is the results in Markdown.
func (b *bench) report(began time.Time) string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	line("# Benchmark\n")
	line("Written by `go run .` in bench/ on %s, in %s.\n", began.UTC().Format("2006-01-02 15:04 UTC"), time.Since(began).Round(time.Second))
	line("- Machine: %d cores, %s, %s/%s, %s; the server and the Vault server run on it too", runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, system())
	if after := load(); after != "" {
		line("- Load average of the last minute: %s at the start, %s at the end", b.loadBefore, after)
	}
	line("- Server: %s %s over mutual TLS on the loopback interface, as the application's least-privileged user", b.server.Name(), b.server.Version())
	if b.vaultVersion != "" {
		line("- Vault: %s, over TLS on the loopback interface", b.vaultVersion)
	}
	line("- %s%s", runtime.Version(), versions())
	line("- %d rounds of %s a side; -reseal %d -volatile %d\n", b.rounds, b.slice, b.settings.reseal, b.volatile)
	line("Ratios are to the row of 1× above: the median with its standard error, and the least and the most of the rounds. Each side")
	line("runs between two runs of that base, and is divided by their mean. What is held to a rate runs on, for %d times the rounds at", b.patience)
	line("the most, until the rate is %d standard errors from its target or the error under %.1f %%. Each side has a client of its own with the same options;", apart, 100*fine)
	line("values are random bytes, which do not compress, where nothing else is said; names have 40 bytes. The server")
	line("takes part of the same processors, so whatever a side computes is taken from the rate at once. 16 KiB of random bytes")
	line("are held to no target: docs/adr/0023-large-random-values.md says why, and the row stands.")
	line("time/op is what one goroutine waits. B/op and allocs/op are those of the whole process.\n")
	text.WriteString(table(b.rows))
	met, all := tally(b.rows)
	line("\n%d of %d targets met.", met, all)
	return text.String()
}

// versions lists the modules that are compared.
func versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var text strings.Builder
	for _, path := range compared {
		for _, m := range info.Deps {
			if m.Path == path {
				text.WriteString(", " + strings.TrimPrefix(path, "github.com/") + " " + m.Version)
			}
		}
	}
	return text.String()
}

// processor returns the model of the CPU, as far as the system says.
func processor() string {
	if runtime.GOOS == "darwin" {
		if out, err := exec.Command("sysctl", "-n", "machdep.cpu.brand_string").Output(); err == nil {
			return strings.TrimSpace(string(out))
		}
	}
	return field("/proc/cpuinfo", "model name", ":", "unknown CPU")
}

// system returns the name of the operating system.
func system() string {
	if runtime.GOOS == "darwin" {
		if out, err := exec.Command("sw_vers", "-productVersion").Output(); err == nil {
			return "macOS " + strings.TrimSpace(string(out))
		}
	}
	return strings.Trim(field("/etc/os-release", "PRETTY_NAME", "=", "unknown system"), `"`)
}

// load returns the load average of the last minute, "" where the system does
// not say it in a file. A run of its own brings it to about the cores' number.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// field returns what a file says behind a name, or otherwise.
func field(path, name, separator, otherwise string) string {
	file, err := os.Open(path)
	if err != nil {
		return otherwise
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), separator); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}
