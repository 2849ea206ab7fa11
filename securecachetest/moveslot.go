package securecachetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"
)

// MoveSlot moves the slot of a Redis key, with all that is in it, to another
// master, as resharding does: key after key, while the slot goes on being used.
// Before each portion of keys it calls between, which may be nil. It returns the
// new master.
func (e *Cluster) MoveSlot(ctx context.Context, key string, between func()) (*Server, error) {
	slot, err := e.Admin.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	source, err := e.Master(ctx, key)
	if err != nil {
		return nil, err
	}
	masters, err := e.masters(ctx)
	if err != nil {
		return nil, err
	}
	var from, to *node
	for _, m := range masters {
		switch {
		case m.address == source.Addr():
			from = m
		case to == nil:
			to = m
		}
	}
	if from == nil || to == nil {
		return nil, errors.New("securecachetest: there is no other master")
	}
	if err := e.move(ctx, slot, from, to, between); err != nil {
		return nil, err
	}
	for _, m := range append([]*node{to, from}, masters...) {
		if err := m.Do(ctx, "cluster", "setslot", slot, "node", to.id).Err(); err != nil {
			return nil, err
		}
	}
	return e.Master(ctx, key)
}

// node is a master as the other nodes know it.
type node struct {
	*redis.Client
	id, address string
}

func (e *Cluster) masters(ctx context.Context) (list []*node, err error) {
	var mu sync.Mutex
	err = e.Admin.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		id, err := c.Do(ctx, "cluster", "myid").Text()
		mu.Lock()
		defer mu.Unlock()
		list = append(list, &node{c, id, c.Options().Addr})
		return err
	})
	return list, err
}

func (e *Cluster) move(ctx context.Context, slot int64, from, to *node, between func()) error {
	if err := to.Do(ctx, "cluster", "setslot", slot, "importing", from.id).Err(); err != nil {
		return err
	}
	if err := from.Do(ctx, "cluster", "setslot", slot, "migrating", to.id).Err(); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(to.address)
	if err != nil {
		return err
	}
	const portion = 2 // few, so that much of the slot is under way for some time
	for {
		if between != nil {
			between()
		}
		keys, err := from.ClusterGetKeysInSlot(ctx, int(slot), portion).Result()
		if err != nil || len(keys) == 0 {
			return err
		}
		o := e.Admin.Options()
		words := []any{"migrate", host, port, "", 0, 5000, "auth2", o.Username, o.Password, "keys"}
		for _, k := range keys {
			words = append(words, k)
		}
		if err := from.Do(ctx, words...).Err(); err != nil {
			return fmt.Errorf("securecachetest: moving a portion of a slot: %w", err)
		}
	}
}
