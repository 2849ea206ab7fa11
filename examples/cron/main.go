// Command cron is a nightly job for which every machine has a line in its
// crontab, and which one of them is to run:
//
//	0 3 * * * cron -dir /mnt/reports
//
// It puts itself under a lock, as scripts do with flock, by way of `securecache
// lock run`, and gives what it writes the lock's fence.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

const (
	lockName = "nightly report"
	fence    = "SECURECACHE_FENCE" // set by securecache lock run
	busy     = 7                   // its exit status where another machine has the lock
)

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", "", "where the reports go, on a disk of all machines; standard output where it is empty")
	flag.Parse()
	if os.Getenv(fence) == "" {
		os.Exit(underLock(os.Args))
	}
	number, err := strconv.ParseInt(os.Getenv(fence), 10, 64)
	if err != nil {
		log.Fatalf("%s: %v", fence, err)
	}
	if *dir == "" {
		fmt.Printf("Under fence %d: %s", number, text(time.Now()))
		return
	}
	path, err := report(*dir, number, time.Now())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("wrote", path)
}

// text is what takes a real job its time.
func text(now time.Time) string {
	return fmt.Sprintf("all is well, as of %s.\n", now.UTC().Format(time.RFC3339))
}

// underLock runs this very command again while the lock is held, and returns its
// exit status. That another machine is at it is none of cron's business.
func underLock(args []string) int {
	words := append(program(), "lock", "run", lockName, "--ttl", "1m", "--wait", "0", "--")
	words = append(words, args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended) && ended.ExitCode() == busy:
		return 0
	case errors.As(err, &ended):
		return ended.ExitCode()
	case err != nil:
		log.Print(err)
		return 1
	}
	return 0
}

// program is the command securecache, or what runs it from its source.
func program() []string {
	if path, err := exec.LookPath("securecache"); err == nil {
		return []string{path}
	}
	return []string{"go", "run", "github.com/securecache/securecache-go/cmd/securecache"}
}

// report writes what there is to report, and returns where. The fence is part of
// the name, and whoever reads takes the greatest: a machine that was stopped in
// the middle of its work and wakes up when another has done it puts its own
// beneath, not over it.
func report(dir string, fence int64, now time.Time) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf("report-%016d.txt", fence))
	draft, err := os.CreateTemp(dir, "draft-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(draft.Name()) // which fails once it is the report
	if _, err := draft.WriteString(text(now)); err != nil {
		return "", errors.Join(err, draft.Close())
	}
	if err := draft.Close(); err != nil {
		return "", err
	}
	return path, os.Rename(draft.Name(), path)
}

// latest returns the report that counts, an error where there is none.
func latest(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "report-*.txt")) // in the order of their names
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("no report has been written"), err)
	}
	return found[len(found)-1], nil
}
