package server

import (
	"os/exec"
	"syscall"
)

// startTied starts cmd so that the kernel kills it when the calling thread
// ends; see run.
func startTied(cmd *exec.Cmd) (untie func(), err error) {
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return func() {}, cmd.Start()
}
