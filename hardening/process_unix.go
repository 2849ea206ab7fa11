//go:build linux || darwin

package hardening

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCore lowers the soft limit alone: a program that the process starts may be
// one that is to dump.
func noCore() error {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_CORE, &limit)
	if err == nil {
		limit.Cur = 0
		err = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
	if err != nil {
		return fmt.Errorf("hardening: switching core dumps off: %w", err)
	}
	return nil
}
