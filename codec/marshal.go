package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// Marshaler turns values into content and back. Implementations are safe for
// concurrent use.
//
// Marshal may return memory that v shares; nobody modifies it, and nobody
// reads it once the call it was made for has returned. Unmarshal must not keep
// data, which is reused afterwards, and sets *v only where it succeeds.
// Neither may put content into an error.
type Marshaler[T any] interface {
	Marshal(v T) ([]byte, error)
	Unmarshal(data []byte, v *T) error
}

// JSON returns a marshaler that works as encoding/json does.
func JSON[T any]() Marshaler[T] { return jsonMarshaler[T]{} }

// CBOR returns a marshaler for RFC 8949's core deterministic encoding.
// time.Time becomes an RFC 3339 string with nanoseconds. Tags, indefinite
// lengths, duplicate map keys, more than 32 levels and more than 131,072
// elements in an array or pairs in a map are refused both ways; field names
// match exactly.
func CBOR[T any]() Marshaler[T] { return cborMarshaler[T]{} }

// Bytes returns a marshaler for content as it is. Marshal returns v itself;
// Unmarshal sets *v to a copy, never nil.
func Bytes() Marshaler[[]byte] { return bytesMarshaler{} }

type jsonMarshaler[T any] struct{}

func (jsonMarshaler[T]) Marshal(v T) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("codec: a %v has no JSON form%s", reflect.TypeFor[T](), detail(err))
	}
	return data, nil
}

func (jsonMarshaler[T]) Unmarshal(data []byte, v *T) error {
	// Into a new value: what *v held before must not show through, and a
	// value that is refused half-way must not be taken for a whole one.
	var fresh T
	if err := json.Unmarshal(data, &fresh); err != nil {
		return fmt.Errorf("codec: the content is not the JSON of a %v%s", reflect.TypeFor[T](), detail(err))
	}
	*v = fresh
	return nil
}

type cborMarshaler[T any] struct{}

func (cborMarshaler[T]) Marshal(v T) ([]byte, error) {
	enc, dec := cborModes()
	data, err := enc.Marshal(v)
	if err == nil {
		err = dec.Wellformed(data) // what Unmarshal would refuse must not be stored
	}
	if err != nil {
		return nil, fmt.Errorf("codec: a %v has no CBOR form within the limits%s", reflect.TypeFor[T](), detail(err))
	}
	return data, nil
}

func (cborMarshaler[T]) Unmarshal(data []byte, v *T) error {
	_, dec := cborModes()
	var fresh T
	if err := dec.Unmarshal(data, &fresh); err != nil {
		return fmt.Errorf("codec: the content is not the CBOR of a %v within the limits%s", reflect.TypeFor[T](), detail(err))
	}
	*v = fresh
	return nil
}

// cborModes panics only where the options below contradict each other.
var cborModes = sync.OnceValues(func() (cbor.EncMode, cbor.DecMode) {
	o := cbor.CoreDetEncOptions()
	o.Time, o.TimeTag = cbor.TimeRFC3339Nano, cbor.EncTagNone
	o.TagsMd = cbor.TagsForbidden
	enc, err := o.EncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   32,
		MaxArrayElements:  128 << 10,
		MaxMapPairs:       128 << 10,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return enc, dec
})

// detail says what can be said of an encoder's error without its text, which
// quotes content.
func detail(err error) string {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf(": malformed at byte %d", e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf(": want a value of type %v before byte %d", e.Type, e.Offset)
	}
	if e, ok := errors.AsType[*json.UnsupportedTypeError](err); ok {
		return fmt.Sprintf(": unsupported type %v", e.Type)
	}
	if e, ok := errors.AsType[*cbor.UnmarshalTypeError](err); ok {
		return fmt.Sprintf(": %s where another type was expected", e.CBORType)
	}
	return ""
}

type bytesMarshaler struct{}

func (bytesMarshaler) Marshal(v []byte) ([]byte, error) { return v, nil }

func (bytesMarshaler) Unmarshal(data []byte, v *[]byte) error {
	if *v = bytes.Clone(data); *v == nil {
		*v = []byte{}
	}
	return nil
}
