package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
)

// The people, addresses and tokens are invented: example.com and 198.51.100.0/24
// are reserved for documentation.
type demoSession struct {
	User    string   `json:"user"`
	Name    string   `json:"name"`
	Email   string   `json:"email"`
	Roles   []string `json:"roles"`
	Address string   `json:"address"`
	CSRF    string   `json:"csrf"`
}

type demoOrder struct {
	Number  string `json:"number"`
	Article string `json:"article"`
	ShipTo  string `json:"ship_to"`
}

type demoProfile struct {
	User   string      `json:"user"`
	Born   string      `json:"born"`
	Phone  string      `json:"phone"`
	Orders []demoOrder `json:"orders"`
}

// demoRecord is what the application stores under a name.
type demoRecord struct {
	name  string
	value []byte
	ttl   time.Duration
}

// demoRecords are two sessions, two tokens and a profile, which is large enough
// to be compressed.
func demoRecords() []demoRecord {
	return []demoRecord{
		{"session/kQ7vXw2LrTz9Hn4BsYd1", encode(demoSession{
			"u-20417", "Ada Lindqvist", "ada.lindqvist@example.com", []string{"billing-admin"}, "198.51.100.23", "c5Jt0WmRk8",
		}), 8 * time.Hour},
		{"session/Mf3pUe8GaCj6Zo5KxNb0", encode(demoSession{
			"u-33102", "Bruno Okafor", "b.okafor@example.com", []string{"support-emea"}, "198.51.100.77", "x1Vd7PqLs2",
		}), 2 * time.Hour},
		{"refresh-token/u-20417", []byte("demo_rt_8sLw3NcYp0QvJt6RzKe5XaGm1HbUf9Dx"), 24 * time.Hour},
		{"api-token/acme-deploy", []byte("demo_at_Vn2TgCk7MyWq4ErZs9PjLd0BhXo6FuIa"), 12 * time.Hour},
		{"profile/u-20417", encode(demoProfile{"u-20417", "1987-03-14", "+46 8 555 01 99", demoOrders()}), 6 * time.Hour},
	}
}

func demoOrders() []demoOrder {
	articles := []string{"walking boots, size 39", "blood pressure monitor", "second-hand accordion"}
	orders := make([]demoOrder, 24)
	for i := range orders {
		orders[i] = demoOrder{fmt.Sprintf("SE-%05d", 70311+17*i), articles[i%len(articles)], "Fictional Street 5, 111 22 Stockholm"}
	}
	return orders
}

// encode is for values that always marshal.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// storeAndShow stores the records and shows each from both sides.
func (d *demo) storeAndShow(ctx context.Context) error {
	d.out.section("What the application sees, and what the server holds")
	d.out.text("Names, people and tokens are invented. Keys and records are read from the server " +
		"by its administrator: they are all that it ever gets.")
	for _, r := range d.records {
		if err := d.app().Set(ctx, r.name, r.value, r.ttl); err != nil {
			return err
		}
		if err := d.show(ctx, r); err != nil {
			return err
		}
	}
	d.checks("read once more by the application", "which gets")
	for _, r := range d.records {
		d.expectValue(ctx, r.name, r)
	}
	return nil
}

func (d *demo) show(ctx context.Context, r demoRecord) error {
	got, err := d.app().Get(ctx, r.name)
	if err != nil {
		return err
	}
	key, record, err := d.held(ctx, r.name)
	if err != nil {
		return err
	}
	header, err := codec.ParseHeader(record)
	if err != nil {
		return err
	}
	d.out.line("")
	d.out.field("name", r.name, bold)
	d.out.field("application", string(got), "")
	d.out.field("server: key", key, "")
	d.out.field("  header", headline(header), "")
	d.out.field(fmt.Sprintf("  %d bytes", len(record)), dump(record), faint)
	return nil
}

// held returns what the server holds for a name.
func (d *demo) held(ctx context.Context, name string) (key string, record []byte, err error) {
	if key, err = d.key(name); err != nil {
		return "", nil, err
	}
	record, err = d.stage.admin.Get(ctx, key).Bytes()
	return key, record, err
}

// key returns the Redis key of a name.
func (d *demo) key(name string) (string, error) {
	k, err := d.app().Key(codec.KindValue, name)
	return k.String(), err
}

// headline puts a header in a line.
func headline(h codec.Header) string {
	parts := []string{h.Suite.String()}
	if h.Compression != codec.CompressionNone {
		parts = append(parts, h.Compression.String())
	}
	if h.Padded {
		parts = append(parts, "padded")
	}
	life := h.Expires.Sub(h.Written).Round(time.Second)
	return fmt.Sprintf("%s, key %s, from %s for %s", strings.Join(parts, ", "), brief(h.KeyID),
		h.Written.Local().Format(time.TimeOnly), span(life))
}

// brief is enough of a key's id to tell it from others.
func brief(id keys.ID) string { return id.String()[:8] }

// dump is the beginning and the end of a record in hex.
func dump(record []byte) string {
	const first, last = 24, 4
	var b strings.Builder
	for word := range slices.Chunk(record[:first], 4) {
		fmt.Fprintf(&b, "%x ", word)
	}
	return fmt.Sprintf("%s… %x", b.String(), record[len(record)-last:])
}
