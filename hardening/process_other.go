//go:build !linux && !darwin

package hardening

import (
	"errors"
	"runtime"
)

func protect(bool) error {
	return errors.New("hardening: how to protect a process on " + runtime.GOOS + " is not known here")
}
