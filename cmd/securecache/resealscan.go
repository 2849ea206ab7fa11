package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

const (
	scanCount = 512 // keys that the server is asked for at once, and a pipeline's length
	inFlight  = 4   // portions under way at a server: of more, one's records leave its caches between read and swap
	atOnce    = 8   // servers scanned at once
	// What one pipeline may hold of records: their sizes show only as they come,
	// so the mean of those before decides how many keys are read next.
	pipelineBytes = 4 << 20
	// patience is how long a server may be away before the run gives up.
	patience = 30 * time.Second
)

// master is a server that is to be scanned.
type master struct {
	addr   string
	client *redis.Client
	gauge  *gauge
}

func (r *resealing) masters(ctx context.Context) ([]master, error) {
	cluster, ok := r.rdb.(*redis.ClusterClient)
	if !ok {
		client := r.rdb.(*redis.Client)
		return []master{{addr: client.Options().Addr, client: client, gauge: &gauge{}}}, nil
	}
	ctx, cancel := r.app.within(ctx)
	defer cancel()
	var mu sync.Mutex
	var found []master
	err := cluster.ForEachMaster(ctx, func(_ context.Context, client *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		addr := client.Options().Addr
		found = append(found, master{addr, client, &gauge{cluster: cluster, addr: addr}})
		return nil
	})
	return found, err
}

