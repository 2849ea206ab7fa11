package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// gauge tells from a SCAN's cursor how much of a server has been scanned. That
// needs no right beyond SCAN's and holds on a server shared with others, whose
// keys DBSIZE would count too.
type gauge struct {
	cluster *redis.ClusterClient // nil without one
	addr    string
	of      atomic.Pointer[func(cursor uint64) float64]
}

// done returns the share that lies behind a cursor, 0 to 1, and NaN where it
// cannot be told.
func (g *gauge) done(cursor uint64) float64 {
	if of := g.of.Load(); of != nil {
		return (*of)(cursor)
	}
	return math.NaN()
}

// learn finds out how the server counts. What it cannot find out costs the
// estimate alone.
func (g *gauge) learn(ctx context.Context, conn *redis.Conn) error {
	reply, err := conn.Do(ctx, "hello").Result()
	var refused redis.Error
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	hello := pairs(reply)
	var of func(uint64) float64
	switch {
	case hello["server"] != "redis" && hello["server"] != "valkey":
		return nil
	case g.cluster == nil || !perSlot(hello["server"], hello["version"]):
		of = byBuckets
	default:
		if of, err = g.bySlots(ctx); err != nil {
			return nil
		}
	}
	g.of.Store(&of)
	return nil
}

// byBuckets is for a cursor that counts through the hash table's buckets with
// its bits reversed, as dictScan does: the highest bit moves first.
func byBuckets(cursor uint64) float64 { return float64(bits.Reverse64(cursor)) / (1 << 64) }

// perSlot reports whether a cluster's node keeps a hash table for each slot,
// whose number the cursor then carries in its low bits: Redis from 7.4 on,
// Valkey from 8.0 on.
func perSlot(server, version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(major)
	m, _ := strconv.Atoi(minor)
	return n >= 8 || server == "redis" && n == 7 && m >= 4
}

const slotBits = 14

// bySlots counts the node's slots that come before the cursor's.
func (g *gauge) bySlots(ctx context.Context) (func(uint64) float64, error) {
	//lint:ignore SA1019 CLUSTER SHARDS is not known to 6.2, and not granted to applications
	ranges, err := g.cluster.ClusterSlots(ctx).Result()
	if err != nil {
		return nil, err
	}
	var own []redis.ClusterSlot
	total := 0
	for _, s := range ranges {
		if len(s.Nodes) > 0 && s.Nodes[0].Addr == g.addr {
			own = append(own, s)
			total += s.End - s.Start + 1
		}
	}
	if total == 0 {
		return nil, errors.New("the node has no slots that are known here")
	}
	return func(cursor uint64) float64 {
		slot, before := int(cursor&(1<<slotBits-1)), 0
		for _, s := range own {
			before += max(0, min(slot, s.End+1)-s.Start)
		}
		return float64(before) / float64(total)
	}, nil
}

// pairs reads a map, which RESP2 sends as a list.
func pairs(reply any) map[string]string {
	out := map[string]string{}
	switch r := reply.(type) {
	case map[any]any:
		for k, v := range r {
			out[fmt.Sprint(k)] = fmt.Sprint(v)
		}
	case []any:
		for i := 0; i+1 < len(r); i += 2 {
			out[fmt.Sprint(r[i])] = fmt.Sprint(r[i+1])
		}
	}
	return out
}
