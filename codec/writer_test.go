package codec_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/codec/internal/vector"
	"github.com/securecache/securecache-go/keys"
)

func salt(record []byte) [16]byte { return [16]byte(record[32:48]) }

func TestWriterLimits(t *testing.T) {
	if codec.WriterRecords != 1<<28 || codec.WriterAge != time.Hour {
		t.Errorf("a writer seals %d records in %v", codec.WriterRecords, codec.WriterAge)
	}
}

func TestWriterByCount(t *testing.T) {
	s := newSource(t, document(nil))
	for _, suite := range allSuites() {
		c := newCodec(t, s, codec.Options{Suite: suite})
		old := salt(seal(t, c, binding(codec.KindValue), nil))
		if left := c.WriterLeft(suite); left != codec.WriterRecords-1 {
			t.Fatalf("%v: %d records left after one", suite, left)
		}
		c.Exhaust(suite, 2)
		for i := range 2 {
			if salt(seal(t, c, binding(codec.KindValue), nil)) != old {
				t.Fatalf("%v: another salt with %d records left", suite, 2-i)
			}
		}
		if salt(seal(t, c, binding(codec.KindValue), nil)) == old {
			t.Errorf("%v: the same salt beyond its records", suite)
		}
		if left := c.WriterLeft(suite); left != codec.WriterRecords-1 {
			t.Errorf("%v: a new writer has %d records left after one", suite, left)
		}
	}
}

func TestWriterByAge(t *testing.T) {
	tests := map[string]struct {
		step time.Duration
		same bool
	}{
		"at once":                   {0, true},
		"just under an hour":        {time.Hour - 1, true},
		"an hour":                   {time.Hour, false},
		"a clock set back a little": {-time.Minute, true},
		"a clock set back far":      {-time.Hour, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, document(nil))
			c := newCodec(t, s, codec.Options{})
			old := salt(seal(t, c, binding(codec.KindValue), nil))
			s.at(present.Add(tt.step))
			record, err := c.Seal(nil, binding(codec.KindValue), present.Add(3*time.Hour), nil)
			if err != nil {
				t.Fatal(err)
			}
			if (salt(record) == old) != tt.same {
				t.Errorf("the salt is the same: %v, want %v", !tt.same, tt.same)
			}
		})
	}
}

