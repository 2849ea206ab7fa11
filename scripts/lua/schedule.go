package lua

import _ "embed"

var (
	//go:embed ack.lua
	ackSource string
	//go:embed claim.lua
	claimSource string
	//go:embed deadletters.lua
	deadLettersSource string
	//go:embed deletescheduled.lua
	deleteScheduledSource string
	//go:embed dropletters.lua
	dropLettersSource string
	//go:embed requeue.lua
	requeueSource string
	//go:embed scheduledepth.lua
	scheduleDepthSource string
	//go:embed setscheduled.lua
	setScheduledSource string
	//go:embed touchscheduled.lua
	touchScheduledSource string
	//go:embed unclaim.lua
	unclaimSource string

	// Ack removes events that have been dealt with.
	Ack = New("ack", ackSource, Repeatable)
	// Claim takes events whose deadlines have passed, for a while. What a claim
	// whose reply was lost has taken comes back by itself.
	Claim = New("claim", claimSource)
	// DeadLetters reads a portion of the dead letters.
	DeadLetters = New("deadletters", deadLettersSource, Repeatable)
	// DeleteScheduled removes a record and withdraws its event.
	DeleteScheduled = New("deletescheduled", deleteScheduledSource, Repeatable)
	// DropLetters removes dead letters.
	DropLetters = New("dropletters", dropLettersSource, Repeatable)
	// Requeue makes dead letters due again.
	Requeue = New("requeue", requeueSource, Repeatable)
	// ScheduleDepth counts what a shard holds.
	ScheduleDepth = New("scheduledepth", scheduleDepthSource, Repeatable)
	// SetScheduled stores a record, or replaces the one that was read, and
	// schedules the event that announces its end.
	SetScheduled = New("setscheduled", setScheduledSource, Repeatable)
	// TouchScheduled renews the TTL of a record, up to the record's own end, and
	// moves its event.
	TouchScheduled = New("touchscheduled", touchScheduledSource, Repeatable)
	// Unclaim gives events back that were claimed and not begun.
	Unclaim = New("unclaim", unclaimSource, Repeatable)
)

// schedule are the scripts of scheduled expiry.
var schedule = []*Script{
	Ack, Claim, DeadLetters, DeleteScheduled, DropLetters, Requeue, ScheduleDepth, SetScheduled, TouchScheduled, Unclaim,
}