// slots says which node has which slots; empty without a cluster.
func (r *resealing) slots(ctx context.Context) (string, error) {
	cluster, ok := r.rdb.(*redis.ClusterClient)
	if !ok {
		return "", nil
	}
	ctx, cancel := r.app.within(ctx)
	defer cancel()
	//lint:ignore SA1019 CLUSTER SHARDS is not known to 6.2, and not granted to applications
	ranges, err := cluster.ClusterSlots(ctx).Result()
	var all []string
	for _, s := range ranges {
		if len(s.Nodes) > 0 {
			all = append(all, fmt.Sprint(s.Start, "-", s.End, s.Nodes[0].ID))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " "), err
}

// everyMaster goes over the masters until there is none that was not gone
// over: after a failover, another one holds the records.
func (r *resealing) everyMaster(ctx context.Context) error {
	for {
		all, err := r.masters(ctx)
		if err != nil {
			return err
		}
		r.progress.servers(len(all))
		all = slices.DeleteFunc(all, func(m master) bool { return r.state.position(m.addr).Done })
		if len(all) == 0 {
			return nil
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(atOnce)
		for _, m := range all {
			group.Go(func() error { return r.master(ctx, m) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
}

// portion is what one SCAN found, and where it left the scan.
type portion struct {
	found    []securecache.Key
	position position
	done     chan struct{} // closed when the records have been dealt with
	result   securecache.Resealed
	err      error
}

// master scans one server. Portions are dealt with side by side; the state
// advances in the order of the scan, and only over what is done.
func (r *resealing) master(ctx context.Context, m master) error {
	order := make(chan *portion, inFlight)
	group, ctx := errgroup.WithContext(ctx)
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(inFlight)
	group.Go(func() error {
		defer close(order)
		return r.scanAll(ctx, m, func(p *portion) {
			workers.Go(func() error {
				defer close(p.done)
				p.result, p.err = r.deal(ctx, p.found)
				return p.err
			})
			select {
			case order <- p:
			case <-ctx.Done(): // whoever takes them has given up
			}
		})
	})
	group.Go(func() error {
		for p := range order {
			<-p.done
			if p.err != nil {
				return p.err
			}
			if err := r.advance(m, p); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	return firstCause(workers.Wait(), err)
}

// scanAll hands over one portion after another, until the server's end.
func (r *resealing) scanAll(ctx context.Context, m master, hand func(*portion)) error {
	s := &scan{r: r, m: m, position: r.state.position(m.addr)}
	defer s.close()
	for !s.position.Done {
		p, err := s.next(ctx)
		if err != nil || p == nil {
			return err
		}
		hand(p)
	}
	return nil
}

// firstCause prefers an error that is not the echo of another one.
func firstCause(errs ...error) error {
	var echo error
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			echo = err
		}
	}
	return echo
}

// advance counts a portion and moves the state behind it.
func (r *resealing) advance(m master, p *portion) error {
	done := 1.0
	if !p.position.Done {
		done = m.gauge.done(p.position.Cursor)
	}
	r.progress.add(m.addr, len(p.found), done)
	return r.state.advance(m.addr, p.position, len(p.found), p.result)
}

// deal re-seals the records of a portion.
func (r *resealing) deal(ctx context.Context, found []securecache.Key) (securecache.Resealed, error) {
	var sum securecache.Resealed
	for len(found) > 0 {
		n := min(len(found), r.length())
		if err := r.limiter.WaitN(ctx, n); err != nil {
			return sum, firstCause(context.Cause(ctx), err)
		}
		var part securecache.Resealed
		err := r.patiently(ctx, func(ctx context.Context) (err error) {
			part, err = r.cache.Reseal(ctx, found[:n])
			return err
		})
		if err != nil {
			return sum, err
		}
		r.learn(part)
		sum.Add(part)
		found = found[n:]
	}
	return sum, nil
}

// length is how many keys to read next. Before anything is known of the
// records' size, it is few.
func (r *resealing) length() int {
	mean := r.mean.Load()
	if mean == 0 {
		return max(1, r.batch/8)
	}
	return int(min(int64(r.batch), max(1, pipelineBytes/mean)))
}

// learn follows the mean size of the records, fast up and slowly down.
func (r *resealing) learn(part securecache.Resealed) {
	records := part.Sealed + part.Already + part.Changed + part.Gone + part.Refused
	if records == 0 {
		return
	}
	seen, mean := max(1, part.Bytes/int64(records)), r.mean.Load()
	r.mean.Store(max(seen, (7*mean+seen)/8))
}

// patiently repeats what fails for want of a server, or of scripts that somebody
// flushes again and again.
func (r *resealing) patiently(ctx context.Context, do func(context.Context) error) error {
	var first time.Time
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 3*time.Second) {
		within, cancel := r.app.within(ctx)
		err := do(within)
		cancel()
		if err == nil || ctx.Err() != nil || !mayPass(err) {
			return err
		}
		if first.IsZero() {
			first = time.Now()
		} else if time.Since(first) > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// mayPass reports whether waiting may help.
func mayPass(err error) bool {
	if errors.Is(err, lua.ErrNotLoaded) {
		return !answered(err, "NOPERM")
	}
	return judge(err).code == exitUnreachable
}

// scan is the SCAN of one server. A cursor is good for one process of the
// server, whose hash seed it goes by: with another one it would skip keys. So
// the scan keeps to one connection, and where that breaks it begins anew unless
// the server says that it is the same.
type scan struct {
	r        *resealing
	m        master
	conn     *redis.Conn
	position position
}

// next returns the next portion, nil where the server is no master any more.
func (s *scan) next(ctx context.Context) (*portion, error) {
	var found []string
	gone := false
	err := s.r.patiently(ctx, func(ctx context.Context) (err error) {
		if found, err = s.ask(ctx); err == nil || judge(err).code != exitUnreachable {
			return err
		}
		s.close()
		gone = s.deposed(ctx)
		if gone {
			return nil
		}
		return err
	})
	if err != nil || gone {
		return nil, err
	}
	p := &portion{position: s.position, done: make(chan struct{})}
	for _, text := range found {
		if key, err := securecache.ParseKey(text); err == nil {
			p.found = append(p.found, key)
		}
	}
	return p, nil
}

// ask sends one SCAN.
func (s *scan) ask(ctx context.Context) ([]string, error) {
	if s.conn == nil {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
	}
	found, cursor, err := s.conn.Scan(ctx, s.position.Cursor, s.r.match, int64(s.r.batch)).Result()
	if err != nil {
		return nil, s.explain(err)
	}
	s.position.Cursor, s.position.Done = cursor, cursor == 0
	return found, nil
}

// open connects, and decides whether the cursor holds.
func (s *scan) open(ctx context.Context) error {
	conn := s.m.client.Conn()
	id, err := runID(ctx, conn)
	if err != nil {
		_ = conn.Close()
		return err
	}
	if s.position.Cursor != 0 && (id == "" || id != s.position.RunID) {
		s.r.progress.note("The server at %s may have restarted: scanning it from the beginning.", s.m.addr)
		s.position.Cursor = 0
	}
	s.conn, s.position.RunID = conn, id
	if err := s.m.gauge.learn(ctx, conn); err != nil {
		return err
	}
	s.r.progress.from(s.m.addr, s.m.gauge.done(s.position.Cursor))
	return nil
}

func (s *scan) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// deposed reports whether a cluster has another master in the server's place.
func (s *scan) deposed(ctx context.Context) bool {
	all, err := s.r.masters(ctx)
	return err == nil && !slices.ContainsFunc(all, func(m master) bool { return m.addr == s.m.addr })
}

// explain names what an operator has and an application has not.
func (s *scan) explain(err error) error {
	if redis.HasErrorPrefix(err, "NOPERM") {
		return &failure{code: exitLogin, err: fmt.Errorf("this login may not list keys, which reseal has to: %w", err),
			next: "use an operator's login, whose ACL has +scan, and +hscan +hget +hset where there are hashes; to render one: securecache acl operator"}
	}
	return err
}

// runID names the server's process, where the login may ask for it.
func runID(ctx context.Context, conn *redis.Conn) (string, error) {
	text, err := conn.Info(ctx, "server").Result()
	var reply redis.Error
	if errors.As(err, &reply) && judge(err).code != exitUnreachable {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if id, found := strings.CutPrefix(lines.Text(), "run_id:"); found {
			return strings.TrimSpace(id), nil
		}
	}
	return "", nil
}
