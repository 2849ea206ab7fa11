package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/securecache/securecache-go/internal/server"
	"github.com/securecache/securecache-go/internal/server/servertest"
)

// asParent is the argument that makes this test binary a parent of a server.
const asParent = "-be-a-parent="

// parent starts a server, prints its address and directory and waits to be
// killed, where the arguments say so.
func parent(args []string) bool {
	if len(args) != 2 || !strings.HasPrefix(args[1], asParent) {
		return false
	}
	// Started from a thread that ends at once: the child must not end with it.
	started := make(chan *server.Server)
	go func() {
		runtime.LockOSThread()
		s, err := server.Start(context.Background(), server.Options{Binary: strings.TrimPrefix(args[1], asParent)})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		started <- s
	}()
	s := <-started
	fmt.Println(s.Addr(), s.Dir())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}

func TestChildDiesWithItsParent(t *testing.T) {
	servertest.Each(t, func(t *testing.T, binary string) {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), exe, asParent+binary)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		addr, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
		if err != nil || !ok {
			_ = cmd.Process.Kill()
			t.Fatalf("%q, %v", line, err)
		}
		defer os.RemoveAll(dir) // a killed parent cannot
		if !open(addr) {
			t.Error("the server did not outlive the thread that started it")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		closes(t, addr)
	})
}

func open(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// closes waits until nobody listens any more.
func closes(t *testing.T, addr string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for open(addr) {
		select {
		case <-deadline:
			t.Fatal("the server outlived its parent")
		case <-tick.C:
		}
	}
}

// TestWatchdog plays the parent's death by closing the pipe on which the
// watchdog reads, and the child's by untying.
func TestWatchdog(t *testing.T) {
	for name, killed := range map[string]bool{"parent dies": true, "child ends first": false} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("cat")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			orphan, untie, err := server.Watch(cmd.Process)
			if err != nil {
				t.Fatal(err)
			}
			if killed {
				orphan()
			} else {
				untie()
				_ = in.Close()
			}
			if err := cmd.Wait(); killed != (err != nil) {
				t.Errorf("the child ended with %v", err)
			}
			untie()
		})
	}
}
