package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/keys"
)

// realServers are those that write snapshots and have MONITOR.
var realServers = []string{"redis-server", "valkey-server"}

// TestNothingLeaksDuringTheDemo gives the demonstration and looks for all that
// it stored, and under which names, in what the server writes to disk, in its
// log of commands and on the wire.
func TestNothingLeaksDuringTheDemo(t *testing.T) {
	for _, binary := range realServers {
		t.Run(binary, func(t *testing.T) {
			needServer(t, binary)
			t.Parallel()
			s := startTestSetup(t, server.Options{Namespace: demoNamespace, Binary: binary, Persist: true, Config: []string{"rdbcompression no"}})
			wire := startRecorder(t, s.server.Addr())
			log := startMonitor(t, s.server.AdminOptions())
			disk := watchDisk(t, s)
			if _, err := runDemo(t.Context(), s, &printer{w: io.Discard}, paced(wire.addr())); err != nil {
				t.Fatal(err)
			}
			planted := plant(t, s, wire.addr())
			evidence{disk: disk.stop(t), log: log.stop(t), wire: wire.recorded()}.judge(t, planted)
		})
	}
}

// needServer skips where a server is not installed, with the reason.
func needServer(t *testing.T, binary string) {
	t.Helper()
	if _, err := exec.LookPath(binary); err == nil {
		return
	} else if os.Getenv("CI") == "true" {
		t.Fatal(err)
	} else {
		t.Skipf("%v: what %s writes to disk and to its log cannot be looked at", err, binary)
	}
}

func startTestSetup(t *testing.T, o server.Options) *setup {
	t.Helper()
	s, err := startSetup(t.Context(), o, keys.Layout{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// paced sends clients through addr and slows them down: at full speed the logs
// are hundreds of megabytes of the same.
func paced(addr string) func(*redis.Options) {
	return func(o *redis.Options) {
		o.Addr = addr
		o.Limiter = pace(3 * time.Millisecond)
	}
}

type pace time.Duration

func (p pace) Allow() error       { return until(context.Background(), time.Now().Add(time.Duration(p))) }
func (p pace) ReportResult(error) {}

// plaintexts is all that the application stores during the demonstration, and
// the names of it; of what is stored raw, to be timed, the name alone.
func plaintexts() []string {
	kept, copied := demoLinks()
	var texts []string
	for _, r := range append(demoRecords(), kept, copied) {
		texts = append(texts, r.name, string(r.value))
	}
	for i := range cartCount {
		texts = append(texts, cartName(i), string(cartValue(i, 0)))
	}
	return append(texts, measuredName, string(measuredValue()), rawName)
}

// marker is what an application would leak that stores plaintext.
const marker = `{"email":"planted.marker@example.com","token":"demo_planted_Xy7Rw2"}`

// plant stores the marker in several forms with the application's own login,
// and sends it in clear to the port that expects TLS.
func plant(t *testing.T, s *setup, addr string) *needles {
	t.Helper()
	o := s.server.Options()
	o.Addr = addr
	rdb := redis.NewClient(o)
	defer rdb.Close()
	for i, text := range []string{marker, hex.EncodeToString([]byte(marker)), base64.StdEncoding.EncodeToString([]byte(marker))} {
		if err := rdb.Set(t.Context(), fmt.Sprintf("sc:%s:planted-name-%d", demoNamespace, i), text, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, marker+"\r\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, conn) // until the server hangs up, which takes it ill
	return newNeedles(marker)
}

// evidence is what an attacker may have.
type evidence struct {
	disk map[string][]byte
	log  []byte
	wire [][]byte
}

func (e evidence) judge(t *testing.T, planted *needles) {
	t.Helper()
	secrets := newNeedles(plaintexts()...)
	places := maps.Clone(e.disk)
	places["the MONITOR log"] = slices.Concat(e.log, unescape(e.log))
	places["the wire"] = bytes.Join(e.wire, nil)
	for name, text := range places {
		t.Logf("%s: %d bytes", name, len(text))
		for found := range secrets.find(text) {
			t.Errorf("%s holds what the application stored, %s", name, found)
		}
		want := 1 // in clear, on the wire
		if name != "the wire" {
			want = 3
		}
		if found := planted.find(text); len(found) < want && name != "the snapshots" {
			t.Errorf("%s does not hold the planted marker: this test finds nothing (%v)", name, found)
		}
	}
	key := []byte("sc:" + demoNamespace + ":v:{")
	for name, text := range places {
		if onWire := name == "the wire"; bytes.Contains(text, key) == onWire {
			t.Errorf("%s: a key of the application's stands in it: %t", name, onWire)
		}
	}
}

// diskWatch takes snapshots while the demonstration goes on.
type diskWatch struct {
	dir       string
	admin     *redis.Client
	stopping  chan struct{}
	running   sync.WaitGroup
	snapshots [][]byte
	err       error
}

func watchDisk(t *testing.T, s *setup) *diskWatch {
	w := &diskWatch{dir: s.server.Dir(), admin: redis.NewClient(s.server.AdminOptions()), stopping: make(chan struct{})}
	t.Cleanup(func() { _ = w.admin.Close() })
	w.running.Go(func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for w.err == nil {
			select {
			case <-ticker.C:
				w.err = w.snapshot(t.Context())
			case <-w.stopping:
				return
			}
		}
	})
	return w
}

// snapshot has the server write an RDB dump and reads it.
func (w *diskWatch) snapshot(ctx context.Context) error {
	if err := w.admin.Save(ctx).Err(); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "dump.rdb"))
	w.snapshots = append(w.snapshots, text)
	return err
}

// stop takes a last snapshot, and returns it, those before, and the log of
// changes.
func (w *diskWatch) stop(t *testing.T) map[string][]byte {
	t.Helper()
	close(w.stopping)
	w.running.Wait()
	if w.err == nil {
		w.err = w.snapshot(t.Context())
	}
	if w.err != nil {
		t.Fatal(w.err)
	}
	if len(w.snapshots) < 5 {
		t.Errorf("only %d snapshots were taken", len(w.snapshots))
	}
	changes, err := filepath.Glob(filepath.Join(w.dir, "appendonlydir", "*.aof"))
	if err != nil || len(changes) == 0 {
		t.Fatalf("no log of changes on disk: %v", err)
	}
	var aof []byte
	for _, path := range changes {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		aof = append(aof, text...)
	}
	last := len(w.snapshots) - 1
	return map[string][]byte{
		"the snapshots":     bytes.Join(w.snapshots[:last], nil),
		"the last RDB dump": w.snapshots[last],
		"the AOF":           aof,
	}
}
