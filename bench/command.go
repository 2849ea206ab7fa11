package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// commandRun is what one run of `securecache reseal` took.
type commandRun struct {
	Resealed int     `json:"resealed"`
	Scanned  int     `json:"scanned"`
	Seconds  float64 `json:"seconds"`
	peak     uint64  // bytes of memory that were resident at most
}

func (r commandRun) rate() float64 { return float64(r.Resealed) / r.Seconds }

// withCommand has the command re-seal what is on the server: so many records.
func (b *bench) withCommand(ctx context.Context, records int) (commandRun, error) {
	program, err := b.command(ctx)
	if err != nil {
		return commandRun{}, err
	}
	cmd := exec.CommandContext(ctx, program, "reseal", "-o", "json")
	cmd.Env = append(os.Environ(),
		"REDIS_URL="+b.server.OperatorURL(),
		"SECURECACHE_TLS_CA="+b.server.CAFile(),
		"SECURECACHE_TLS_CERT="+b.server.CertFile(),
		"SECURECACHE_TLS_KEY="+b.server.KeyFile(),
		"SECURECACHE_NAMESPACE="+namespace,
		"SECURECACHE_KEYRING=file:"+b.keyringFile(),
		"SECURECACHE_WRAP=insecure-plain",
	)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return commandRun{}, fmt.Errorf("securecache reseal: %w\n%s", err, stderr.Bytes())
	}
	var run commandRun
	if err := json.Unmarshal(out, &run); err != nil {
		return commandRun{}, fmt.Errorf("securecache reseal: %w", err)
	}
	if run.Resealed != records {
		return commandRun{}, fmt.Errorf("securecache reseal: %d of %d records were sealed anew, %d scanned", run.Resealed, records, run.Scanned)
	}
	run.peak = resident(cmd.ProcessState)
	return run, nil
}

// command builds the command from the parent directory, once.
func (b *bench) command(ctx context.Context) (string, error) {
	program := filepath.Join(b.dir, "securecache")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/securecache")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the command: %w\n%s", err, out)
	}
	return program, nil
}

// resident returns the most memory that an ended process had, in bytes.
func resident(p *os.ProcessState) uint64 {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return uint64(usage.Maxrss)
	}
	return uint64(usage.Maxrss) << 10
}

// commandRows hold a run over all records against the raw commands' rate, and
// its memory against that of a run over a tenth of them.
func commandRows(what string, all, tenth commandRun, raw float64) []row {
	const who = "securecache reseal, with its SCAN"
	ratio := all.rate() / raw
	growth := float64(all.peak) / float64(max(tenth.peak, 1))
	return []row{
		{what: what, who: who, figure: fmt.Sprintf("%.2f× the rate, %.0f records/s", ratio, all.rate()),
			targets: []target{atLeast(ratio, resealTarget, "×")}},
		{what: what, who: who + ", memory", figure: fmt.Sprintf("%.1f MiB at most, %.1f MiB over a tenth of the records", mebi(all.peak), mebi(tenth.peak)),
			targets: []target{atMost(growth, flatTarget, "× the tenth's")}},
	}
}
