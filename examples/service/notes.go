package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/securecache/securecache-go/securecache"
	"github.com/securecache/securecache-go/securecache/lock"
)

const notesLife = 24 * time.Hour

func notesOf(r *http.Request) string { return "notes of " + callerName(r) }

func (s *service) readNotes(w http.ResponseWriter, r *http.Request) error {
	list, err := s.notes.Get(r.Context(), notesOf(r))
	if err != nil && !errors.Is(err, securecache.ErrMiss) {
		return err
	}
	return answer(w, http.StatusOK, list)
}

// addNote reads, changes and writes, which is why there is one at a time.
func (s *service) addNote(w http.ResponseWriter, r *http.Request) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
	if err != nil {
		return errForm
	}
	list, err := s.notes.Get(r.Context(), notesOf(r))
	if err != nil && !errors.Is(err, securecache.ErrMiss) {
		return err
	}
	list = append(list, string(text))
	content, err := json.Marshal(list[max(len(list)-100, 0):])
	if err != nil {
		return err
	}
	// The fence refuses it where a later change has come: this process may have
	// stood still for longer than the lock lasts.
	held, _ := lock.FromContext(r.Context())
	if err := held.GuardedSet(r.Context(), notesOf(r), content, notesLife); err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]int{"notes": min(len(list), 100)})
}
