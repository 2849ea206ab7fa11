// Not under the race detector, whose shadow memory has terabytes to scan and to dump.

//go:build !race

package hardening_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/securecache/securecache-go/hardening"
)

// holderEnv has the test's binary hold a secret as a service would: "bare", or
// "hard" after hardening.Process, or "locked" with its memory locked.
// readerEnv has it look for the secret in a holder that it starts.
const holderEnv, readerEnv = "SECURECACHE_TEST_HOLDER", "SECURECACHE_TEST_READER"

// secret is what the holder holds. It stands in no binary, since it is computed.
func secret() []byte {
	sum := sha256.Sum256([]byte("what the holder holds"))
	return sum[:]
}

// TestProcessChild is what the tests below run in processes of their own.
func TestProcessChild(t *testing.T) {
	if how := os.Getenv(holderEnv); how != "" {
		hold(how)
	} else if how := os.Getenv(readerEnv); how != "" {
		fmt.Println("read:", read(how))
	} else {
		t.Skip("this is the other tests' child")
	}
}

// hold holds the secret until standard input closes, and then aborts.
func hold(how string) {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	held := secret()
	if how != "bare" {
		if err := hardening.Process(&hardening.ProcessOptions{LockMemory: how == "locked"}); err != nil {
			fmt.Println("refused:", err)
			return
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmLck:") {
			fmt.Println("locked:", strings.TrimSpace(strings.TrimPrefix(line, "VmLck:")))
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSEGV)
	_, _ = io.Discard.Write(held)
	select {}
}

// holder is a running child.
type holder struct {
	cmd   *exec.Cmd
	stdin io.Closer
	said  string
}

func startHolder(how, dir string) (*holder, error) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestProcessChild$")
	cmd.Env = append(os.Environ(), holderEnv+"="+how, readerEnv+"=", "GOTRACEBACK=crash")
	cmd.Dir = dir
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return nil, err
	}
	h := &holder{cmd: cmd, stdin: stdin}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		h.said += lines.Text() + "\n"
		if lines.Text() == "ready" || strings.HasPrefix(lines.Text(), "refused") {
			return h, nil
		}
	}
	return h, fmt.Errorf("the holder ended: %v", cmd.Wait())
}

// end has the holder abort and returns how it ended.
func (h *holder) end() syscall.WaitStatus {
	_ = h.stdin.Close()
	_ = h.cmd.Wait()
	return h.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// read looks for the secret in the memory of a holder of its own.
func read(how string) string {
	h, err := startHolder(how, "")
	if err != nil {
		return err.Error()
	}
	defer h.end()
	return scan(h.cmd.Process.Pid)
}

// scan reads all that another process has in memory.
func scan(pid int) string {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return why(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return why(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err != nil || !strings.HasPrefix(rights, "rw") {
			continue
		}
		// What a read gives before it fails counts too.
		area, _ := io.ReadAll(io.NewSectionReader(mem, from, to-from))
		if bytes.Contains(area, secret()) {
			return "found"
		}
	}
	return "not found"
}

func why(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "not permitted"
	}
	return err.Error()
}

// TestProcessMemory reads another process's memory as the same, unprivileged
// user, and, where the test may, as the superuser.
func TestProcessMemory(t *testing.T) {
	asUser := func(how string) string {
		binary, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		defer binary.Close()
		// By its descriptor: another user cannot enter the directory of the build.
		cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestProcessChild$")
		cmd.ExtraFiles = []*os.File{binary}
		cmd.Env = append(os.Environ(), readerEnv+"="+how)
		cmd.Dir = "/"
		if os.Getuid() == 0 {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		out, err := cmd.CombinedOutput()
		if _, answer, ok := strings.Cut(string(out), "read: "); ok {
			answer, _, _ = strings.Cut(answer, "\n")
			return answer
		}
		t.Fatalf("%v: %s", err, out)
		return ""
	}
	if got := asUser("bare"); got != "found" {
		t.Skipf("this system keeps processes apart by itself: %s", got)
	}
	if got := asUser("hard"); got != "not permitted" {
		t.Errorf("the memory of a hardened process: %s", got)
	}
	if os.Getuid() == 0 {
		if got := read("hard"); got != "found" {
			t.Logf("the superuser reads nothing either: %s", got)
		}
	}
}

func TestProcessCoreDump(t *testing.T) {
	dump := func(how string) (dumped, inFile bool) {
		dir := t.TempDir()
		h, err := startHolder(how, dir)
		if err != nil {
			t.Fatal(err)
		}
		status := h.end()
		files, _ := filepath.Glob(dir + "/core*")
		for _, file := range files {
			text, _ := os.ReadFile(file)
			inFile = inFile || bytes.Contains(text, secret())
		}
		return status.CoreDump(), inFile
	}
	dumped, inFile := dump("bare")
	if !dumped {
		t.Skip("this system writes no core dump of any process")
	}
	t.Logf("without Process there is a core dump; the secret in a file of it: %t", inFile)
	if dumped, inFile := dump("hard"); dumped || inFile {
		t.Errorf("a hardened process dumped core: %t, with the secret: %t", dumped, inFile)
	}
}

func TestProcessLocksMemory(t *testing.T) {
	h, err := startHolder("locked", "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.end()
	switch {
	case strings.Contains(h.said, "refused:"):
		if !strings.Contains(h.said, "LimitMEMLOCK") {
			t.Errorf("refused without a remedy: %s", h.said)
		}
	case strings.Contains(h.said, "locked: 0 kB"):
		t.Error("no memory is locked")
	}
}
