package keys_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/securecache/securecache-go/keys"
)

func TestFileSaves(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keyring.json")
	f, ctx := keys.NewFile(path), t.Context()
	_, err := f.Load(ctx)
	must(t, err, keys.ErrNotFound)
	must(t, f.Save(ctx, []byte("two"), []byte("one")), keys.ErrConflict)
	must(t, f.Save(ctx, []byte("one"), nil), nil)
	must(t, f.Save(ctx, []byte("one"), nil), keys.ErrExists)
	must(t, f.Save(ctx, []byte("three"), []byte("two")), keys.ErrConflict)
	must(t, f.Save(ctx, []byte("two"), []byte("one")), nil)
	text, err := f.Load(ctx)
	if err != nil || string(text) != "two" {
		t.Fatalf("loaded %q, %v", text, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestFileRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(path string) error
		says string
	}{
		{"readable by the group", written(0o640), "chmod 600"},
		{"readable by the world", written(0o604), "chmod 600"},
		{"writable by the world", written(0o602), "chmod 600"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		{"a named pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file"},
		{"too large", func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte("x"), keys.MaxDocument+1), 0o600)
		}, "larger"},
		{"a link to a readable file", func(path string) error {
			return errors.Join(written(0o644)(path+"2"), os.Symlink(path+"2", path))
		}, "chmod 600"},
		{"a link in a circle", func(path string) error { return os.Symlink(path, path) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyring.json")
			must(t, test.make(path), nil)
			f := keys.NewFile(path)
			_, err := f.Load(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("Load: %v", err)
			}
			if err := f.Save(t.Context(), []byte("new"), []byte("old")); err == nil || errors.Is(err, keys.ErrConflict) {
				t.Errorf("Save: %v", err)
			}
			if err := f.Save(t.Context(), []byte("new"), nil); err == nil {
				t.Error("Save created over it")
			}
		})
	}
}

func written(mode os.FileMode) func(path string) error {
	return func(path string) error {
		return errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Chmod(path, mode))
	}
}

// As Kubernetes mounts a secret: a link to a link, which it swaps for another.
func TestFileFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"v1", "v2"} {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700), nil)
		must(t, os.WriteFile(filepath.Join(dir, version, "keyring.json"), []byte(version), 0o400), nil)
	}
	path := filepath.Join(dir, "keyring.json")
	must(t, os.Symlink("v1", filepath.Join(dir, "..data")), nil)
	must(t, os.Symlink("..data/keyring.json", path), nil)
	f := keys.NewFile(path)
	text, err := f.Load(t.Context())
	if err != nil || string(text) != "v1" {
		t.Fatalf("loaded %q, %v", text, err)
	}
	must(t, os.Symlink("v2", filepath.Join(dir, "..new")), nil)
	must(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")), nil)
	text, err = f.Load(t.Context())
	if err != nil || string(text) != "v2" {
		t.Fatalf("loaded %q, %v", text, err)
	}
	must(t, f.Save(t.Context(), []byte("v3"), []byte("v2")), nil)
	if link, err := os.Readlink(path); err != nil || link != "..data/keyring.json" {
		t.Errorf("the link was replaced: %q, %v", link, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "v2", "keyring.json")); err != nil || string(text) != "v3" {
		t.Errorf("behind the link is %q, %v", text, err)
	}

	nowhere := filepath.Join(dir, "nowhere.json")
	must(t, os.Symlink("gone/keyring.json", nowhere), nil)
	if err := keys.NewFile(nowhere).Save(t.Context(), []byte("x"), nil); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link that leads nowhere: %v", err)
	}
	if err := keys.NewFile(filepath.Join(dir, "no", "dir.json")).Save(t.Context(), []byte("x"), nil); err == nil {
		t.Error("saved into a directory that is not there")
	}
}

