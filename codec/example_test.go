package codec_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/keys"
)

// shop returns a codec of the namespace "shop", with a keyring in a file as for
// development. done gives back what it holds.
func shop() (c *codec.Codec, done func()) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		log.Fatal(err)
	}
	ctx, file := context.Background(), keys.NewFile(filepath.Join(dir, "keyring.json"))
	if err := keys.Create(ctx, "shop", file, keys.InsecurePlain(), keys.Layout{}); err != nil {
		log.Fatal(err)
	}
	keyring, err := keys.Open(ctx, "shop", file, keys.InsecurePlain(), nil)
	if err != nil {
		log.Fatal(err)
	}
	if c, err = codec.New(keyring, nil); err != nil {
		log.Fatal(err)
	}
	return c, func() { _, _ = keyring.Close(), os.RemoveAll(dir) }
}

func Example() {
	c, done := shop()
	defer done()

	at := codec.Binding{Namespace: "shop", Kind: codec.KindSession, ID: "{K4Y6p3KtcaWOW8u7ltKeMg}"}
	record, err := c.Seal(nil, at, time.Now().Add(time.Hour), []byte("user=42"))
	if err != nil {
		log.Fatal(err)
	}
	content, err := c.Open(nil, at, record)
	fmt.Printf("%s, %v\n", content, err)

	// The server moves the record to where another user's session stands.
	at.ID = "{rwlzY2P00Pgw4u7ltKeMgA}"
	_, err = c.Open(nil, at, record)
	fmt.Println(err)
	// Output:
	// user=42, <nil>
	// codec: record refused: it does not authenticate under its key and in its place
}

func ExampleNew() {
	c, err := codec.New(nil, &codec.Options{Compression: codec.CompressionZstd})
	fmt.Println(c != nil, err)
	// Output: false codec: no source of keys
}

func ExampleCodec_Seal() {
	c, done := shop()
	defer done()
	at := codec.Binding{Namespace: "shop", Kind: codec.KindValue, ID: "{K4Y6p3KtcaWOW8u7ltKeMg}"}

	// One buffer for many records: nothing is allocated.
	buffer := make([]byte, 0, 4096)
	for _, value := range []string{"one", "two", "three"} {
		record, err := c.Seal(buffer[:0], at, time.Now().Add(time.Minute), []byte(value))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(record) - codec.Overhead)
	}
	_, err := c.Seal(nil, at, time.Time{}, []byte("for ever"))
	fmt.Println(errors.Is(err, codec.ErrLifetime))
	// Output:
	// 3
	// 3
	// 5
	// true
}

func ExampleCodec_Open() {
	c, done := shop()
	defer done()
	at := codec.Binding{Namespace: "shop", Kind: codec.KindValue, ID: "{K4Y6p3KtcaWOW8u7ltKeMg}"}

	content, err := c.Open(nil, at, []byte(`{"admin": true}`)) // somebody has put it there
	refused, ok := errors.AsType[*codec.RefusedError](err)
	switch {
	case err == nil:
		fmt.Printf("%s\n", content)
	case errors.Is(err, codec.ErrExpired):
		fmt.Println("a miss")
	case ok:
		fmt.Println("an alarm:", refused.Reason)
	}
	// Output: an alarm: not-record
}

func ExampleCodec_Reseal() {
	c, done := shop()
	defer done()
	at := codec.Binding{Namespace: "shop", Kind: codec.KindValue, ID: "{K4Y6p3KtcaWOW8u7ltKeMg}"}
	old, err := c.Seal(nil, at, time.Now().Add(time.Hour), []byte("value"))
	if err != nil {
		log.Fatal(err)
	}

	record, err := c.Reseal(nil, at, old) // with the key that is primary now
	if err != nil {
		log.Fatal(err)
	}
	before, _ := codec.ParseHeader(old)
	after, _ := codec.ParseHeader(record)
	fmt.Println(after.Written == before.Written, after.Expires == before.Expires, len(record) == len(old))
	// Output: true true true
}

func ExampleParseHeader() {
	c, done := shop()
	defer done()
	at := codec.Binding{Namespace: "shop", Kind: codec.KindSession, ID: "{K4Y6p3KtcaWOW8u7ltKeMg}"}
	record, err := c.Seal(nil, at, time.Now().Add(time.Hour), []byte("user=42"))
	if err != nil {
		log.Fatal(err)
	}
	h, err := codec.ParseHeader(record)
	fmt.Println(h.Suite, h.Compression, h.Padded, h.Size, err)
	// Output: AES-256-GCM none true 64 <nil>
}

func ExampleETagOf() {
	c, done := shop()
	defer done()
	at := codec.Binding{Namespace: "shop", Kind: codec.KindValue, ID: "{K4Y6p3KtcaWOW8u7ltKeMg}"}
	record, err := c.Seal(nil, at, time.Now().Add(time.Hour), []byte("value"))
	if err != nil {
		log.Fatal(err)
	}
	again, err := c.Reseal(nil, at, record)
	if err != nil {
		log.Fatal(err)
	}
	one, _ := codec.ETagOf(record)
	two, _ := codec.ETagOf(again)
	fmt.Println(one == two)
	// Output: false
}

func ExampleParseKind() {
	kind, err := codec.ParseKind("x80")
	fmt.Println(kind, kind.HoldsRecords(), err)
	// Output: x80 true <nil>
}

func ExampleJSON() {
	m := codec.JSON[map[string]int]()
	data, err := m.Marshal(map[string]int{"visits": 3})
	fmt.Printf("%s %v\n", data, err)
	var v map[string]int
	fmt.Println(m.Unmarshal([]byte(`{"visits": "many"}`), &v))
	// Output:
	// {"visits":3} <nil>
	// codec: the content is not the JSON of a map[string]int: want a value of type int before byte 17
}

func ExampleCBOR() {
	type visit struct {
		Page  string
		Count int
	}
	m := codec.CBOR[visit]()
	data, err := m.Marshal(visit{"/cart", 3})
	fmt.Printf("%x %v\n", data, err)
	var v visit
	err = m.Unmarshal(data, &v)
	fmt.Println(v, err)
	// Output:
	// a26450616765652f6361727465436f756e7403 <nil>
	// {/cart 3} <nil>
}

func ExampleBytes() {
	m := codec.Bytes()
	var v []byte
	err := m.Unmarshal([]byte("as it is"), &v)
	fmt.Printf("%s %v\n", v, err)
	// Output: as it is <nil>
}
