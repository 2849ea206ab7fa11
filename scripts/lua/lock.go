package lua

import _ "embed"

var (
	//go:embed acquirelock.lua
	acquireLockSource string
	//go:embed extendlock.lua
	extendLockSource string
	//go:embed releaselock.lua
	releaseLockSource string
	//go:embed guardedset.lua
	guardedSetSource string

	// AcquireLock takes a lock that is free, and gives it a fence.
	AcquireLock = New("acquirelock", acquireLockSource, Repeatable)
	// ExtendLock gives a lock more time, for its owner alone.
	ExtendLock = New("extendlock", extendLockSource, Repeatable)
	// ReleaseLock gives a lock back, for its owner alone, and tells who waits.
	ReleaseLock = New("releaselock", releaseLockSource, Repeatable)
	// GuardedSet stores a record unless a later holder of the lock has.
	GuardedSet = New("guardedset", guardedSetSource, Repeatable)
)

// locks are the scripts of locks.
var locks = []*Script{AcquireLock, ExtendLock, ReleaseLock, GuardedSet}
