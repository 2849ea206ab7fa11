package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/keys"
)

func newKeysListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys of a namespace",
		Long: `List the keys of a namespace. The primary seals; pending ones will, from
their activation on; retired ones still open what they sealed, and may be
destroyed without loss from the last column on; destroyed ones open nothing.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := a.openKeyring(cmd.Context())
			if err != nil {
				return err
			}
			ring, err := k.Ring()
			if err != nil {
				return err
			}
			l := listing(ring)
			return a.show(l, l.text)
		},
	}
}

// list is a keyring as keys list shows it.
type list struct {
	Namespace string     `json:"namespace"`
	Revision  uint64     `json:"revision"`
	Layout    listLayout `json:"layout"`
	Keys      []listKey  `json:"keys"`

	now time.Time
}

type listLayout struct {
	Prefix     string `json:"prefix"`
	Names      string `json:"names"`
	Shards     int    `json:"shards"`
	MaxLife    int64  `json:"max_life_ms"` // 0 is without limit
	Refresh    int64  `json:"refresh_ms"`
	MaxOffline int64  `json:"max_offline_ms"`
}

type listKey struct {
	keys.Info
	State string `json:"state"`
}

func listing(ring *keys.Ring) list {
	now, layout := time.Now(), ring.Layout()
	l := list{Namespace: ring.Namespace(), Revision: ring.Revision(), now: now, Layout: listLayout{
		Prefix: layout.Prefix, Names: "blind", Shards: layout.Shards, MaxLife: layout.MaxLife.Milliseconds(),
		Refresh: layout.Refresh.Milliseconds(), MaxOffline: layout.MaxOffline.Milliseconds(),
	}}
	if layout.Plain {
		l.Layout.Names = "plain"
	}
	primary := ring.Primary(now).ID()
	for _, info := range ring.Keys() {
		l.Keys = append(l.Keys, listKey{info, state(info, primary, now)})
	}
	return l
}

func state(info keys.Info, primary keys.ID, now time.Time) string {
	switch {
	case info.Destroyed:
		return "destroyed"
	case info.ID == primary:
		return "primary"
	case info.Activates.After(now):
		return "pending"
	default:
		return "retired"
	}
}

func (l list) text(w io.Writer) error {
	life := "without limit"
	if l.Layout.MaxLife > 0 {
		life = span(time.Duration(l.Layout.MaxLife) * time.Millisecond)
	}
	if _, err := fmt.Fprintf(w, "namespace %s, revision %d, prefix %s, %s names, %s shards, longest life of a record %s\n\n",
		l.Namespace, l.Revision, l.Layout.Prefix, l.Layout.Names, strconv.Itoa(l.Layout.Shards), life); err != nil {
		return err
	}
	rows := [][]string{{"ID", "STATE", "CREATED", "ACTIVATES", "RETIRED", "DESTROYABLE FROM"}}
	for _, k := range l.Keys {
		rows = append(rows, []string{k.ID.String(), k.State, moment(k.Created, l.now), moment(k.Activates, l.now),
			dash(k.Retired, l.now), l.destroyable(k)})
	}
	return lines(w, rows...)
}

func (l list) destroyable(k listKey) string {
	switch {
	case k.Destroyed:
		return "-"
	case k.State == "retired" && l.Layout.MaxLife == 0:
		return "never (records need not expire)"
	}
	return dash(k.Destroyable, l.now)
}

// dash is moment for a time that may not be known yet.
func dash(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return moment(t, now)
}
