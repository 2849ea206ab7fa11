//go:build !linux

package server

import "os/exec"

// startTied starts cmd with a watchdog beside it.
func startTied(cmd *exec.Cmd) (untie func(), err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_, untie, err = watch(cmd.Process)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	return untie, err
}
