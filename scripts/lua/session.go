package lua

import _ "embed"

var (
	//go:embed session.lua
	sessionPrelude string
	//go:embed bury.lua
	burySource string
	//go:embed commit.lua
	commitSource string
	//go:embed create.lua
	createSource string
	//go:embed destroy.lua
	destroySource string
	//go:embed destroyall.lua
	destroyAllSource string
	//go:embed regenerate.lua
	regenerateSource string
	//go:embed sessions.lua
	sessionsSource string
	//go:embed update.lua
	updateSource string

	// Bury deletes a session and leaves a tombstone.
	Bury = New("bury", sessionPrelude+burySource, Repeatable)
	// Commit stores a session unless there is a tombstone of it.
	Commit = New("commit", sessionPrelude+commitSource, Repeatable)
	// Create stores a new session and enters it into its subject's index.
	Create = New("create", sessionPrelude+createSource)
	// Destroy removes a session.
	Destroy = New("destroy", sessionPrelude+destroySource, Repeatable)
	// DestroyAll removes sessions of a subject, if their index is as it was read.
	DestroyAll = New("destroyall", sessionPrelude+destroyAllSource, Repeatable)
	// Regenerate moves a session to another key, if it is as it was read.
	Regenerate = New("regenerate", sessionPrelude+regenerateSource, Repeatable)
	// Sessions reads all sessions of a subject at one moment.
	Sessions = New("sessions", sessionsSource, Repeatable)
	// Update replaces a session, if it is as it was read.
	Update = New("update", sessionPrelude+updateSource, Repeatable)
)

// session are the scripts of sessions.
var session = []*Script{Bury, Commit, Create, Destroy, DestroyAll, Regenerate, Sessions, Update}
