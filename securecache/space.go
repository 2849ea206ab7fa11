package securecache

import "sync"

// space is where a record is sealed, used again once its command is done: a
// record's worth of garbage a write costs more than sealing it.
type space struct{ record []byte }

// Larger ones are left to the garbage collector.
const mostSpace = 64 << 10

var spaces = sync.Pool{New: func() any { return new(space) }}

func takeSpace() *space { return spaces.Get().(*space) }

// giveBack is for a space that nothing refers to any more. What it holds is
// sealed and need not be cleared.
func (s *space) giveBack() {
	if cap(s.record) <= mostSpace {
		spaces.Put(s)
	}
}
