package codec_test

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
)

type session struct {
	User    string            `json:"user" cbor:"user"`
	Roles   []string          `json:"roles" cbor:"roles"`
	Seen    time.Time         `json:"seen" cbor:"seen"`
	Token   []byte            `json:"token" cbor:"token"`
	Extra   map[string]any    `json:"extra" cbor:"extra"`
	Numbers map[string]uint64 `json:"numbers" cbor:"numbers"`
	Next    *session          `json:"next,omitempty" cbor:"next,omitempty"`
}

func TestMarshalersRoundTrip(t *testing.T) {
	value := session{
		User: "ada", Roles: []string{"admin", "é"}, Seen: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC), Token: []byte{0, 1, 0xff},
		Extra: map[string]any{"a": "b", "c": true}, Numbers: map[string]uint64{"max": math.MaxUint64}, Next: &session{User: "bob"},
	}
	for name, m := range map[string]codec.Marshaler[session]{"JSON": codec.JSON[session](), "CBOR": codec.CBOR[session]()} {
		data, err := m.Marshal(value)
		if err != nil {
			t.Fatalf("%s: Marshal: %v", name, err)
		}
		got := session{User: "somebody else", Roles: []string{"of", "before", "now"}, Extra: map[string]any{"left": "over"}}
		if err := m.Unmarshal(data, &got); err != nil {
			t.Fatalf("%s: Unmarshal: %v", name, err)
		}
		clear(data) // a pooled buffer, used again
		if !got.Seen.Equal(value.Seen) {
			t.Errorf("%s: the time is %v", name, got.Seen)
		}
		got.Seen, got.Next.Seen = value.Seen, value.Next.Seen
		if !reflect.DeepEqual(got, value) {
			t.Errorf("%s: %+v, want %+v", name, got, value)
		}
	}
}

func TestCBORIsDeterministic(t *testing.T) {
	m := codec.CBOR[map[string]int]()
	value := map[string]int{}
	for _, name := range strings.Fields("the quick brown fox jumps over a lazy dog") {
		value[name] = len(name)
	}
	one, err := m.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if two, err := m.Marshal(value); err != nil || !bytes.Equal(one, two) {
			t.Fatalf("another encoding of one value, %v", err)
		}
	}
}

func TestBytes(t *testing.T) {
	m := codec.Bytes()
	value := []byte("value")
	data, err := m.Marshal(value)
	if err != nil || &data[0] != &value[0] {
		t.Errorf("Marshal copies, %v", err)
	}
	kept := []byte("kept by somebody")
	got := kept
	if err := m.Unmarshal(data, &got); err != nil || !bytes.Equal(got, value) {
		t.Errorf("Unmarshal: %q, %v", got, err)
	}
	clear(data)
	if string(got) != "value" || string(kept) != "kept by somebody" {
		t.Error("Unmarshal shares memory with its input, or writes to what was there")
	}
	for _, empty := range [][]byte{nil, {}} {
		if err := m.Unmarshal(empty, &got); err != nil || got == nil || len(got) != 0 {
			t.Errorf("Unmarshal of nothing: %v, %v", got, err)
		}
	}
}

// awkward has a custom method that fails and says what it was given.
type awkward struct{ secret string }

func (a awkward) MarshalJSON() ([]byte, error)  { return nil, errors.New("cannot encode " + a.secret) }
func (a *awkward) UnmarshalJSON(b []byte) error { return errors.New("cannot decode " + string(b)) }
func (a awkward) MarshalCBOR() ([]byte, error)  { return nil, errors.New("cannot encode " + a.secret) }
func (a *awkward) UnmarshalCBOR(b []byte) error { return errors.New("cannot decode " + string(b)) }