// A reader needs no more than to read: no lock, no directory to write in.
func TestFileOnAReadOnlyMount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mount")
	must(t, os.Mkdir(dir, 0o700), nil)
	path, w := filepath.Join(dir, "keyring.json"), newLocker("test")
	must(t, keys.Create(t.Context(), namespace, keys.NewFile(path), w, keys.Layout{}), nil)
	must(t, os.Remove(path+".lock"), nil)
	must(t, os.Chmod(path, 0o400), nil)
	must(t, os.Chmod(dir, 0o500), nil)
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	k := open(t, keys.NewFile(path), w, nil)
	must(t, k.Refresh(t.Context()), nil)
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("a reader left %v", left)
	}
	if os.Geteuid() == 0 {
		t.Log("not tried: a save that is refused, since root may write anywhere")
		return
	}
	_, err := k.Rotate(t.Context())
	must(t, err, os.ErrPermission)
}

func TestFileLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	f := keys.NewFile(path)
	must(t, f.Save(t.Context(), []byte("one"), nil), nil)

	held, err := os.Open(path + ".lock")
	must(t, err, nil)
	must(t, syscall.Flock(int(held.Fd()), syscall.LOCK_EX), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	must(t, f.Save(ctx, []byte("two"), []byte("one")), context.DeadlineExceeded)
	if text, err := f.Load(t.Context()); err != nil || string(text) != "one" {
		t.Errorf("a reader waits for the lock, or a save did not: %q, %v", text, err)
	}

	saved := make(chan error, 1)
	go func() { saved <- f.Save(t.Context(), []byte("two"), []byte("one")) }()
	must(t, held.Close(), nil) // as the kernel does for a process that died
	must(t, <-saved, nil)

	must(t, os.Remove(path+".lock"), nil)
	must(t, f.Save(t.Context(), []byte("three"), []byte("two")), nil)
	must(t, os.Remove(path+".lock"), nil)
	must(t, os.Symlink("elsewhere", path+".lock"), nil)
	if err := f.Save(t.Context(), []byte("four"), []byte("three")); err == nil {
		t.Error("a lock that is a link was followed")
	}
}

// Of many writers that read the same text one wins, and readers see whole texts.
func TestFileComparesAndSets(t *testing.T) {
	f := keys.NewFile(filepath.Join(t.TempDir(), "keyring.json"))
	texts := make([][]byte, 8)
	for i := range texts {
		texts[i] = bytes.Repeat([]byte{'a' + byte(i)}, 64<<10)
	}
	must(t, f.Save(t.Context(), texts[0], nil), nil)
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			text, err := f.Load(t.Context())
			if err != nil || len(text) != 64<<10 || bytes.Count(text, text[:1]) != len(text) {
				t.Errorf("a torn read of %d bytes, %v", len(text), err)
				return
			}
		}
	})
	won := make(chan []byte, len(texts))
	for _, text := range texts[1:] {
		writers.Go(func() {
			switch err := f.Save(t.Context(), text, texts[0]); {
			case err == nil:
				won <- text
			case !errors.Is(err, keys.ErrConflict):
				t.Error(err)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if len(won) != 1 {
		t.Fatalf("%d writers won", len(won))
	}
	if text, err := f.Load(t.Context()); err != nil || !bytes.Equal(text, <-won) {
		t.Errorf("another's text was kept (%v)", err)
	}
}

// Root may be asked to change the keyring of a service that is not root.
func TestFileKeepsItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "keyring.json")
	f := keys.NewFile(path)
	must(t, os.Chown(dir, 1234, 1234), nil)
	must(t, f.Save(t.Context(), []byte("one"), nil), nil)
	must(t, os.Chown(path, 1234, 1234), nil)
	must(t, f.Save(t.Context(), []byte("two"), []byte("one")), nil)
	for _, path := range []string{path, path + ".lock"} {
		info, err := os.Stat(path)
		must(t, err, nil)
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 1234 {
			t.Errorf("%s belongs to %d", filepath.Base(path), uid)
		}
	}
}
