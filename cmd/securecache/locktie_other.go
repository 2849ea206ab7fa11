//go:build !linux

package main

import "syscall"

// tie does nothing where the kernel knows no such thing.
func tie(*syscall.SysProcAttr) {}