// TestUnmarshalErrors looks at what is refused, at what is left in the value,
// and at what the error says.
func TestUnmarshalErrors(t *testing.T) {
	type numbers struct {
		N int8   `json:"n" cbor:"n"`
		S string `json:"s" cbor:"s"`
	}
	deep := strings.Repeat("\x81", 100) + "\x00"
	tests := map[string]struct {
		m    codec.Marshaler[numbers]
		data string
	}{
		"JSON, not JSON":              {codec.JSON[numbers](), `hunter2`},
		"JSON, cut":                   {codec.JSON[numbers](), `{"s":"hunter2"`},
		"JSON, trailer":               {codec.JSON[numbers](), `{"s":"hunter2"} x`},
		"JSON, another type":          {codec.JSON[numbers](), `{"s":"hunter2","n":"hunter2"}`},
		"JSON, too large":             {codec.JSON[numbers](), `{"s":"hunter2","n":31337}`},
		"JSON, nothing":               {codec.JSON[numbers](), ``},
		"CBOR, nothing":               {codec.CBOR[numbers](), ""},
		"CBOR, text":                  {codec.CBOR[numbers](), "\x67hunter2"},
		"CBOR, cut":                   {codec.CBOR[numbers](), "\xa1\x61s\x67hunter"},
		"CBOR, trailer":               {codec.CBOR[numbers](), "\xa1\x61s\x67hunter2\x00"},
		"CBOR, too large":             {codec.CBOR[numbers](), "\xa2\x61s\x67hunter2\x61n\x19\x7a\x69"},
		"CBOR, another type":          {codec.CBOR[numbers](), "\xa2\x61s\x67hunter2\x61n\x67hunter2"},
		"CBOR, a key twice":           {codec.CBOR[numbers](), "\xa2\x61s\x67hunter2\x61s\x67hunter2"},
		"CBOR, indefinite length":     {codec.CBOR[numbers](), "\xbf\x61s\x67hunter2\xff"},
		"CBOR, indefinite text":       {codec.CBOR[numbers](), "\xa1\x61s\x7f\x67hunter2\xff"},
		"CBOR, a tag":                 {codec.CBOR[numbers](), "\xc1\xa1\x61s\x67hunter2"},
		"CBOR, a bignum":              {codec.CBOR[numbers](), "\xa1\x61n\xc2\x41\x01"},
		"CBOR, invalid UTF-8":         {codec.CBOR[numbers](), "\xa1\x61s\x62\xff\xfe"},
		"CBOR, deep":                  {codec.CBOR[numbers](), deep},
		"CBOR, a length beyond all":   {codec.CBOR[numbers](), "\x9b\xff\xff\xff\xff\xff\xff\xff\xff"},
		"CBOR, a length of 2 billion": {codec.CBOR[numbers](), "\xba\x7f\xff\xff\xff"},
		"CBOR, many elements":         {codec.CBOR[numbers](), "\x9a\x00\x02\x00\x01" + strings.Repeat("\x00", 128<<10+1)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := numbers{N: 7, S: "as before"}
			err := tt.m.Unmarshal([]byte(tt.data), &v)
			if err == nil {
				t.Fatal("no error")
			}
			if v != (numbers{N: 7, S: "as before"}) {
				t.Errorf("the value is %+v", v)
			}
			discreet(t, err)
		})
	}
	for name, m := range map[string]codec.Marshaler[awkward]{"JSON": codec.JSON[awkward](), "CBOR": codec.CBOR[awkward]()} {
		_, err := m.Marshal(awkward{"hunter2"})
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		discreet(t, err)
		data := map[string]string{"JSON": `"hunter2"`, "CBOR": "\x67hunter2"}[name]
		if err = m.Unmarshal([]byte(data), new(awkward)); err == nil {
			t.Fatalf("%s: no error", name)
		}
		discreet(t, err)
	}
}

func discreet(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, secret := range []string{"hunter", "31337", "as before"} {
			if strings.Contains(e.Error(), secret) {
				t.Errorf("the error shows content: %v", e)
			}
		}
		if !strings.HasPrefix(e.Error(), "codec: ") {
			t.Errorf("an error of elsewhere: %v", e)
		}
	}
}

func TestMarshalErrors(t *testing.T) {
	errs := map[string]error{}
	_, errs["JSON, a channel"] = codec.JSON[chan int]().Marshal(make(chan int))
	_, errs["JSON, not a number"] = codec.JSON[float64]().Marshal(math.NaN())
	_, errs["CBOR, a channel"] = codec.CBOR[chan int]().Marshal(make(chan int))
	_, errs["CBOR, a bignum"] = codec.CBOR[*big.Int]().Marshal(new(big.Int).Lsh(big.NewInt(1), 100))
	_, errs["CBOR, many elements"] = codec.CBOR[[]int]().Marshal(make([]int, 128<<10+1))
	var deep any = 0
	for range 40 {
		deep = []any{deep}
	}
	_, errs["CBOR, deep"] = codec.CBOR[any]().Marshal(deep)
	for name, err := range errs {
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		discreet(t, err)
	}
	if data, err := codec.CBOR[[]int]().Marshal(make([]int, 128<<10)); err != nil || len(data) < 128<<10 {
		t.Errorf("the most elements: %v", err)
	}
}
