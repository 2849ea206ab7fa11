package lock

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/securecache/securecache-go/codec"
	"github.com/securecache/securecache-go/scripts/lua"
	"github.com/securecache/securecache-go/securecache"
)

// Locker obtains locks. It is safe for concurrent use; one a process is enough,
// since those who wait on it share a connection.
type Locker struct {
	cache   *securecache.Cache
	options Options
	waits   *waits

	ctx    context.Context // ends with the locker
	cancel context.CancelFunc
	mu     sync.Mutex // held to begin something in the background
	behind sync.WaitGroup
}

// New returns a locker on c, which remains the caller's to close, after the
// locker. Locks of views with different tags are different locks.
func New(c *securecache.Cache, o *Options) (*Locker, error) {
	if c == nil {
		return nil, errors.New("lock: a cache is needed")
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Locker{cache: c, options: o.orDefault(), waits: newWaits(ctx, c), ctx: ctx, cancel: cancel}, nil
}

// Close ends what waits: their error matches [ErrClosed]. Locks that are held
// remain so, until they are released or their TTL is up; they are extended no
// more.
func (l *Locker) Close() error {
	l.mu.Lock()
	l.cancel()
	l.mu.Unlock()
	l.behind.Wait()
	l.waits.close()
	return nil
}

// Try obtains the lock of that name for ttl, or says [ErrNotObtained] at once. A
// lock that was obtained has to be released.
func (l *Locker) Try(ctx context.Context, name string, ttl time.Duration) (*Lock, error) {
	b, err := l.bid(name, ttl)
	if err != nil {
		return nil, err
	}
	held, _, err := b.ask(ctx, false)
	if err == nil && held == nil {
		err = ErrNotObtained
	}
	return held, err
}

// Obtain obtains the lock of that name for ttl, and waits for it as long as ctx
// lasts: the error then matches [ErrNotObtained] and that of ctx. Those who wait
// on one locker get the lock in the order in which they asked; among processes
// there is no order. Where the server does not answer, the error is returned and
// not waited for. A lock that was obtained has to be released; it does not end
// with ctx.
func (l *Locker) Obtain(ctx context.Context, name string, ttl time.Duration) (*Lock, error) {
	b, err := l.bid(name, ttl)
	if err != nil {
		return nil, err
	}
	if l.waits.any(b.key.String()) {
		return b.wait(ctx, 0)
	}
	held, left, err := b.ask(ctx, false)
	if held != nil || err != nil {
		return held, err
	}
	return b.wait(ctx, left)
}

// releaseTimeout bounds a release that the caller does not wait for or has no
// context for.
const releaseTimeout = 2 * time.Second

// Do obtains the lock of that name as [Locker.Obtain] does, calls fn, and
// releases the lock. The context given to fn is ctx, and ends also when the lock
// is lost; [FromContext] finds the lock in it. The error is Obtain's, or fn's
// together with that of the release: [ErrLost] where somebody else may have had
// the lock before fn returned, whatever fn said.
func (l *Locker) Do(ctx context.Context, name string, ttl time.Duration, fn func(context.Context) error) (err error) {
	held, err := l.Obtain(ctx, name, ttl)
	if err != nil {
		return err
	}
	defer func() {
		// Also where ctx has ended or fn panics.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if released := held.Release(last); released != nil {
			err = errors.Join(err, released)
		}
	}()
	work, cancel := held.join(ctx)
	defer cancel()
	return fn(work)
}

// bid is one caller's wish for a lock. Its owner is asked for by nobody else,
// ever.
type bid struct {
	locker *Locker
	key    securecache.Key
	owner  string
	ttl    time.Duration
}

func (l *Locker) bid(name string, ttl time.Duration) (bid, error) {
	if err := validTTL(ttl); err != nil {
		return bid{}, err
	}
	if l.ctx.Err() != nil {
		return bid{}, ErrClosed
	}
	key, err := l.cache.Key(codec.KindLock, name)
	if err != nil {
		return bid{}, err
	}
	var owner [16]byte
	_, _ = rand.Read(owner[:]) // never fails
	return bid{locker: l, key: key, owner: base64.RawURLEncoding.EncodeToString(owner[:]), ttl: ttl}, nil
}

// ask asks the server once: for the lock, or how long another's may last. In a
// line, its release is to be announced, whoever has it now. Who asks for the
// first time has nobody behind him, and asks again once he listens.
func (b bid) ask(ctx context.Context, inLine bool) (*Lock, time.Duration, error) {
	announce := 0
	if inLine {
		announce = 1
	}
	start := time.Now()
	reply, err := b.run(ctx, lua.AcquireLock, b.owner, b.ttl.Milliseconds(), announce)
	if err != nil {
		if errors.Is(err, ErrOutcomeUnknown) {
			b.locker.abandon(b)
		}
		return nil, 0, fmt.Errorf("lock: not obtained: %w", err)
	}
	switch got := reply.Value.(type) {
	case int64:
		return nil, time.Duration(got) * time.Millisecond, nil
	case string:
		fence, err := b.judge(got)
		if err != nil {
			b.locker.abandon(b)
			return nil, 0, err
		}
		return newLock(ctx, b, fence, start), 0, nil
	default:
		return nil, 0, fmt.Errorf("lock: the reply is a %T", got)
	}
}

func (b bid) run(ctx context.Context, s *lua.Script, args ...any) (lua.Reply, error) {
	return b.locker.cache.Run(ctx, s, []securecache.Key{b.key}, args...)
}

// maxFence is the greatest integer up to which doubles, and so Lua and JSON in
// many hands, know them all.
const maxFence = 1<<53 - 1

func (b bid) judge(text string) (int64, error) {
	fence, err := strconv.ParseInt(text, 10, 64)
	most := b.locker.options.Now().Add(24 * time.Hour).UnixMicro()
	if err != nil || fence <= 0 || fence > maxFence || fence > most {
		return 0, ErrFence
	}
	return fence, nil
}

// abandon gives back in the background what may have been obtained unawares, as
// long as it may be there. Where the lost request is still on its way, the lock
// ends with its TTL.
func (l *Locker) abandon(b bid) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return
	}
	l.behind.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, min(b.ttl, abandonTimeout))
		defer cancel()
		for pause := time.Duration(0); ctx.Err() == nil; pause = min(2*pause+minPause, maxPause) {
			if _, err := b.run(ctx, lua.ReleaseLock, b.owner); err == nil {
				return
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	})
}

const (
	abandonTimeout = 30 * time.Second
	minPause       = 50 * time.Millisecond
	maxPause       = time.Second
)
