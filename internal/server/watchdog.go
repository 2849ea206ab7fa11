package server

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// watch starts a shell that kills p once this process is gone: the kernel then
// closes the pipe on which the shell reads, as orphan does. It is for systems
// without a death signal. The number that the shell holds could come to mean
// another process after p has been reaped, so the caller unties as soon as it
// has.
func watch(p *os.Process) (orphan, untie func(), err error) {
	sh := exec.Command("/bin/sh", "-c", `read _; kill -9 "$0"`, strconv.Itoa(p.Pid))
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := sh.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := sh.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the watchdog: %w", err)
	}
	orphan = func() { _ = in.Close() }
	untie = func() {
		_ = sh.Process.Kill()
		orphan()
		_ = sh.Wait()
	}
	return orphan, untie, nil
}
