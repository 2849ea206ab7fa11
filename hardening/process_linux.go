package hardening

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

func protect(lock bool) error {
	errs := []error{noCore()}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("hardening: making the process undumpable: %w", err))
	}
	if lock {
		errs = append(errs, lockMemory())
	}
	return errors.Join(errs...)
}

func lockMemory() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("hardening: reading RLIMIT_MEMLOCK: %w", err)
	}
	if limit.Cur != unix.RLIM_INFINITY && !mayLock() {
		return fmt.Errorf("hardening: memory cannot be locked under a limit of %d bytes; raise it (systemd: LimitMEMLOCK=infinity, shell: ulimit -l unlimited) or grant CAP_IPC_LOCK", limit.Cur)
	}
	// On fault: the Go runtime reserves address space that it never touches.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("hardening: locking memory: %w", err)
	}
	return nil
}

// mayLock reports whether the process has CAP_IPC_LOCK.
func mayLock() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}
