package keys

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const longestLockPause = 50 * time.Millisecond

// lockFile takes the lock at path, waiting for it under ctx. The kernel drops
// the lock with the process, so none is ever left over; the file stays, since
// removing it would let two processes lock two files of one name.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	for pause := time.Millisecond; ; pause = min(2*pause, longestLockPause) {
		file, err := tryLock(path)
		if err != nil {
			return nil, err
		}
		if file != nil {
			return func() { _ = file.Close() }, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// tryLock returns nil where another holds the lock.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = shareOwner(file, path)
	if err == nil {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil && isAt(file, path) {
		return file, nil
	}
	_ = file.Close()
	if err == nil || errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return nil, nil
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// isAt reports whether path still leads to file: somebody may have removed it
// between its opening and its locking.
func isAt(file *os.File, path string) bool {
	own, err1 := file.Stat()
	there, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(own, there)
}

// shareOwner gives the lock to the owner of its directory where root made it,
// so that the service can take it later.
func shareOwner(file *os.File, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	return keepOwner(file, dir)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
