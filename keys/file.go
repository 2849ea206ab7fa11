package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// File is a [Store] in one file, which only its owner may read and write. It
// is replaced as a whole, under a lock on a second file beside it; the lock
// ends with the process that holds it. Readers need neither lock nor write
// permission, so a read-only mount will do for them.
type File struct{ path string }

// NewFile returns the store at path. A symbolic link is followed: the file it
// leads to is the one replaced.
func NewFile(path string) *File { return &File{path: path} }

// Load reads the file. It refuses one that group or others may access, and
// anything but a regular file.
func (f *File) Load(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, _, err := f.read(f.path)
	return text, err
}

// Save replaces the file; see [Store].
func (f *File) Save(ctx context.Context, doc, old []byte) error {
	path, err := f.target()
	if err != nil {
		return err
	}
	unlock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return fmt.Errorf("keys: lock the keyring file for writing: %w", err)
	}
	defer unlock()
	now, info, err := f.read(path)
	switch {
	case old == nil && err == nil:
		return fmt.Errorf("%w (%s)", ErrExists, f.path)
	case old == nil && errors.Is(err, ErrNotFound):
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%w: %s is gone", ErrConflict, f.path)
	case err != nil:
		return err
	case !bytes.Equal(now, old):
		return ErrConflict
	}
	if err := replace(path, doc, info); err != nil {
		return fmt.Errorf("keys: write the keyring file: %w", err)
	}
	return nil
}

// target returns the path that the file has behind its symbolic links.
func (f *File) target() (string, error) {
	path, err := filepath.EvalSymlinks(f.path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if _, err := os.Lstat(f.path); err == nil {
		return "", fmt.Errorf("keys: %s is a symbolic link that leads nowhere", f.path)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(f.path))
	if err != nil {
		return "", fmt.Errorf("keys: the keyring's directory: %w", err)
	}
	return filepath.Join(dir, filepath.Base(f.path)), nil
}

// read returns the text at path and what the file is.
func (f *File) read(path string) ([]byte, fs.FileInfo, error) {
	// Without O_NONBLOCK a named pipe in the file's place would hang the open.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w (%s)", ErrNotFound, f.path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("keys: open the keyring file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("keys: open the keyring file: %w", err)
	}
	if err := f.judge(info); err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, MaxDocument+1))
	if err != nil {
		return nil, nil, fmt.Errorf("keys: read the keyring file: %w", err)
	}
	if len(text) > MaxDocument {
		return nil, nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrDocument, f.path, MaxDocument)
	}
	return text, info, nil
}

func (f *File) judge(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("keys: %s is not a regular file", f.path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("keys: %s has mode %04o, so others than its owner may access it; run: chmod 600 %s", f.path, mode, f.path)
	}
	return nil
}

// replace writes doc beside path and renames it there, so that a reader sees
// the old text or the new one and a crash leaves either. was is the file
// replaced, nil where there is none.
func replace(path string, doc []byte, was fs.FileInfo) (err error) {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(doc)
	if err == nil {
		err = keepOwner(temp, was)
	}
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// keepOwner gives file the owner of the one it replaces: root may have been
// asked to rotate the keys of a service that could not read the result.
func keepOwner(file *os.File, was fs.FileInfo) error {
	if was == nil || os.Geteuid() != 0 {
		return nil
	}
	stat, ok := was.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return file.Chown(int(stat.Uid), int(stat.Gid))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
