package expiry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// proofEvery is how often a bell lets a key expire to hear itself ring: a
	// subscription may hang on a server that is no master any more, and somebody
	// may have switched the events off.
	proofEvery = 30 * time.Second
	// proofWithin is how soon it must then ring.
	proofWithin = 5 * time.Second

	confirmTimeout = 5 * time.Second

	// mostSlots is how many keys are tried to find one in a slot of a master's.
	mostSlots = 4096
)

// bell is a subscription to the expired keys of one master.
type bell struct {
	*doorbell
	master *redis.Client
	proof  string // the key that is let expire
	rang   bool
}

// listen listens until ctx ends, or the bell falls silent.
func (b *bell) listen(ctx context.Context) error {
	if b.options.EnableNotifications {
		if err := enable(ctx, b.master); err != nil {
			return unlessEnded(ctx, fmt.Errorf("expiry: enabling keyspace events: %w", err))
		}
	}
	channel := "__keyevent@" + strconv.Itoa(b.master.Options().DB) + "__:expired"
	sub := b.master.Subscribe(ctx, channel)
	defer sub.Close()
	// Refused rights show here, and nowhere else.
	if _, err := sub.ReceiveTimeout(ctx, confirmTimeout); err != nil {
		return unlessEnded(ctx, fmt.Errorf("expiry: subscribing to keyspace events: %w", err))
	}
	proofs := make(chan error, 1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	asked := false
	for messages := sub.Channel(redis.WithChannelSize(rung)); ; {
		select {
		case <-ctx.Done():
			return nil
		case m, open := <-messages:
			switch {
			case !open:
				return unlessEnded(ctx, errors.New("expiry: the subscription to keyspace events has ended"))
			case m.Payload == b.proof:
				b.rang, asked = true, false
				timer.Reset(proofEvery/2 + rand.N(proofEvery))
			default:
				b.heard(m.Payload)
			}
		case err := <-proofs:
			if err != nil {
				return unlessEnded(ctx, fmt.Errorf("expiry: proving keyspace events: %w", err))
			}
		case <-timer.C:
			if asked {
				return ErrNoNotifications
			}
			if b.proof == "" {
				var err error
				if b.proof, err = b.place(ctx); err != nil {
					return unlessEnded(ctx, fmt.Errorf("expiry: proving keyspace events: %w", err))
				}
			}
			asked = true
			timer.Reset(proofWithin)
			b.hung.Go(func() { proofs <- prove(ctx, b.master, b.proof) })
		}
	}
}

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// place finds a key of the namespace in a slot that the master serves.
func (b *bell) place(ctx context.Context) (string, error) {
	for i := range mostSlots {
		key := b.scope + "e:{" + strconv.Itoa(i) + "}:bell"
		err := b.master.Exists(ctx, key).Err()
		if redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK") {
			continue
		}
		return key, err
	}
	return "", errors.New("the master serves no slots")
}

// prove lets a key expire.
func prove(ctx context.Context, master *redis.Client, key string) error {
	const ttl = time.Millisecond
	if err := master.Set(ctx, key, "", ttl).Err(); err != nil {
		return err
	}
	wait(ctx, 2*ttl, nil)
	// Whoever looks at a key that is past its end has it deleted.
	return master.Exists(ctx, key).Err()
}

// enable adds E and x to what the server sends events of.
func enable(ctx context.Context, master *redis.Client) error {
	const setting = "notify-keyspace-events"
	values, err := master.ConfigGet(ctx, setting).Result()
	if err != nil {
		return err
	}
	is := values[setting]
	want := is
	if !strings.Contains(is, "E") {
		want += "E"
	}
	if !strings.ContainsAny(is, "xA") {
		want += "x"
	}
	if want == is {
		return nil
	}
	return master.ConfigSet(ctx, setting, want).Err()
}
