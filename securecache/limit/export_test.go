package limit

import "time"

// MaxNames is how many names are counted in the process.
const MaxNames = maxNames

// Table is what is counted in the process.
type Table struct{ t table[time.Time] }

// NewTable returns an empty one.
func NewTable() *Table { return new(Table) }

// Room is table.room.
func (t *Table) Room(name string, now time.Time, over func(time.Time) bool) bool {
	return t.t.room(name, now, over)
}

// Set keeps what is known of a name.
func (t *Table) Set(name string, v time.Time) { t.t.of[name] = v }

// Len is how many names are known.
func (t *Table) Len() int { return len(t.t.of) }
