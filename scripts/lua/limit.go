package lua

import _ "embed"

var (
	//go:embed acquirelease.lua
	acquireLeaseSource string
	//go:embed fixedwindow.lua
	fixedWindowSource string
	//go:embed gcra.lua
	gcraSource string
	//go:embed releaselease.lua
	releaseLeaseSource string
	//go:embed renewlease.lua
	renewLeaseSource string
	//go:embed resetlimit.lua
	resetLimitSource string
	//go:embed slidingwindow.lua
	slidingWindowSource string

	// AcquireLease takes one of a limited number of leases.
	AcquireLease = New("acquirelease", acquireLeaseSource, Repeatable)
	// FixedWindow takes from what a window of time allows. Asked twice, it takes
	// twice.
	FixedWindow = New("fixedwindow", fixedWindowSource)
	// GCRA takes from a bucket that fills at an even rate. Asked twice, it takes
	// twice.
	GCRA = New("gcra", gcraSource)
	// ReleaseLease gives a lease back.
	ReleaseLease = New("releaselease", releaseLeaseSource, Repeatable)
	// RenewLease gives a lease more time, while it runs.
	RenewLease = New("renewlease", renewLeaseSource, Repeatable)
	// ResetLimit forgets what was taken.
	ResetLimit = New("resetlimit", resetLimitSource, Repeatable)
	// SlidingWindow takes from what a moving window of time allows. Asked twice, it
	// takes twice.
	SlidingWindow = New("slidingwindow", slidingWindowSource)

	// LookFixedWindow, LookGCRA and LookSlidingWindow are the same scripts for a
	// cost of 0, which may be asked again: it changes nothing.
	LookFixedWindow   = New("fixedwindow", fixedWindowSource, Repeatable)
	LookGCRA          = New("gcra", gcraSource, Repeatable)
	LookSlidingWindow = New("slidingwindow", slidingWindowSource, Repeatable)
)

// limits are the scripts of rate limits and leases.
var limits = []*Script{AcquireLease, FixedWindow, GCRA, ReleaseLease, RenewLease, ResetLimit, SlidingWindow}
