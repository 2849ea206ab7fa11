package hardening

// ProcessOptions tune [Process]; nil and the zero value mean the defaults.
type ProcessOptions struct {
	// LockMemory keeps all memory of the process, now and later, out of swap and
	// hibernation images of what it runs on. On Linux it takes CAP_IPC_LOCK or an
	// unlimited RLIMIT_MEMLOCK, and is an error without: under a limit the Go
	// runtime would fail to get memory later, in the middle of the work. Other
	// systems cannot do it, which is an error too.
	LockMemory bool
}

// Process keeps the memory of the calling process from others, as far as the
// system lets it. Call it first thing in main, before keys are loaded. What it
// could do stays done where it returns an error. It may be called again.
//
// On Linux the process writes no core dump (a soft RLIMIT_CORE of 0), and is not
// dumpable (PR_SET_DUMPABLE): no other process of the same user may attach to
// it, read its /proc/PID/mem or have the system dump it for a core_pattern that
// is a program, which heeds no limit. On macOS it writes no core dump, and
// debuggers may not attach (PT_DENY_ATTACH), which ends one that already has and
// the process with it.
//
// It does not stop the superuser or whoever has CAP_SYS_PTRACE, the kernel, the
// hypervisor, or code within the process: the keys are there and can be read.
// Programs that the process starts inherit the limit on core dumps, which they
// may raise again, and none of the rest.
func Process(o *ProcessOptions) error {
	if o == nil {
		o = new(ProcessOptions)
	}
	return protect(o.LockMemory)
}
