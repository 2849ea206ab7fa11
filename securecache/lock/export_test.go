package lock

// Waiting returns how many wait for locks of l.
func Waiting(l *Locker) (n int) {
	l.waits.mu.Lock()
	defer l.waits.mu.Unlock()
	for _, line := range l.waits.lines {
		n += len(line.waiters)
	}
	return n
}