func TestWriterByKey(t *testing.T) {
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	s.at(rotated.Add(-1))
	before, err := c.Seal(nil, binding(codec.KindValue), rotated.Add(time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.at(rotated)
	after, err := c.Seal(nil, binding(codec.KindValue), rotated.Add(time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	if keys.ID(before[16:32]) != keyID(first) || keys.ID(after[16:32]) != keyID(second) {
		t.Errorf("sealed by %x and %x", before[16:32], after[16:32])
	}
	if salt(before) == salt(after) {
		t.Error("two keys share a salt")
	}
}

// TestWriterFollowsThePrimary has a clock that jumps about between the times at
// which something changes, and keyrings that lose keys.
func TestWriterFollowsThePrimary(t *testing.T) {
	const apart, allowance = 40 * time.Minute, 15 * time.Minute
	active := func(key int) time.Time { return rotated.Add(time.Duration(key-1) * apart) }
	ring := func(revision int, destroyed ...int) vector.Document {
		return document(func(d *vector.Document) {
			d.Revision = revision
			for key := 2; key < 4; key++ {
				d.Keys[key-1].Retired = active(key).Add(allowance).UnixMilli()
				d.Keys = append(d.Keys, vector.Entry{Key: bytes.Repeat([]byte{byte(key + 1)}, keys.Size), Created: epoch.UnixMilli(), Activates: active(key).UnixMilli()})
			}
			for _, key := range destroyed {
				d.Keys[key].Destroyed = true
			}
		})
	}
	s := newSource(t, ring(3))
	c := newCodec(t, s, codec.Options{})
	refused := 0
	for _, d := range []vector.Document{ring(4), ring(5, 0), ring(6, 0, 2), ring(7, 0, 2, 3)} {
		s.use(t, d)
		current, _ := s.Ring()
		for range 2000 {
			now := active(1 + mathrand.IntN(4)).Add(time.Duration(mathrand.IntN(2))*allowance + time.Duration(mathrand.IntN(5)-2)*time.Millisecond)
			s.at(now)
			record, err := c.Seal(nil, binding(codec.KindValue), now.Add(time.Hour), nil)
			primary := current.Primary(now)
			end := primary.Retired()
			switch useless := !end.IsZero() && now.After(end); {
			case (err != nil) != useless:
				t.Fatalf("revision %d at %v, with a primary until %v: %v", d.Revision, now, end, err)
			case err != nil:
				refused++
			case keys.ID(record[16:32]) != primary.ID():
				t.Fatalf("revision %d at %v: sealed by %x, want %v", d.Revision, now, record[16:32], primary.ID())
			}
		}
	}
	if refused == 0 {
		t.Error("no primary was past its end")
	}
}

// TestWriterOfAnotherKeyring has a source whose keyring was made anew, and is as
// old as the one before it.
func TestWriterOfAnotherKeyring(t *testing.T) {
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	seal(t, c, binding(codec.KindValue), nil)
	s.use(t, document(func(d *vector.Document) { d.Keys[1].Key = third }))
	if record := seal(t, c, binding(codec.KindValue), nil); keys.ID(record[16:32]) != keyID(third) {
		t.Errorf("sealed by %x", record[16:32])
	}
}

func TestEveryCodecAndSuiteHasItsSalt(t *testing.T) {
	s := newSource(t, document(nil))
	seen := map[[16]byte]bool{}
	for range 10 {
		for _, suite := range allSuites() {
			x := salt(seal(t, newCodec(t, s, codec.Options{Suite: suite}), binding(codec.KindValue), nil))
			if seen[x] {
				t.Fatal("two writers share a salt")
			}
			seen[x] = true
		}
	}
}

// TestWriterUnderContention counts the records of each salt while writers are
// used up as fast as they come.
func TestWriterUnderContention(t *testing.T) {
	const goroutines, each, allowance = 8, 500, 100
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	seal(t, c, binding(codec.KindValue), nil)
	var mu sync.Mutex
	count := map[[16]byte]int{}
	nonces := map[[12]byte]bool{}
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			for i := range each {
				record, err := c.Seal(nil, binding(codec.KindValue), present.Add(time.Hour), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err = c.Open(nil, binding(codec.KindValue), record); err != nil {
					t.Error(err)
				}
				mu.Lock()
				if count[salt(record)]++; i%50 == 0 {
					c.Exhaust(codec.AES256GCM, allowance)
				}
				nonces[[12]byte(record[48:60])] = true
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if len(nonces) != goroutines*each {
		t.Errorf("%d nonces for %d records", len(nonces), goroutines*each)
	}
	total := 0
	for _, n := range count {
		total += n
	}
	if total != goroutines*each {
		t.Errorf("%d records, want %d", total, goroutines*each)
	}
}

// TestWriterNeverExceedsItsRecords has many goroutines share the last records.
func TestWriterNeverExceedsItsRecords(t *testing.T) {
	const goroutines, each, left = 8, 200, 333
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	old := salt(seal(t, c, binding(codec.KindValue), nil))
	c.Exhaust(codec.AES256GCM, left)
	var running sync.WaitGroup
	var mu sync.Mutex
	count := map[[16]byte]int{}
	for range goroutines {
		running.Go(func() {
			for range each {
				record, err := c.Seal(nil, binding(codec.KindValue), present.Add(time.Hour), nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				count[salt(record)]++
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if count[old] != left || len(count) != 2 {
		t.Errorf("the old salt sealed %d records, want %d; %d salts, want 2", count[old], left, len(count))
	}
}

// forged is a record of a writer that the salt makes up.
func forged(key []byte, salt []byte) []byte {
	return vector.Forgery{
		Key: key, Namespace: namespace, Form: vector.AES, Salt: salt, Kind: 'v', ID: someID,
		Written: rotated.UnixMilli(), Expires: present.Add(time.Hour).UnixMilli(),
	}.Seal()
}

func TestReadersAreBounded(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	for i := range uint32(2 * codec.MostReaders) {
		record := forged(second, binary.LittleEndian.AppendUint32(make([]byte, 0, 16), i)[:16])
		for range 2 {
			if _, err := c.Open(nil, binding(codec.KindValue), record); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := c.Readers(keys.ID{}); n != codec.MostReaders {
		t.Errorf("%d sub-keys are cached, want %d", n, codec.MostReaders)
	}
}

// TestReadersOfOneSet has salts that all want one place.
func TestReadersOfOneSet(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	for i := range byte(50) {
		salt := make([]byte, 16)
		salt[15] = i
		if _, err := c.Open(nil, binding(codec.KindValue), forged(second, salt)); err != nil {
			t.Fatal(err)
		}
		if n := c.Readers(keys.ID{}); n != min(int(i)+1, codec.ReaderWays) {
			t.Fatalf("%d sub-keys are cached after %d", n, i+1)
		}
	}
}

// TestSuitesShareASalt has two writers that chose one salt for both suites.
func TestSuitesShareASalt(t *testing.T) {
	c := newCodec(t, newSource(t, document(nil)), codec.Options{})
	for range 2 {
		for _, suite := range allSuites() {
			record := vector.Forgery{
				Key: second, Namespace: namespace, Form: byte(suite), Salt: make([]byte, 16), Kind: 'v', ID: someID,
				Written: present.UnixMilli(), Expires: present.Add(time.Hour).UnixMilli(),
			}.Seal()
			if _, err := c.Open(nil, binding(codec.KindValue), record); err != nil {
				t.Errorf("%v: %v", suite, err)
			}
		}
	}
	if n := c.Readers(keys.ID{}); n != len(allSuites()) {
		t.Errorf("%d sub-keys are cached", n)
	}
}

func TestPlantedSaltsAreNotCached(t *testing.T) {
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	record := seal(t, c, binding(codec.KindValue), nil)
	for range 1000 {
		_, _ = rand.Read(record[32:48])
		if _, err := c.Open(nil, binding(codec.KindValue), record); refusal(err) != "authentication" {
			t.Fatal(err)
		}
	}
	if n := c.Readers(keys.ID{}); n != 0 {
		t.Errorf("%d sub-keys are cached that opened nothing", n)
	}
}

func TestKeysThatAreGoneAreDropped(t *testing.T) {
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	s.at(rotated.Add(-time.Hour))
	var old []byte
	for range 20 { // as many writers of the first key, and readers of their records
		record, err := c.Seal(nil, binding(codec.KindValue), present.Add(time.Hour), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Open(nil, binding(codec.KindValue), record); err != nil {
			t.Fatal(err)
		}
		c.Exhaust(codec.AES256GCM, 0)
		old = record
	}
	if c.Readers(keyID(first)) != 20 || c.Writers(keyID(first)) != 1 {
		t.Fatalf("%d readers and %d writers of the first key", c.Readers(keyID(first)), c.Writers(keyID(first)))
	}
	s.at(present)
	destroyed := document(func(d *vector.Document) { d.Revision, d.Keys[0].Destroyed = 3, true })
	s.use(t, destroyed)
	refuses(t, c, binding(codec.KindValue), old, codec.ReasonDestroyedKey, "after its key has been destroyed")
	if c.Readers(keyID(first)) != 0 || c.Writers(keyID(first)) != 0 {
		t.Errorf("%d readers and %d writers are left of a key that is gone", c.Readers(keyID(first)), c.Writers(keyID(first)))
	}
	kept := seal(t, c, binding(codec.KindValue), nil)
	if _, err := c.Open(nil, binding(codec.KindValue), kept); err != nil {
		t.Fatal(err)
	}
	s.use(t, document(func(d *vector.Document) { d.Revision, d.Keys[0].Destroyed = 4, true }))
	if _, err := c.Open(nil, binding(codec.KindValue), kept); err != nil || c.Readers(keyID(second)) != 1 || c.Writers(keyID(second)) != 1 {
		t.Errorf("%v; %d readers and %d writers of a key that stays", err, c.Readers(keyID(second)), c.Writers(keyID(second)))
	}
}

// TestOldRingDoesNotFillTheCache has a goroutine that took its ring before a key
// was destroyed, and comes to open a record with it afterwards.
func TestOldRingDoesNotFillTheCache(t *testing.T) {
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	record := forged(first, make([]byte, 16))
	s.use(t, document(func(d *vector.Document) { d.Revision, d.Keys[0].Destroyed = 3, true }))
	refuses(t, c, binding(codec.KindValue), record, codec.ReasonDestroyedKey, "by the new ring")
	s.use(t, document(nil))
	if _, err := c.Open(nil, binding(codec.KindValue), record); err != nil {
		t.Fatal(err)
	}
	if n := c.Readers(keyID(first)); n != 0 {
		t.Errorf("%d sub-keys are cached of a key that a newer ring has not", n)
	}
}

// TestRotationUnderTraffic seals and opens while the keys change: nothing that
// was sealed with a key of the ring is ever refused.
func TestRotationUnderTraffic(t *testing.T) {
	s := newSource(t, document(nil))
	c := newCodec(t, s, codec.Options{})
	add := func(revision int) vector.Document {
		return document(func(d *vector.Document) {
			d.Revision = revision
			d.Keys = append(d.Keys, vector.Entry{Key: third, Created: rotated.UnixMilli(), Activates: present.Add(time.Duration(revision%2) * time.Minute).UnixMilli()})
		})
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				record, err := c.Seal(nil, binding(codec.KindSession), present.Add(2*time.Hour), text(20))
				if err == nil {
					_, err = c.Open(nil, binding(codec.KindSession), record)
				}
				if err == nil {
					record, err = c.Reseal(nil, binding(codec.KindSession), record)
				}
				if err == nil {
					_, err = c.Open(nil, binding(codec.KindSession), record)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for revision := 3; revision < 100; revision++ {
		s.use(t, add(revision))
		s.at(present.Add(time.Duration(revision) * time.Second))
	}
	close(stop)
	running.Wait()
}
