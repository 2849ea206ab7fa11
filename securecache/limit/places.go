package limit

import (
	"sync"
	"time"
)

// places are the leases that a process gives out by itself.
type places struct {
	number int
	now    func() time.Time

	mu    sync.Mutex
	taken table[map[string]time.Time] // by name and by who has them, their ends
}

// running removes what has ended, and returns what has not.
func (p *places) running(name string, now time.Time) map[string]time.Time {
	ends := p.taken.of[name]
	for who, end := range ends {
		if !end.After(now) {
			delete(ends, who)
		}
	}
	if len(ends) == 0 {
		delete(p.taken.of, name)
		return nil
	}
	return ends
}

func (p *places) result(ends map[string]time.Time, now time.Time) Result {
	res := Result{Allowed: len(ends) < p.number, Limit: p.number, Remaining: max(p.number-len(ends), 0)}
	if !res.Allowed {
		for _, end := range ends {
			if left := end.Sub(now); res.RetryAfter == 0 || left < res.RetryAfter {
				res.RetryAfter = left
			}
		}
	}
	return res
}

func (p *places) take(name, who string, ttl time.Duration) Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	ends := p.running(name, now)
	res := p.result(ends, now)
	if !res.Allowed {
		return res
	}
	if !p.taken.room(name, now, func(ends map[string]time.Time) bool {
		for _, end := range ends {
			if end.After(now) {
				return false
			}
		}
		return true
	}) {
		return Result{Limit: p.number, RetryAfter: time.Second}
	}
	if ends == nil {
		ends = make(map[string]time.Time)
		p.taken.of[name] = ends
	}
	ends[who] = now.Add(ttl)
	res.Remaining--
	return res
}

func (p *places) look(name string) Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	return p.result(p.running(name, now), now)
}

func (p *places) renew(name, who string, ttl time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	ends := p.running(name, now)
	if _, runs := ends[who]; !runs {
		return false
	}
	ends[who] = now.Add(ttl)
	return true
}

func (p *places) release(name, who string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	ends := p.running(name, p.now())
	_, runs := ends[who]
	delete(ends, who)
	return runs
}
