package main

import (
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a run is: a bar on a terminal, a line now and then
// elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	began    time.Time
	ended    chan struct{}
	printing sync.WaitGroup

	mu     sync.Mutex
	bar    *progressbar.ProgressBar
	count  int                // keys dealt with in this run
	number int                // of servers
	first  map[string]float64 // the share of each server that was behind it at the start
	share  map[string]float64 // that is now
}

const (
	lineEvery = 5 * time.Second
	tooEarly  = 250 * time.Millisecond // for a rate that means something
)

func startProgress(out io.Writer) *progress {
	p := &progress{
		out: out, terminal: isTerminal(out), began: time.Now(), ended: make(chan struct{}),
		number: 1, first: map[string]float64{}, share: map[string]float64{},
	}
	if !p.terminal {
		p.printing.Go(p.lines)
	}
	return p
}

// lines prints one now and then, until stop.
func (p *progress) lines() {
	ticker := time.NewTicker(lineEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-ticker.C:
			p.mu.Lock()
			fmt.Fprintln(p.out, p.line(time.Since(p.began)))
			p.mu.Unlock()
		}
	}
}

func (p *progress) line(elapsed time.Duration) string {
	text := fmt.Sprintf("re-sealing: %d keys, %.0f/s", p.count, float64(p.count)/elapsed.Seconds())
	if total := p.total(); total > 0 {
		left := time.Duration(float64(elapsed) * float64(total-p.count) / float64(max(1, p.count)))
		text += fmt.Sprintf(", of about %d (%d %%), %s left", total, 100*p.count/total, left.Round(time.Second))
	}
	return text
}

// total estimates how many keys this run will have dealt with in the end, 0
// where that cannot be told.
func (p *progress) total() int {
	var now, then float64
	for addr, share := range p.share {
		now += share / float64(p.number)
		then += p.first[addr] / float64(p.number)
	}
	if !(now > then) { // NaN too
		return 0
	}
	// Servers that are done already and those to come count with the mean.
	return max(p.count, int(math.Round(float64(p.count)*(1-then)/(now-then))))
}

// servers says how many there are.
func (p *progress) servers(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number = max(1, n)
}

// from says how much of a server lay behind the cursor at which it begins.
func (p *progress) from(addr string, share float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first[addr], p.share[addr] = share, share
}

// add counts keys that were dealt with, up to a share of their server.
func (p *progress) add(addr string, keys int, share float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count += keys
	p.share[addr] = share
	if p.terminal && time.Since(p.began) > tooEarly {
		p.draw()
	}
}

func (p *progress) draw() {
	total := int64(p.total())
	if p.bar == nil {
		if total == 0 {
			total = -1 // a spinner with the rate
		}
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription("re-sealing"),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("keys"),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	} else if total > 0 && p.bar.GetMax64() > 0 {
		p.bar.ChangeMax64(total)
	}
	_ = p.bar.Set64(int64(p.count)) // a terminal that is gone is no error of the run's
}

// note prints a line beside the progress.
func (p *progress) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}

// stop clears the bar; the summary says the rest.
func (p *progress) stop() {
	close(p.ended)
	p.printing.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
