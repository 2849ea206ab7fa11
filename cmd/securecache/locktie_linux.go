package main

import "syscall"

// tie has the kernel end the child when the thread that started it does.
func tie(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
