package lua

import _ "embed"

var (
	//go:embed revoke.lua
	revokeSource string
	//go:embed issue.lua
	issueSource string
	//go:embed consume.lua
	consumeSource string

	// Revoke stores a denylist entry and never shortens one.
	Revoke = New("revoke", revokeSource, Repeatable)
	// Issue stores a record where nothing is.
	Issue = New("issue", issueSource, Repeatable)
	// Consume takes a record away for one operation alone.
	Consume = New("consume", consumeSource, Repeatable)
)

var token = []*Script{Revoke, Issue, Consume}
