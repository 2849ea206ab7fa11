package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/securecache"
)

const (
	stateFormat = "securecache/reseal/1"
	// saveEvery is how much work an interruption may cost.
	saveEvery = time.Second
)

// position is how far a server was scanned.
type position struct {
	// RunID names the server's process, for whose hash seed the cursor is.
	RunID  string `json:"run_id,omitempty"`
	Cursor uint64 `json:"cursor"`
	Done   bool   `json:"done"`
}

// resealState is how far a run came, with its file where there is one. It
// holds no key names. Safe for concurrent use.
type resealState struct {
	Format    string              `json:"format"`
	Namespace string              `json:"namespace"`
	Primary   keys.ID             `json:"primary"`
	Tally     tally               `json:"tally"`
	Servers   map[string]position `json:"servers"`

	path  string // "" keeps it in memory
	mu    sync.Mutex
	saved time.Time
}

// openState reads the state of an earlier run, or begins one.
func openState(path, namespace string, primary keys.ID) (*resealState, error) {
	s := &resealState{Format: stateFormat, Namespace: namespace, Primary: primary, Servers: map[string]position{}, path: path}
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, s.save() // shows early that it can be written
	}
	if err != nil {
		return nil, err
	}
	earlier := &resealState{path: path}
	if err := json.Unmarshal(text, earlier); err != nil || earlier.Format != stateFormat {
		return nil, &failure{code: exitError, err: fmt.Errorf("%s is not the state of a reseal", path), next: "give another file with --state"}
	}
	if earlier.Namespace != namespace || earlier.Primary != primary {
		return nil, &failure{code: exitError,
			err:  fmt.Errorf("%s is the state of another run: of namespace %s, under the key %s", path, earlier.Namespace, earlier.Primary),
			next: "remove it to begin anew, or give another file with --state"}
	}
	if earlier.Servers == nil {
		earlier.Servers = map[string]position{}
	}
	return earlier, nil
}

func (s *resealState) position(addr string) position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Servers[addr]
}

// advance notes that a server's keys up to p are dealt with.
func (s *resealState) advance(addr string, p position, scanned int, r securecache.Resealed) error {
	s.mu.Lock()
	s.Servers[addr] = p
	s.Tally.add(scanned, r)
	due := time.Since(s.saved) > saveEvery
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.save()
}

// save replaces the file as a whole: a crash leaves the old text or the new one.
func (s *resealState) save() (err error) {
	if s.path == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(s.path), "."+filepath.Base(s.path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(append(text, '\n'))
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	s.saved = time.Now()
	return os.Rename(temp.Name(), s.path)
}

// remove ends a state whose run is complete.
func (s *resealState) remove() error {
	if s.path == "" {
		return nil
	}
	return os.Remove(s.path)
}
