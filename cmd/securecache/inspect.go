package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

func newInspectCmd(a *app) *cobra.Command {
	var i inspection
	cmd := &cobra.Command{
		Use:   "inspect KEY | --name NAME",
		Short: "Show what the server holds, without any key",
		Long: `Show what a record says of itself in its header, and how long the server will
keep it. That needs no key of the keyring, and nothing of it is proven.

--open opens the record with the keyring, which proves it. --name blinds a name
to find its key, which needs the keyring too. The content shows with --show
alone.`,
		Example: `  securecache inspect 'sc:shop:v:{hCx2gW5qJwEkVZ8c0mQ0bA}'
  securecache inspect --name user/42/token --open`,
		Args: func(cmd *cobra.Command, args []string) error {
			if i.name == "" {
				return takes("KEY")(cmd, args)
			}
			return takes()(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				i.key = args[0]
			}
			i.open = i.open || i.show
			return i.run(cmd.Context(), a)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&i.name, "name", "", "name of a value, in place of the Redis key")
	flags.StringVar(&i.field, "field", "", "field of a hash, as the server holds it")
	flags.BoolVar(&i.open, "open", false, "open the record with the keyring")
	flags.BoolVar(&i.show, "show", false, "print the content as well; implies --open")
	return cmd
}

// inspection is one look at a record.
type inspection struct {
	key, name, field string
	open, show       bool

	rdb     redis.UniversalClient
	records *codec.Codec // nil where no keyring is needed
	place   securecache.Key
}

func (i *inspection) run(ctx context.Context, a *app) error {
	if err := i.connect(ctx, a); err != nil {
		return err
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	record, ttl, err := i.read(ctx)
	if err != nil {
		return err
	}
	header, err := codec.ParseHeader(record)
	if err != nil {
		return err
	}
	found := describe(i.place, header, len(record), ttl)
	var opened error
	if i.open {
		binding := i.place.Binding()
		binding.FieldID = i.field
		var content []byte
		content, opened = i.records.Open(nil, binding, record)
		found.judge(content, opened, i.show)
	}
	if err := a.show(found, func(w io.Writer) error { return found.text(w, time.Now()) }); err != nil {
		return err
	}
	if i.show && opened == nil && a.output != jsonFormat {
		fmt.Fprintln(a.stdout)
		return writeContent(a.stdout, found.Content)
	}
	return opened
}

// connect opens what the inspection needs: the server always, the keyring where
// a name is to be blinded or a record to be opened.
func (i *inspection) connect(ctx context.Context, a *app) (err error) {
	if i.name == "" {
		if i.place, err = securecache.ParseKey(i.key); err != nil {
			return err
		}
		space := i.place.Binding().Namespace
		if a.namespace == "" {
			a.namespace = space
		}
		if i.open && a.namespace != space {
			return codec.ErrNamespace
		}
	}
	if i.name == "" && !i.open {
		i.rdb, err = a.connect(ctx)
		return err
	}
	ring, err := a.openKeyring(ctx)
	if err != nil {
		return err
	}
	if i.rdb, err = a.connect(ctx); err != nil {
		return err
	}
	if i.records, err = codec.New(ring, nil); err != nil || i.name == "" {
		return err
	}
	cache, err := securecache.New(i.rdb, ring, nil)
	if err != nil {
		return err
	}
	a.atExit(cache.Close)
	i.place, err = cache.Tagged(a.tag).Key(codec.KindValue, i.name)
	return err
}

// read fetches the record and the server's TTL, of one moment as far as one
// round trip gives that.
func (i *inspection) read(ctx context.Context) ([]byte, time.Duration, error) {
	key := i.place.String()
	get := redis.NewStringCmd(ctx, "get", key)
	if i.field != "" {
		get = redis.NewStringCmd(ctx, "hget", key, i.field)
	}
	ttl := redis.NewDurationCmd(ctx, time.Millisecond, "pttl", key)
	errs := lua.Pipeline(ctx, i.rdb, []redis.Cmder{get, ttl})
	record, err := []byte(get.Val()), errs[0]
	switch {
	case err == redis.Nil:
		return nil, 0, &failure{code: exitAbsent, err: errors.New("nothing is stored under this key"), next: "check the key; what has expired is gone"}
	case redis.HasErrorPrefix(err, "WRONGTYPE") && i.field == "":
		return nil, 0, &failure{code: exitError, err: errors.New("this key holds no string"), next: "a hash has a record in each field: give one with --field"}
	case err != nil:
		return nil, 0, err
	}
	return record, ttl.Val(), errs[1]
}

// finding is what inspect prints.
type finding struct {
	Key         string    `json:"key"`
	Kind        string    `json:"kind"`
	Suite       string    `json:"suite"`
	Compression string    `json:"compression"`
	Padded      bool      `json:"padded"`
	KeyID       keys.ID   `json:"key_id"`
	Written     time.Time `json:"written"`
	Expires     time.Time `json:"expires,omitzero"`
	Record      int       `json:"record_bytes"`
	Ciphertext  int       `json:"ciphertext_bytes"`
	TTL         *int64    `json:"server_ttl_ms"` // null where the server has none
	Opens       *bool     `json:"opens,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Size        *int      `json:"content_bytes,omitempty"`
	Content     []byte    `json:"content,omitempty"`
}

func describe(place securecache.Key, h codec.Header, size int, ttl time.Duration) *finding {
	f := &finding{
		Key: place.String(), Kind: place.Kind().String(),
		Suite: h.Suite.String(), Compression: h.Compression.String(), Padded: h.Padded,
		KeyID: h.KeyID, Written: h.Written, Expires: h.Expires, Record: size, Ciphertext: h.Size,
	}
	if ttl >= 0 {
		ms := ttl.Milliseconds()
		f.TTL = &ms
	}
	return f
}

// judge notes how opening went.
func (f *finding) judge(content []byte, err error, show bool) {
	opens := err == nil
	f.Opens = &opens
	var refused *securecache.RefusedError
	switch {
	case errors.As(err, &refused):
		f.Reason = refused.Reason.String()
	case err != nil:
		f.Reason = trimOrigin(err.Error())
	default:
		size := len(content)
		f.Size = &size
		if show {
			f.Content = content
		}
	}
}

func (f *finding) text(w io.Writer, now time.Time) error {
	ttl := "none"
	if f.TTL != nil {
		ttl = distance(time.Duration(*f.TTL) * time.Millisecond)
	}
	padding := "no"
	if f.Padded {
		padding = "yes"
	}
	rows := [][]string{
		{"key", f.Key}, {"kind", f.Kind}, {"suite", f.Suite}, {"compression", f.Compression}, {"padded", padding},
		{"key id", f.KeyID.String()},
		{"written", moment(f.Written, now)}, {"expires", moment(f.Expires, now)}, {"server's TTL ends", ttl},
		{"record", strconv.Itoa(f.Record) + " bytes"}, {"ciphertext", strconv.Itoa(f.Ciphertext) + " bytes"},
	}
	switch {
	case f.Opens == nil:
	case *f.Opens:
		rows = append(rows, []string{"opens", "yes"}, []string{"content", strconv.Itoa(*f.Size) + " bytes"})
	default:
		rows = append(rows, []string{"opens", "no: " + f.Reason})
	}
	return lines(w, rows...)
}
