package hardening

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

func protect(lock bool) error {
	errs := []error{noCore()}
	if err := unix.PtraceDenyAttach(); err != nil {
		errs = append(errs, fmt.Errorf("hardening: denying debuggers: %w", err))
	}
	if lock {
		errs = append(errs, errors.New("hardening: macOS cannot lock a process's memory; its swap is encrypted"))
	}
	return errors.Join(errs...)
}
